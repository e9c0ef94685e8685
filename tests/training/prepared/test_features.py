"""Features of a cohort: the served ones, bit for bit; slides without any are listed."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deepsmile.backends.onnx import OnnxBackend
from deepsmile.bag import load_bag
from deepsmile.bundle import Bundle
from deepsmile.digest import digest_of_file
from deepsmile.errors import BagCorrupt, RequestInvalid
from deepsmile.pipeline import SlideSource, extract
from deepsmile.reading import Reader, ReaderLimits
from deepsmile_training.cohorts.cohort import Cohort, Patient, make_cohort
from deepsmile_training.cohorts.labels import resolve_labels
from deepsmile_training.cohorts.problems import CohortInvalid
from deepsmile_training.cohorts.splitting import SplitPlan, make_split
from deepsmile_training.prepared.features import Extractor, extract_features, load_feature_set
from deepsmile_training.prepared.prepared import Packing, Prepared, open_prepared
from tests.making import tissue_image, write_svs

pytestmark = pytest.mark.slow

PATIENTS = 12
BLANK, LOST = "p00-b", "p01-b"


def cohort_of(*slides: str) -> Cohort:
    """All of one patient."""
    return make_cohort("one", [Patient(name="p", slides=slides)])


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One slide per patient; the first has a second one, of bare glass."""
    folder = tmp_path_factory.mktemp("slides")
    made = {
        f"p{i:02}-a": write_svs(folder / f"p{i:02}-a.svs", tissue_image(1100, 1100, i, 0.9))
        for i in range(PATIENTS)
    }
    glass = np.full((1100, 1100, 3), 244, np.uint8)
    return made | {BLANK: write_svs(folder / f"{BLANK}.svs", glass)}


