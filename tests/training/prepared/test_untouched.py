"""An encoder that learnt from test patients is told of before anybody trusts its figures."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deepsmile.bundle import Bundle, load_bundle, write_bundle
from deepsmile.errors import BundleUnknown
from deepsmile.settings import shipped_repository
from deepsmile_training.cli.main import commands
from deepsmile_training.cohorts.cohort import Patient, make_cohort
from deepsmile_training.cohorts.splitting import SplitPlan, make_split
from deepsmile_training.cohorts.untouched import hashed_slide
from deepsmile_training.encoders.encoder_file import find_encoder, home_of, pretrained_on
from deepsmile_training.prepared.prepared import Prepared, open_prepared
from tests.training.tilesets.conftest import tile_pixels, write_image

pytestmark = pytest.mark.slow

PATIENTS = 12


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Prepared:
    """Twelve patients of a slide each, three folds that test different ones, and their tiles."""
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "cohort"
    patients = [
        Patient(name=f"p{i:02}", slides=(f"s{i}",), labels={"y": "ab"[i % 2]})
        for i in range(PATIENTS)
    ]
    cohort = make_cohort("drawn", patients, classes={"y": ("a", "b")})
    cohort.write(root / "cohort.json")
    make_split(cohort, SplitPlan(folds=3, labels=("y",))).write(root / "split.json")
    for i in range(PATIENTS):
        write_image(tmp_path / "images" / f"s{i}" / "a.png", tile_pixels(i))
    packed = CliRunner().invoke(commands, ["tiles", "images", "--images", "--out", "cohort/tiles"])
    assert packed.exit_code == 0, packed.output
    return open_prepared(root)


def having_seen(bundle: Bundle, root: Path, slides: Sequence[str]) -> Path:
    """The bundle, of an encoder that learnt from these slides."""
    shutil.copytree(bundle.root, root)
    tiles = {"slides": [hashed_slide(name, name) for name in slides]}
    content = bundle.file.model_dump(mode="json", exclude={"digest"})
    write_bundle(root, {**content, "provenance": {"encoder": {"training": {"tiles": tiles}}}})
    return root


def said(extractor: str, bundle: Bundle) -> str:
    words = ["features", "cohort", "--encoder", bundle.name, "--extractor", extractor]
    done = CliRunner().invoke(commands, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return " ".join(done.output.split())


def test_features_warn_of_test_patients_that_the_encoder_has_seen(
    prepared: Prepared, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Algorithm 1: by the fold that the extractor is of, or by all that it would be used for."""
    fold = prepared.split.folds[0]
    slides = [prepared.cohort.by_name[name].slides[0] for name in fold.development]
    root = having_seen(bundle, tmp_path / "seen", slides)
    monkeypatch.setenv("DEEPSMILE_MODEL_REPOSITORY", str(root))
    assert "Warning" not in said("own@0", bundle)
    others = set(prepared.split.folds[1].test) & set(fold.development)
    of = len(prepared.split.folds[1].test)
    assert f"Warning: own@1 was pre-trained on slides of {len(others)} of {of} test" in said(
        "own@1", bundle
    )
    tested = {name for one in prepared.split.folds for name in one.test}
    seen = len(tested & set(fold.development))
    assert f"slides of {seen} of {len(tested)} test patients" in said("all", bundle)
    (prepared.root / "split.json").unlink()
    assert "Warning" not in said("all", bundle)


def test_an_encoder_that_does_not_tell_is_not_accused(
    prepared: Prepared, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEEPSMILE_MODEL_REPOSITORY", str(bundle.root))
    assert pretrained_on(bundle.root, bundle.name) is None
    assert "Warning" not in said("tiny", bundle)


def test_the_encoder_that_comes_with_the_code_is_found_from_another_repository(
    bundle: Bundle, tmp_path: Path
) -> None:
    """docs/bundles.md: for `features --encoder simclr_cpu` where there is no better one."""
    shipped = shipped_repository()
    assert home_of(tmp_path, "simclr_cpu") == shipped
    assert find_encoder(home_of(tmp_path, "simclr_cpu"), "simclr_cpu")[0].is_file()
    assert home_of(bundle.root, bundle.name) == bundle.root
    with pytest.raises(BundleUnknown, match="this repository has: none"):
        find_encoder(home_of(tmp_path, "other"), "other")
    again = having_seen(load_bundle(shipped, "demo"), tmp_path / "demo", ())
    assert home_of(again, "demo") == again
