"""What is wrong is said before anything is trained, and nothing is written."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from deepsmile.contract import Encoder
from deepsmile.errors import BundleMismatch, BundleUnknown, DeepSmileError, RequestInvalid
from deepsmile.triton.models import MODEL_FILE
from deepsmile_training.bundling.development import development_of
from deepsmile_training.bundling.heads import make_conformal, make_novelty
from deepsmile_training.bundling.members import HeldOut
from deepsmile_training.bundling.places import free_folder
from deepsmile_training.bundling.plan import head_name, make_plan
from deepsmile_training.bundling.source import Source, open_source
from deepsmile_training.cohorts.cohort import load_cohort
from deepsmile_training.cohorts.problems import CohortInvalid
from deepsmile_training.cohorts.splits import Fold, Split
from deepsmile_training.cohorts.splitting import SplitPlan, make_split
from deepsmile_training.encoders.encoder_file import RepositoryEncoder
from deepsmile_training.evidence.choices import make_choice
from deepsmile_training.evidence.predictions import ValidationPredictions
from deepsmile_training.mil.config import MilConfig
from deepsmile_training.mil.recipe import TransMILSpec
from deepsmile_training.prepared.features import list_bags
from deepsmile_training.prepared.prepared import Prepared, open_prepared
from tests.training.bundling.conftest import FOLDS, Made, call

pytestmark = pytest.mark.slow

BASIS = {"extractor": "SimCLR", "encoder": "tiny", "labels": ("MSI",), "config": MilConfig()}


def plain(root: Path, encoder: RepositoryEncoder) -> Source:
    return open_source(open_prepared(root), "SimCLR", encoder.file.features)


def with_split(root: Path, plan: SplitPlan, tmp_path: Path) -> Path:
    """The cohort with another split."""
    copy = Path(shutil.copytree(root, tmp_path / "prepared"))
    make_split(load_cohort(copy / "cohort.json"), plan).write(copy / "split.json")
    return copy


@pytest.mark.parametrize(
    ("words", "error", "complaint"),
    [
        (["--label", "grade"], CohortInvalid, "grade has 3 classes: g1, g2, g3; a bundle's head"),
        (["--label", "kras"], CohortInvalid, "no label kras; there are MSI, grade, mHRD"),
        (["--label", "MSI", "--label", "msi"], RequestInvalid, "heads of one name"),
        (["--label", "MSI", "--extractor", "BYOL"], CohortInvalid, "no features by BYOL"),
        (["--label", "MSI", "--encoder", "other"], BundleUnknown, "no encoder named 'other'"),
        (["--label", "MSI", "--name", "CRC"], RequestInvalid, "name: String should match"),
        (["--label", "MSI", "--version", "a b"], RequestInvalid, "version: String should match"),
        (["--label", "MSI", "--coverage", 1], RequestInvalid, "coverage: Input should be less"),
    ],
)
def test_a_wrong_wish_is_refused(
    words: list[object],
    error: type[DeepSmileError],
    complaint: str,
    encoder: RepositoryEncoder,
    prepared_root: Path,
    tmp_path: Path,
) -> None:
    usual: list[object] = ["--extractor", "SimCLR", "--name", "x", "--out", tmp_path / "out"]
    with pytest.raises(error, match=complaint):
        call(encoder, prepared_root, *usual, *words)
    assert not list(tmp_path.iterdir())


def test_a_nested_split_is_refused_with_the_command_for_another(
    prepared_root: Path, encoder: RepositoryEncoder, tmp_path: Path
) -> None:
    root = with_split(prepared_root, SplitPlan(folds=5, labels=("MSI",)), tmp_path)
    with pytest.raises(CohortInvalid, match="the split is nested") as caught:
        development_of(plain(root, encoder), "MSI")
    assert f"deepsmile-train split {root}/cohort.json" in caught.value.hint
    assert "--plan kind=fixed-test" in caught.value.hint


def test_patients_who_were_tested_train_nothing_after_another_split(
    made: Made, encoder: RepositoryEncoder, tmp_path: Path
) -> None:
    """In the folder whose seal knows them."""
    plan = SplitPlan(kind="fixed-test", folds=FOLDS, labels=("MSI",), seed=1)
    root = with_split(made.prepared, plan, tmp_path)
    with pytest.raises(
        RequestInvalid, match=r"\d+ of 4\d patients to choose on were test patients"
    ):
        development_of(plain(root, encoder), "MSI")


def test_two_folds_are_too_few(
    prepared_root: Path, encoder: RepositoryEncoder, tmp_path: Path
) -> None:
    """Two are left out together, and one must train."""
    plan = SplitPlan(kind="fixed-test", folds=2, labels=("MSI",))
    root = with_split(prepared_root, plan, tmp_path)
    with pytest.raises(CohortInvalid, match="2 folds: a bundle needs 3"):
        development_of(plain(root, encoder), "MSI")


def test_folds_that_share_a_patient_are_refused(
    prepared_root: Path, encoder: RepositoryEncoder, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(prepared_root, tmp_path / "prepared"))
    split = open_prepared(root).split
    first = split.folds[0]
    moved = Fold(train=first.train[1:], val=(*first.val, first.train[0]), test=first.test)
    changed = split.model_dump() | {"folds": (moved, *split.folds[1:])}
    Split.model_validate(changed).write(root / "split.json")
    with pytest.raises(CohortInvalid, match="do not share out one set of patients"):
        development_of(plain(root, encoder), "MSI")


def test_a_fold_without_positives_is_refused(
    prepared_root: Path, encoder: RepositoryEncoder, tmp_path: Path
) -> None:
    """Those of one fold have labels and slides, but no features."""
    known = plain(prepared_root, encoder)
    cohort = known.prepared.cohort
    gone = {
        slide
        for name in known.prepared.split.folds[1].val
        if cohort.by_name[name].labels["MSI"] == "msi"
        for slide in cohort.by_name[name].slides
    }
    left = {slide: sha for slide, sha in known.known.slides.items() if slide not in gone}
    bare = Source(known.prepared, known.known.model_copy(update={"slides": left}))
    with pytest.raises(CohortInvalid, match=r"no fold 1 \(with features\) patient is msi"):
        development_of(bare, "MSI")


@pytest.mark.parametrize(
    ("part", "kept", "needed"), [("test", 1, 2), ("test", 2, 0), ("development", 4, 5)]
)
def test_patients_whom_no_figure_could_be_made_of_are_counted_first(
    part: str, kept: int, needed: int, prepared_root: Path, encoder: RepositoryEncoder
) -> None:
    """All but a few positives have features of too few tiles: known before anything is trained."""
    known = plain(prepared_root, encoder)
    cohort, fold = known.prepared.cohort, known.prepared.split.folds[0]
    names = fold.test if part == "test" else fold.development
    positives = [n for n in names if cohort.by_name[n].labels["MSI"] == "msi" and known.slides(n)]
    few = {slide for name in positives[kept:] for slide in cohort.by_name[name].slides}
    short = Shortened(known.prepared, known.known, frozenset(few))
    if not needed:
        assert development_of(short, "MSI").of == development_of(known, "MSI").of
        return
    complaint = f"{needed} {part} patients of each class .* and {kept} of msi have one"
    with pytest.raises(CohortInvalid, match=complaint):
        development_of(short, "MSI")
    assert development_of(short, "MSI", min_tiles=7).of == development_of(known, "MSI").of


@dataclass(frozen=True)
class Shortened(Source):
    """Some of its slides have but seven tiles."""

    few: frozenset[str]

    def tiles(self, slide: str) -> int:
        return min(super().tiles(slide), 7) if slide in self.few else super().tiles(slide)


def test_features_of_another_encoder_are_refused(
    prepared_root: Path, encoder: RepositoryEncoder
) -> None:
    contract = encoder.file.features
    other = Encoder(name="other", sha256="ab" * 32, feature_dim=6)
    prepared = open_prepared(prepared_root)
    with pytest.raises(BundleMismatch, match=r"made by tiny-encoder .*, not by other \(abab"):
        open_source(prepared, "SimCLR", contract.model_copy(update={"encoder": other}))
    budget = contract.budget.model_copy(update={"max_tiles": 5})
    with pytest.raises(BundleMismatch, match="by other tile rules"):
        open_source(prepared, "SimCLR", contract.model_copy(update={"budget": budget}))


def test_an_extractor_of_each_fold_s_own_makes_no_bundle(
    prepared_root: Path, encoder: RepositoryEncoder, tmp_path: Path
) -> None:
    known = plain(prepared_root, encoder).known
    for k in range(FOLDS):
        folder = tmp_path / "features" / f"SimCLR@{k}"
        shutil.copytree(prepared_root / "features" / "SimCLR", folder)
        list_bags(folder, known.features, known.slides, known.dropped)
    whole = open_prepared(prepared_root)
    moved = Prepared(tmp_path, whole.cohort, whole.split)
    with pytest.raises(CohortInvalid, match="pre-trained for each fold"):
        open_source(moved, "SimCLR", encoder.file.features)


def test_a_head_that_cannot_be_exported_is_not_trained() -> None:
    with pytest.raises(RequestInvalid, match="TransMIL head cannot be exported"):
        make_plan(name="x", **BASIS | {"config": MilConfig(head=TransMILSpec())})


@pytest.mark.parametrize(
    ("label", "name"), [("mHRD", "mhrd"), ("TP53 driver", "tp53-driver"), ("MSI (Liu)", "msi-liu")]
)
def test_labels_become_names_that_heads_may_have(label: str, name: str) -> None:
    assert head_name(label) == name


def test_a_label_that_leaves_no_name_is_refused() -> None:
    with pytest.raises(RequestInvalid):
        make_plan(name="x", **BASIS | {"labels": ("(?)",)})


def test_constant_predictions_rank_nobody() -> None:
    y = np.array([0, 1] * 20)
    with pytest.raises(RequestInvalid, match="nothing to rank"):
        make_choice(ValidationPredictions.numbered(np.full(40, 0.5), y))


def validation_of(negatives: int, positives: int) -> ValidationPredictions:
    y = np.array([0] * negatives + [1] * positives)
    return ValidationPredictions.numbered(np.linspace(0.1, 0.9, len(y)), y)


def test_too_few_patients_give_no_prediction_sets_and_a_note() -> None:
    """Of n, the ceil((n + 1) 0.9)-th bounds: 8 have no 9th, 9 have."""
    notes: list[str] = []
    assert make_conformal(validation_of(30, 8), 0.9, notes) is None
    assert notes == [
        "No prediction sets: a coverage of 90% needs 9 development patients of either class, and"
        " one has 8."
    ]
    rule = make_conformal(validation_of(30, 9), 0.9, notes)
    assert rule is not None
    assert len(notes) == 1


def test_too_few_patients_give_no_novelty_and_a_note(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)

    def held_out(slides: int, of_a_patient: int = 1) -> HeldOut:
        means = rng.normal(size=(slides, 6))
        names = tuple(f"p{i // of_a_patient}" for i in range(slides))
        return HeldOut(validation_of(10, 10), means, np.arange(slides) // 6 % 3, names, 100, 0)

    notes: list[str] = []
    assert make_novelty(held_out(98), 0.01, tmp_path / "novelty.npz", notes) is None
    assert notes == [
        "No novelty rule: a rate of 0.01 needs 99 development patients, and there are 98."
    ]
    assert make_novelty(held_out(196, 2), 0.01, tmp_path / "novelty.npz", notes) is None
    assert notes[1:] == notes[:1]
    assert not list(tmp_path.iterdir())
    found = make_novelty(held_out(99), 0.01, tmp_path / "novelty.npz", notes)
    assert found is not None
    assert found.basis == "held-out scores of 99 training slides"
    twice = make_novelty(held_out(198, 2), 0.01, tmp_path / "novelty.npz", notes)
    assert twice is not None
    assert twice.basis == (
        "held-out scores of 198 training slides, the largest of each of 99 patients"
    )
    assert len(notes) == 2


def test_no_model_is_ever_overwritten(tmp_path: Path) -> None:
    """The same bytes keep their place; others get the next version."""
    files = {}
    for text in ("one", "two", "three"):
        (tmp_path / text).write_text(text)
        files[text] = {MODEL_FILE: tmp_path / text}
    out = tmp_path / "out"
    for version, text in (("1", "one"), ("2", "two")):
        assert free_folder(out, "m", files[text]) == Path("m", version)
        (out / "m" / version).mkdir(parents=True)
        (out / "m" / version / MODEL_FILE).write_text(text)
    assert free_folder(out, "m", files["one"]) == Path("m/1")
    assert free_folder(out, "m", files["two"]) == Path("m/2")
    assert free_folder(out, "m", files["three"]) == Path("m/3")


def test_slides_of_another_cohort_are_refused_before_anything_is_trained(
    encoder: RepositoryEncoder, prepared_root: Path, tmp_path: Path
) -> None:
    (tmp_path / "strange.svs").write_bytes(b"no slide")
    words = ["--extractor", "SimCLR", "--label", "MSI", "--name", "x", "--out", tmp_path / "out"]
    with pytest.raises(CohortInvalid, match="has none of the 62 slides of little-crc"):
        call(encoder, prepared_root, *words, "--slides", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["strange.svs"]


def test_a_dry_run_tells_who_and_how_long_and_writes_nothing(
    encoder: RepositoryEncoder, prepared_root: Path, config: Path, tmp_path: Path
) -> None:
    before = sorted(prepared_root.rglob("*"))
    words = ["--extractor", "SimCLR", "--label", "MSI", "--label", "mHRD", "--name", "x"]
    words += ["--config", config, "--out", tmp_path / "out", "--dry-run"]
    result = call(encoder, prepared_root, *words)
    assert result.exit_code == 0, result.output
    rows = [[cell.strip() for cell in line.split("│")] for line in result.output.splitlines()]
    told = {(row[1], row[2]): row[3:6] for row in rows if len(row) > 6}
    split = open_prepared(prepared_root).split
    assert told["MSI", "fold 0"][0] == str(len(split.folds[0].val))
    assert told["MSI", "test"] == ["14", "14", "7 mss, 7 msi"]
    assert {label for label, _ in told} == {"MSI", "mHRD"}
    shares = [
        share
        for label in ("MSI", "mHRD")
        for share in development_of(plain(prepared_root, encoder), label).served(0).shares
    ]
    assert len(shares) > 12
    assert f"{18 + len(shares)} trainings, about " in result.output
    assert sorted(prepared_root.rglob("*")) == before
    assert not list(tmp_path.iterdir())
