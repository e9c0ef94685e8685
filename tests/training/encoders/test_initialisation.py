"""Initialisation: the right file, whole, for the right backbone, or a complaint that says why."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from pydantic import ValidationError
from torch import Tensor
from torchvision.models import get_model

from deepsmile.digest import digest_of_file
from deepsmile.errors import RequestInvalid
from deepsmile_training.encoders.checkpoint import load_checkpoint, save_checkpoint
from deepsmile_training.encoders.initialisation import (
    Initialisation,
    load_initialisation,
    torchvision_weights,
)
from deepsmile_training.encoders.published import PUBLISHED
from deepsmile_training.encoders.tile_encoder import TileEncoder, make_encoder
from tests.training.encoders.making import full_state, saved, vissl_checkpoint

pytestmark = pytest.mark.slow

IMAGENET_MEAN, IMAGENET_DEVIATION = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def backbone_features(backbone: str, state: dict[str, Tensor], unit: Tensor) -> Tensor:
    """By torchvision's own model."""
    model = get_model(backbone, weights=None)
    model.load_state_dict(state)
    model.fc = torch.nn.Identity()
    with torch.no_grad():
        return model.eval()(unit)


def features(encoder: TileEncoder, unit: Tensor) -> Tensor:
    with torch.no_grad():
        return encoder.eval().encode_unit(unit)


def test_random_leaves_the_encoder_as_it_is() -> None:
    encoder = make_encoder("shufflenet_v2_x0_5", 3)
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    assert load_initialisation(encoder, Initialisation()).sha256 is None
    assert all(torch.equal(v, before[k]) for k, v in encoder.state_dict().items())


@pytest.mark.parametrize("backbone", ["shufflenet_v2_x1_0", "resnet18"])
def test_published_weights_are_taken_from_vissls_layout(backbone: str, tmp_path: Path) -> None:
    """Features are torchvision's with the same weights, on [0, 1] without any normalisation."""
    path = saved(vissl_checkpoint(backbone, 1), tmp_path / "fold0_epoch60.torch")
    encoder = make_encoder(backbone, 0)
    encoder.normalise_by(IMAGENET_MEAN, IMAGENET_DEVIATION)
    origin = load_initialisation(encoder, Initialisation(kind="deepsmile", path=path))
    unit = torch.rand(2, 3, 64, 64)
    expected = backbone_features(backbone, full_state(backbone, 1), unit)
    torch.testing.assert_close(features(encoder, unit), expected)
    assert origin.sha256 == digest_of_file(path)
    assert origin.what == "fold0_epoch60.torch, not a published file"


def test_a_published_trunk_alone_will_do(tmp_path: Path) -> None:
    trunk = vissl_checkpoint("shufflenet_v2_x0_5", 1)["classy_state_dict"]["base_model"]["model"][
        "trunk"
    ]
    encoder = make_encoder("shufflenet_v2_x0_5", 0)
    path = saved(trunk, tmp_path / "trunk.torch")
    load_initialisation(encoder, Initialisation(kind="deepsmile", path=path))
    assert torch.equal(encoder.backbone.conv1[0].weight, trunk["_feature_blocks.conv1.0.weight"])


def test_published_files_are_six() -> None:
    """Five folds and one; each by a whole digest."""
    assert len(PUBLISHED) == 6
    assert {len(digest) for digest in PUBLISHED} == {64}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"epoch": 3}, "no VISSL checkpoint: neither"),
        ({"classy_state_dict": {"base_model": {}}}, "classy_state_dict/base_model/model is miss"),
    ],
)
def test_what_is_no_vissl_checkpoint_is_told(content: Any, said: str, tmp_path: Path) -> None:
    path = saved(content, tmp_path / "other.torch")
    with pytest.raises(RequestInvalid, match=said):
        load_initialisation(
            make_encoder("shufflenet_v2_x0_5", 0), Initialisation(kind="deepsmile", path=path)
        )


def test_weights_of_another_backbone_are_told_by_their_keys(tmp_path: Path) -> None:
    path = saved(vissl_checkpoint("resnet18", 1), tmp_path / "resnet.torch")
    encoder = make_encoder("shufflenet_v2_x1_0", 0)
    with pytest.raises(RequestInvalid) as caught:
        load_initialisation(encoder, Initialisation(kind="deepsmile", path=path))
    assert "resnet.torch as shufflenet_v2_x1_0: 280 keys missing (conv1.0.weight, " in str(
        caught.value
    )
    assert "keys unknown (conv1.weight, bn1.weight, " in str(caught.value)


