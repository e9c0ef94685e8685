"""Configurations: presets hold the paper's values, and mistakes are named."""

from pathlib import Path

import pytest
import torch

from deepsmile.errors import RequestInvalid
from deepsmile_training.encoders.tile_encoder import make_encoder
from deepsmile_training.pretraining.augmentation import GENTLE, HISTOLOGY, PAPER
from deepsmile_training.pretraining.config import load_config, merged, parse_config
from deepsmile_training.pretraining.presets import PRESETS
from deepsmile_training.pretraining.projection import simclr_head


@pytest.mark.parametrize(
    ("preset", "backbone", "batch", "epochs"),
    [("paper-tcga-bc", "shufflenet_v2_x1_0", 950, 45), ("paper-tcga-crck", "resnet18", 128, 100)],
)
def test_paper_presets_are_section_4_1_1(preset, backbone, batch, epochs) -> None:
    config = load_config(None, preset)
    assert (config.method, config.backbone) == ("simclr", backbone)
    assert (config.batch, config.epochs) == (batch, epochs)
    adam = config.adam
    assert (adam.learning_rate, adam.beta1, adam.beta2, adam.weight_decay) == (3e-4, 0.9, 0.99, 0)
    assert (config.temperature, config.head, config.embedding_dim) == (0.5, "mlp", 128)
    assert config.augmentation == PAPER


def test_configurations_that_come_along_are_valid() -> None:
    files = sorted((Path(__file__).parents[3] / "training/runs").glob("*.yaml"))
    assert files
    for file in files:
        assert load_config(file, None).recipe_digest


def test_hissl_preset_is_the_released_codes() -> None:
    """RESOLUTIONS rows 11 and 14."""
    config = load_config(None, "hissl")
    adam = config.adam
    assert (adam.learning_rate, adam.beta2, adam.weight_decay) == (1e-4, 0.999, 1e-4)
    assert (config.batch, config.epochs, config.head) == (4 * 256, 60, "linear2")


def test_presets_of_the_comparison_are_appendix_b_1() -> None:
    plain, virtual = load_config(None, "paper-byol-400"), load_config(None, "paper-byol-4000")
    assert (plain.batch, plain.accumulation) == (400, 1)
    assert (virtual.batch, virtual.batch // virtual.accumulation) == (4000, 400)
    assert plain.adam.learning_rate == virtual.adam.learning_rate == 3e-4
    assert plain.running.keep_epochs == virtual.running.keep_epochs == 5
    small = load_config(None, "paper-simclr-500")
    assert (small.method, small.backbone) == ("simclr", "shufflenet_v2_x1_0")
    assert (small.batch, small.epochs, small.running.keep_epochs) == (500, 35, 5)
    assert small.adam == load_config(None, "paper-tcga-bc").adam
    simclr = load_config(None, "paper-tcga-bc", {"epochs": 35, "running": {"workers": 2}})
    assert (simclr.running.keep_epochs, simclr.running.workers) == (5, 2)
    assert load_config(None, "smoke").running.keep_epochs == 0


def test_linear2_head_is_linear() -> None:
    """RESOLUTIONS row 11: f(a + b) + f(0) = f(a) + f(b), which the intended head breaks."""
    torch.manual_seed(0)
    a, b = torch.randn(2, 5, 32)
    zero = torch.zeros(5, 32)
    for kind, is_linear in (("linear2", True), ("mlp", False)):
        head = simclr_head(kind, 32, 8)
        apart = head(a + b) + head(zero) - head(a) - head(b)
        assert (float(apart.detach().abs().max()) < 1e-4) is is_linear, kind


def test_heads_and_convolutions_are_he_initialised() -> None:
    """Section 4.1.1: variance 2 / fan-in."""
    torch.manual_seed(0)
    head = simclr_head("mlp", 512, 128)
    assert float(head[0].weight.detach().var()) == pytest.approx(2 / 512, rel=0.02)
    convolution = make_encoder("resnet18", 0).backbone.layer4[1].conv2.weight
    assert float(convolution.detach().var()) == pytest.approx(2 / (512 * 9), rel=0.01)


def test_file_wins_over_preset_and_changes_over_both(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(
        "preset: hissl\nbatch: 64\nadam: {learning_rate: 0.01}\naugmentation: histology\n"
    )
    config = load_config(path, None, {"batch": 32, "running": {"workers": 1}})
    assert (config.batch, config.adam.learning_rate) == (32, 0.01)
    assert (config.adam.beta2, config.head, config.running.workers) == (0.999, "linear2", 1)
    assert config.augmentation == HISTOLOGY
    assert load_config(path, "paper-tcga-crck").head == "mlp"


def test_a_key_of_a_named_augmentation_leaves_its_others(tmp_path: Path) -> None:
    """Of a preset's, of a file's, and of one that was set just before."""
    bluer = {"augmentation": {"hue": 0.05}}
    assert load_config(None, "smoke", bluer).augmentation == GENTLE.model_copy(update={"hue": 0.05})
    path = tmp_path / "run.yaml"
    path.write_text("augmentation: histology\n")
    changed = load_config(path, "smoke", {"augmentation": {"grey": 0.1}}).augmentation
    assert changed == HISTOLOGY.model_copy(update={"grey": 0.1})
    both = merged({"augmentation": "gentle"}, bluer)
    assert load_config(None, "hissl", both).augmentation.brightness == GENTLE.brightness
    assert load_config(None, "hissl", merged(bluer, {"augmentation": "gentle"})).augmentation == (
        GENTLE
    )


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("bacth: 3", "bacth: Extra inputs"),
        ("adam: {beta2: 1.5}", "adam.beta2: .*less than 1"),
        ("augmentation: strong", "no augmentation 'strong'; there are paper, histology, gentle"),
        ("augmentation: {crop_scale: [0.5, 0.2]}", "crop_scale: want 0 < low <= high"),
        ("accumulation: 2", "accumulation: .*no negatives of each other"),
        ("{method: byol, accumulation: 3}", "accumulation: want a divisor of batch"),
        ("initialisation: {kind: file}", "kind file takes the path"),
        ("adam: {learning_rate: .nan}", "adam.learning_rate"),
        ("preset: nothing", "no preset 'nothing'"),
        ("- batch", "want keys and values"),
        ("batch: [", "run.yaml"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(RequestInvalid, match=complaint):
        load_config(path, None if "preset" in text else "smoke")


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RequestInvalid, match=r"none\.yaml"):
        load_config(tmp_path / "none.yaml", "smoke")


@pytest.mark.parametrize("preset", PRESETS)
def test_a_written_configuration_reads_back_as_the_same(preset: str) -> None:
    config = load_config(None, preset)
    assert parse_config(config.model_dump(mode="json"), "again") == config


def test_how_it_is_run_is_no_part_of_the_recipe() -> None:
    one = load_config(None, "smoke")
    other = load_config(None, "smoke", {"running": {"workers": 3, "log_steps": 7}})
    assert one.recipe_digest == other.recipe_digest
    assert one.recipe_digest != load_config(None, "smoke", {"seed": 1}).recipe_digest
