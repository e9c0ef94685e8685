"""Sources: every word of the grammar, and what is said of others."""

from pathlib import Path

import pytest
import torch

from deepsmile.errors import RequestInvalid
from deepsmile_training.encoders.checkpoint import save_checkpoint
from deepsmile_training.encoders.sources import read_encoder
from deepsmile_training.encoders.tile_encoder import make_encoder
from tests.training.encoders.making import full_state, saved, vissl_checkpoint


def test_random_is_the_seeds() -> None:
    encoder, origin = read_encoder("random:timm:test_vit", seed=4)
    expected = make_encoder("timm:test_vit", 4).state_dict()
    assert all(torch.equal(expected[k], v) for k, v in encoder.state_dict().items())
    assert origin.kind == "random"


def test_a_checkpoint_is_a_path(tmp_path: Path) -> None:
    save_checkpoint(make_encoder("shufflenet_v2_x0_5", 1), tmp_path / "encoder.pt")
    encoder, origin = read_encoder(str(tmp_path / "encoder.pt"))
    assert (encoder.name, origin.what) == ("shufflenet_v2_x0_5", "encoder.pt")


@pytest.mark.parametrize("name", ["lr=0.1", "timm:test_vit=run"])
def test_a_file_that_exists_is_a_path_whatever_its_name(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    folder.mkdir()
    save_checkpoint(make_encoder("shufflenet_v2_x0_5", 1), folder / "encoder.pt")
    encoder, origin = read_encoder(str(folder / "encoder.pt"))
    assert (encoder.name, origin.what) == ("shufflenet_v2_x0_5", "encoder.pt")
    path = saved(vissl_checkpoint("shufflenet_v2_x0_5", 1), folder / "fold0.torch")
    encoder, origin = read_encoder(f"deepsmile:shufflenet_v2_x0_5={path}")
    assert (encoder.name, origin.kind) == ("shufflenet_v2_x0_5", "deepsmile")


def test_published_weights_name_their_backbone(tmp_path: Path) -> None:
    state = vissl_checkpoint("shufflenet_v2_x0_5", 1)
    path = saved(state, tmp_path / "fold0.torch")
    encoder, origin = read_encoder(f"deepsmile:shufflenet_v2_x0_5={path}")
    expected = full_state("shufflenet_v2_x0_5", 1)["conv1.0.weight"]
    assert torch.equal(encoder.backbone.conv1[0].weight, expected)
    assert origin.kind == "deepsmile"


def test_imagenet_weights_that_torchvision_does_not_have_are_refused(tmp_path: Path) -> None:
    path = saved(full_state("shufflenet_v2_x0_5", 1), tmp_path / "weights.pth")
    with pytest.raises(RequestInvalid, match=r"weights.pth: SHA-256 [0-9a-f]{64} is that of no"):
        read_encoder(f"imagenet:{path}")


@pytest.mark.parametrize("source", ["resnet18", "simclr:resnet18", "deepsmile:x", "random:"])
def test_the_grammar_is_told(source: str) -> None:
    with pytest.raises(RequestInvalid, match="neither a file nor the name") as caught:
        read_encoder(source)
    assert "random:BACKBONE" in caught.value.hint