def test_missing_keys_and_other_shapes_are_named(tmp_path: Path) -> None:
    state = full_state("shufflenet_v2_x0_5", 1)
    del state["stage2.0.branch1.0.weight"]
    state["conv1.1.bias"] = torch.zeros(7)
    path = saved(state, tmp_path / "damaged.pth")
    asked = Initialisation(kind="imagenet", path=path, sha256=digest_of_file(path))
    with pytest.raises(RequestInvalid) as caught:
        load_initialisation(make_encoder("shufflenet_v2_x0_5", 0), asked)
    assert str(caught.value) == (
        "damaged.pth as shufflenet_v2_x0_5: 1 keys missing (stage2.0.branch1.0.weight);"
        " 1 keys of another shape (conv1.1.bias)"
    )


def test_torchvisions_hashes_stand_in_its_names() -> None:
    assert {d: w.name for d, w in torchvision_weights("resnet18").items()} == {
        "f37072fd": "IMAGENET1K_V1"
    }
    assert set(torchvision_weights("shufflenet_v2_x1_0")) == {"5666bf0f80"}
    assert set(torchvision_weights("resnet50")) == {"0676ba61", "11ad3fa6"}


def test_another_file_than_torchvisions_is_refused_with_both_hashes(tmp_path: Path) -> None:
    path = saved(full_state("shufflenet_v2_x0_5", 1), tmp_path / "weights-f707e7126e.pth")
    asked = Initialisation(kind="imagenet", path=path)
    with pytest.raises(RequestInvalid) as caught:
        load_initialisation(make_encoder("shufflenet_v2_x0_5", 0), asked)
    assert str(caught.value) == (
        f"weights-f707e7126e.pth: SHA-256 is {digest_of_file(path)}, expected is f707e7126e"
    )


def test_imagenet_weights_bring_their_normalisation(tmp_path: Path) -> None:
    """The classifier is dropped, the rest is torchvision's; the digest is the one asked for."""
    state = full_state("shufflenet_v2_x0_5", 1)
    path = saved(state, tmp_path / "mine.pth")
    encoder = make_encoder("shufflenet_v2_x0_5", 0)
    asked = Initialisation(kind="imagenet", path=path, sha256=digest_of_file(path))
    load_initialisation(encoder, asked)
    unit = torch.rand(2, 3, 64, 64)
    mean, deviation = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_DEVIATION)
    normal = (unit - mean.view(3, 1, 1)) / deviation.view(3, 1, 1)
    torch.testing.assert_close(
        features(encoder, unit), backbone_features("shufflenet_v2_x0_5", state, normal)
    )


