"""Backbones: those of the libraries, less their classifiers, with what they expect of pixels."""

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from torchvision.models import get_model

from deepsmile.errors import RequestInvalid
from deepsmile_training.encoders.backbones import make_backbone
from deepsmile_training.encoders.tile_encoder import TileEncoder, make_encoder
from deepsmile_training.encoders.weights import fit


def test_features_are_what_torchvisions_classifier_is_given() -> None:
    """Logits of the whole model, from the features and the classifier that was taken off."""
    whole = get_model("resnet18", weights=None).eval()
    encoder = TileEncoder(make_backbone("resnet18")).eval()
    state = {k: v for k, v in whole.state_dict().items() if not k.startswith("fc.")}
    fit(encoder.backbone, state, "resnet18")
    unit = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(whole.fc(encoder.encode_unit(unit)), whole(unit))
    assert encoder.feature_dim == whole.fc.in_features == 512


def test_timms_normalisation_and_input_size_are_inside(noise_tiles: np.ndarray) -> None:
    """A ViT for 160 px, step by step: scale, resize, subtract, divide, encode."""
    encoder = make_encoder("timm:test_vit", 0).eval()
    model = timm.create_model("test_vit", num_classes=0).eval()
    model.load_state_dict(encoder.backbone.state_dict())
    unit = torch.from_numpy(noise_tiles[:2]).permute(0, 3, 1, 2) / 255  # (2, 3, 224, 224)
    small = F.interpolate(unit, (160, 160), mode="bilinear", align_corners=False)
    with torch.no_grad():
        found = encoder(torch.from_numpy(noise_tiles[:2]))
        torch.testing.assert_close(found, model((small - 0.5) / 0.5), atol=1e-5, rtol=1e-4)
    assert (encoder.input_px, encoder.feature_dim) == (160, 64)


def test_torchvisions_take_any_size() -> None:
    encoder = make_encoder("shufflenet_v2_x0_5", 0).eval()
    with torch.no_grad():
        shapes = [encoder.encode_unit(torch.rand(1, 3, px, px)).shape for px in (96, 112)]
    assert shapes == [(1, 1024), (1, 1024)]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("resnet19", "no backbone named 'resnet19'; known are shufflenet_v2_x1_0"),
        ("timm:no_such_model", "timm:no_such_model: .*no_such_model"),
        ("timm:local-dir:/nowhere", "timm:local-dir:/nowhere: "),
    ],
)
def test_an_unknown_backbone_is_named(name: str, said: str) -> None:
    with pytest.raises(RequestInvalid, match=said):
        make_backbone(name)