@pytest.fixture(scope="module")
def extractor(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Extractor:
    scratch = tmp_path_factory.mktemp("scratch")

    def make_reader() -> Reader:
        return Reader(ReaderLimits(scratch, 4 << 30, 60, 30.0), batch=4)

    backend = OnnxBackend(bundle, threads=1)
    return Extractor("tiny", bundle.contract.features, backend, make_reader, workers=2)


@pytest.fixture(scope="module")
def prepared(
    slides: dict[str, Path], extractor: Extractor, tmp_path_factory: pytest.TempPathFactory
) -> Prepared:
    root = tmp_path_factory.mktemp("prepared")
    patients = [
        Patient(
            name=f"p{i:02}",
            slides=tuple(sorted(s for s in (*slides, LOST) if s.startswith(f"p{i:02}"))),
            labels={"msi": ("mss", "msi")[i % 2]},
        )
        for i in range(PATIENTS)
    ]
    cohort = make_cohort("little", patients, classes={"msi": ("mss", "msi")})
    cohort.write(root / "cohort.json")
    make_split(cohort, SplitPlan(folds=2, labels=("msi",))).write(root / "split.json")
    extract_features(cohort, slides, extractor, root, lambda: None)
    return open_prepared(root)


def test_extracted_features_are_the_served_ones_bit_for_bit(
    slides: dict[str, Path], extractor: Extractor, prepared: Prepared
) -> None:
    known = prepared.feature_set("tiny", fold=0)
    for name in ("p00-a", "p07-a"):
        with closing(extractor.make_reader()) as reader:
            served = extract(
                SlideSource(slides[name]), extractor.contract, extractor.encoder, reader
            ).need_bag()
        bag = load_bag(prepared.root / "features" / "tiny" / f"{name}.npz", known.features.digest)
        assert np.array_equal(bag.features, served.features)
        assert np.array_equal(bag.cells, served.cells)
        assert bag.features_digest == served.features_digest


def test_slides_without_features_are_listed_with_their_reason(prepared: Prepared) -> None:
    known = prepared.feature_set("tiny", fold=0)
    assert len(known.slides) == PATIENTS
    assert sorted(known.dropped) == [BLANK, LOST]
    assert known.dropped[LOST] == "slide_missing: not in the folder"
    assert known.dropped[BLANK] == "too_little_tissue: no tile of tissue"


def test_what_is_there_is_not_made_again(
    slides: dict[str, Path], extractor: Extractor, prepared: Prepared
) -> None:
    bag = prepared.root / "features" / "tiny" / "p03-a.npz"
    before = bag.stat().st_mtime_ns
    again = extract_features(prepared.cohort, slides, extractor, prepared.root, lambda: None)
    assert bag.stat().st_mtime_ns == before
    assert again == prepared.feature_set("tiny", fold=0)


def test_another_slide_under_the_same_name_is_read(
    slides: dict[str, Path], extractor: Extractor, tmp_path: Path
) -> None:
    """And the features are then other ones to whatever was made of them."""
    first, second = slides["p02-a"], slides["p03-a"]
    known = [
        extract_features(cohort_of("s"), {"s": slide}, extractor, tmp_path, lambda: None)
        for slide in (first, second, second, first)
    ]
    assert known[1] == known[2] != known[0] == known[3]
    bag = load_bag(tmp_path / "features" / "tiny" / "s.npz", extractor.contract.digest)
    assert bag.slide_sha256 == digest_of_file(first)


def test_a_bag_that_was_deleted_is_made_again(
    slides: dict[str, Path], extractor: Extractor, prepared: Prepared
) -> None:
    known = prepared.feature_set("tiny", fold=0)
    (prepared.root / "features" / "tiny" / "p05-a.npz").unlink()
    with pytest.raises(CohortInvalid, match="gone or changed: p05-a"):
        prepared.feature_set("tiny", fold=0)
    extract_features(prepared.cohort, slides, extractor, prepared.root, lambda: None)
    assert prepared.feature_set("tiny", fold=0) == known


def test_a_damaged_bag_is_refused(
    slides: dict[str, Path], extractor: Extractor, tmp_path: Path
) -> None:
    one = {"p02-a": slides["p02-a"]}
    extract_features(cohort_of(*one), one, extractor, tmp_path, lambda: None)
    (tmp_path / "features" / "tiny" / "p02-a.npz").write_bytes(b"PK\x03\x04")
    with pytest.raises(BagCorrupt):
        extract_features(cohort_of(*one), one, extractor, tmp_path, lambda: None)


def test_a_cohort_without_any_usable_slide_is_refused(
    slides: dict[str, Path], extractor: Extractor, tmp_path: Path
) -> None:
    one = {BLANK: slides[BLANK]}
    with pytest.raises(RequestInvalid, match="no slide gave features"):
        extract_features(cohort_of(BLANK), one, extractor, tmp_path, lambda: None)


def test_a_fold_s_part_has_each_patient_s_bags_and_classes(prepared: Prepared) -> None:
    fold = prepared.split.folds[0]
    labels = resolve_labels(prepared.cohort, fold, "msi")
    known = prepared.feature_set("tiny", fold=0)
    part = prepared.labelled(known, labels, "train", Packing(tiles=3))
    assert set(part.bags.patients) == set(fold.train)
    assert part.bags.sizes.max() <= 3
    for patient, y in zip(part.bags.patients, part.y, strict=True):
        assert prepared.cohort.by_name[patient].labels["msi"] == ("mss", "msi")[y]


def refuse_unknown(prepared: Prepared) -> None:
    prepared.feature_set("simclr", fold=1)


def refuse_changed(prepared: Prepared) -> None:
    path = prepared.root / "features" / "tiny" / "features.json"
    text = path.read_text()
    path.write_text(text.replace('"p03-a"', '"p04-a"', 1))
    try:
        prepared.feature_set("tiny", fold=0)
    finally:
        path.write_text(text)


@pytest.mark.parametrize(
    ("attempt", "complaint"),
    [
        (refuse_unknown, "no features by simclr for fold 1; there are: tiny"),
        (refuse_changed, "changed"),
    ],
)
def test_other_features_are_never_taken(
    prepared: Prepared, attempt: Callable[[Prepared], None], complaint: str
) -> None:
    with pytest.raises(CohortInvalid, match=complaint):
        attempt(prepared)


def test_a_slide_that_is_there_twice_is_used_once(
    slides: dict[str, Path], extractor: Extractor, tmp_path: Path
) -> None:
    given = {"b": slides["p02-a"], "a": slides["p02-a"], "c": slides["p03-a"]}
    made = extract_features(cohort_of(*given), given, extractor, tmp_path, lambda: None)
    assert list(made.slides) == ["a", "c"]
    assert made.dropped == {"b": "slide_twice: the same bytes as a"}


def test_a_slide_of_two_patients_is_refused(
    slides: dict[str, Path], extractor: Extractor, tmp_path: Path
) -> None:
    """It would be trained on and tested, even as two classes."""
    given = {"a": slides["p02-a"], "b": slides["p03-a"], "c": slides["p02-a"]}
    people = [Patient(name="p", slides=("a", "b")), Patient(name="q", slides=("c",))]
    shared = "slide a of patient p and slide c of patient q have the same bytes"
    with pytest.raises(CohortInvalid, match=shared):
        extract_features(make_cohort("two", people), given, extractor, tmp_path, lambda: None)
    assert not (tmp_path / "features" / "tiny" / "features.json").exists()


def test_an_extractor_s_name_is_of_one_encoder(
    slides: dict[str, Path], extractor: Extractor, tmp_path: Path
) -> None:
    one = {"p02-a": slides["p02-a"]}
    known = extract_features(cohort_of(*one), one, extractor, tmp_path, lambda: None)
    encoder = extractor.contract.encoder.model_copy(update={"sha256": "2" * 64})
    other = replace(extractor, contract=extractor.contract.model_copy(update={"encoder": encoder}))
    with pytest.raises(RequestInvalid, match="holds features by another encoder") as caught:
        extract_features(cohort_of(*one), one, other, tmp_path, lambda: None)
    place = tmp_path / "features" / "tiny"
    assert caught.value.hint == f"Choose another name with --extractor, or remove {place}."
    assert load_feature_set(place) == known
