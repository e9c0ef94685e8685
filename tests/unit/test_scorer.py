"""The scorer: what it loads between jobs is what was verified, byte for byte."""

import json
import shutil
from pathlib import Path

import pytest

from deepsmile.bundle import Bundle, load_bundle, write_bundle
from deepsmile.errors import BundleCorrupt
from deepsmile.pipeline import SlideSource
from deepsmile.report import differences
from deepsmile.scorer import BundleScorer, Work
from deepsmile.settings import Settings
from deepsmile.stages import no_progress
from tests.making import make_bundle
from tests.triton.test_proof import scale

CONSTANTS = {"tiny_encoder/1/model.onnx": "scale", "tiny_head/1/model.onnx": "weights"}


def make_twins(root: Path) -> tuple[Bundle, Bundle]:
    """Two bundles that share all their models."""
    tiny = make_bundle(root)
    content = json.loads((root / "tiny.bundle.json").read_text())
    del content["digest"]
    return tiny, write_bundle(root, {**content, "name": "other"})


@pytest.mark.parametrize("model", CONSTANTS)
def test_a_model_that_changed_on_disk_is_never_loaded(
    model: str, tmp_path: Path, slide_path: Path
) -> None:
    """The bundle's own file is as it was, and the models in memory are another bundle's."""
    root, source = tmp_path / "models", SlideSource(slide_path)
    tiny, other = make_twins(root)
    right = shutil.copy(root / model, tmp_path)
    settings = Settings(data_dir=tmp_path / "data", model_repository=root, encoder_threads=1)
    scorer = BundleScorer(settings)

    def work(bundle: Bundle) -> Work:
        return Work("1", source, bundle.name, bundle.digest, fresh=True)

    first = scorer(work(tiny), no_progress)
    scorer(work(other), no_progress)
    scale(
        root / model, CONSTANTS[model], 0.5
    )  # in place; the graph loads, and takes and gives the same
    with pytest.raises(BundleCorrupt, match=rf"{model}: SHA-256 is"):
        scorer(work(tiny), no_progress)
    (root / model).unlink()
    with pytest.raises(BundleCorrupt, match=f"{model} is missing"):
        scorer(work(tiny), no_progress)
    shutil.copy(right, root / model)
    assert differences(first, scorer(work(tiny), no_progress)) == []


def test_a_card_that_changed_on_disk_is_not_shown(tmp_path: Path) -> None:
    make_bundle(tmp_path)
    bundle = load_bundle(tmp_path, "tiny")
    (tmp_path / "tiny.card.md").write_text("# Fit for diagnosis\n")
    with pytest.raises(BundleCorrupt, match=r"tiny.card.md: SHA-256"):
        bundle.card()