def test_offline_the_address_and_the_way_out_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody listens at the proxy."""
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    asked = Initialisation(kind="imagenet", download=True)
    with pytest.raises(RequestInvalid, match=r"-f707e7126e.pth cannot be reached") as caught:
        load_initialisation(make_encoder("shufflenet_v2_x0_5", 0), asked)
    assert "give the file's path instead" in caught.value.hint


def test_timms_weights_are_read_from_a_file_without_their_classifier(tmp_path: Path) -> None:
    torch.manual_seed(5)
    whole = timm.create_model("test_vit")
    path = saved(whole.state_dict(), tmp_path / "vit.pth")
    encoder = make_encoder("timm:test_vit", 0)
    origin = load_initialisation(encoder, Initialisation(kind="timm", path=path))
    assert torch.equal(encoder.backbone.patch_embed.proj.weight, whole.patch_embed.proj.weight)
    assert origin.sha256 == digest_of_file(path)
    incomplete = {k: v for k, v in whole.state_dict().items() if k != "norm.weight"}
    path = saved(incomplete, tmp_path / "part.pth")
    with pytest.raises(RequestInvalid, match=r"1 keys missing \(norm.weight\)"):
        load_initialisation(encoder, Initialisation(kind="timm", path=path))


def test_a_folder_that_timm_wrote_is_backbone_and_weights(tmp_path: Path) -> None:
    """How a foundation model lies on a disk: config.json and model.safetensors."""
    from timm.models._hub import save_for_hf

    torch.manual_seed(5)
    whole = timm.create_model("test_vit")
    save_for_hf(whole, tmp_path, safe_serialization=True)
    encoder = make_encoder(f"timm:local-dir:{tmp_path}", 0)
    load_initialisation(encoder, Initialisation(kind="timm"))
    assert torch.equal(encoder.backbone.patch_embed.proj.weight, whole.patch_embed.proj.weight)
    assert encoder.input_px == 160


def lite0_names() -> list[str]:
    """Layers of the first port of EfficientNet-Lite0, in the order in which they compute."""
    names = ["_conv_stem", "_bn0"]
    for block in range(16):
        layers = ["_expand_conv", "_bn0", "_depthwise_conv", "_bn1", "_project_conv", "_bn2"]
        names += [f"_blocks.{block}.{layer}" for layer in layers[2 if block == 0 else 0 :]]
    return [*names, "_conv_head", "_bn1"]


def test_efficientnet_lite0_is_read_in_its_first_names(tmp_path: Path) -> None:
    """Both libraries name the same layers in the same order."""
    torch.manual_seed(5)
    theirs = timm.create_model("tf_efficientnet_lite0", num_classes=0).state_dict()
    layers = list(dict.fromkeys(key.rsplit(".", 1)[0] for key in theirs))
    renamed = dict(zip(layers, lite0_names(), strict=True))
    state = {
        ".".join([renamed[k.rsplit(".", 1)[0]], k.rsplit(".", 1)[1]]): theirs[k] for k in theirs
    }
    path = saved({**state, "_fc.weight": torch.zeros(1000, 1280)}, tmp_path / "lite0.pth")
    encoder = make_encoder("timm:tf_efficientnet_lite0", 0)
    load_initialisation(encoder, Initialisation(kind="timm", path=path))
    found = encoder.backbone.state_dict()
    assert all(torch.equal(found[key], value) for key, value in theirs.items())


def test_a_checkpoint_of_ours_comes_back_whole(tmp_path: Path) -> None:
    """Weights, batch norms' statistics and normalisation."""
    encoder = make_encoder("shufflenet_v2_x0_5", 1)
    encoder.normalise_by(IMAGENET_MEAN, IMAGENET_DEVIATION)
    encoder.train()(torch.randint(0, 255, (4, 64, 64, 3), dtype=torch.uint8))
    save_checkpoint(encoder, tmp_path / "encoder.pt")
    other = make_encoder("shufflenet_v2_x0_5", 2)
    load_initialisation(other, Initialisation(kind="file", path=tmp_path / "encoder.pt"))
    unit = torch.rand(2, 3, 64, 64)
    assert torch.equal(features(other, unit), features(encoder, unit))
    assert torch.equal(
        features(load_checkpoint(tmp_path / "encoder.pt"), unit), features(encoder, unit)
    )


def test_a_checkpoint_of_another_backbone_names_both(tmp_path: Path) -> None:
    save_checkpoint(make_encoder("shufflenet_v2_x0_5", 1), tmp_path / "encoder.pt")
    asked = Initialisation(kind="file", path=tmp_path / "encoder.pt")
    said = "encoder.pt holds a shufflenet_v2_x0_5, the encoder is a shufflenet_v2_x1_0"
    with pytest.raises(RequestInvalid, match=said):
        load_initialisation(make_encoder("shufflenet_v2_x1_0", 0), asked)


class Harmful:
    """Runs when it is unpickled."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return Path.touch, (Path("harm"),)


@pytest.mark.parametrize("content", [b"no weights", b"", pickle.dumps(Harmful(), protocol=2)])
def test_files_that_cannot_be_read_safely_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "encoder.pt"
    path.write_bytes(content)
    with pytest.raises(RequestInvalid, match="can be read safely"):
        load_checkpoint(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    asked = Initialisation(kind="file", path=tmp_path / "none.pt")
    with pytest.raises(RequestInvalid, match=r"none.pt: no such file"):
        load_initialisation(make_encoder("shufflenet_v2_x0_5", 0), asked)


@pytest.mark.parametrize(
    "values",
    [
        {"kind": "file"},
        {"kind": "random", "path": "x"},
        {"kind": "imagenet", "path": "x", "download": True},
        {"kind": "deepsmile", "path": "x", "sha256": "f37072fd"},
        {"kind": "imagenet", "weights": "x"},
        {"kind": "simclr"},
    ],
)
def test_what_does_not_go_together_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Initialisation.model_validate(values)
