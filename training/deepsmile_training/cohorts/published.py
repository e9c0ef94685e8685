"""Published splits: the authors' five folds of TCGA-BC and their labels, by barcode.

Their paths have UUIDs of before 2021, which the GDC has since replaced; barcodes still hold.
Their labels were cut at 20 (mHRD) and at 12 and 29 (tHRD) of all patients, the tested ones
among them; rules cut where each fold's own training patients say.
"""

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from deepsmile.digest import digest_of
from deepsmile_training.cohorts.cohort import Cohort
from deepsmile_training.cohorts.problems import CohortInvalid
from deepsmile_training.cohorts.splits import Fold, Split, check_split
from deepsmile_training.cohorts.splitting import with_thresholds
from deepsmile_training.cohorts.tcga_barcode import parse_barcode
from deepsmile_training.cohorts.tcga_bc import HRD_CLASSES

WHOLE = "1.0"
SUFFIX = "_published"
"""Of a label with the authors' own cuts."""
_NAME = re.compile(
    r"(?P<label>[mt]HRD)_tcga_bc_set=(?P<part>train|val|test)_fold=(?P<fold>\d)"
    r"(?:_subset=(?P<share>[\d.]+))?\.txt"
)


@dataclass(frozen=True)
class _List:
    """One file: patients and their classes."""

    part: str
    fold: int
    share: str
    classes: dict[str, str]


def import_labels(cohort: Cohort, folder: Path, label: str) -> Cohort:
    """The cohort with the authors' classes as one label more, e.g. `mHRD_published`."""
    tested = [one for one in _read_lists(folder, label) if one.part == "test"]
    of = {name: value for one in tested for name, value in one.classes.items()}
    return cohort.with_label(label + SUFFIX, HRD_CLASSES, of)


def import_split(cohort: Cohort, folder: Path, labels: tuple[str, ...] = ()) -> Split:
    """The authors' folds, with their subsets of 10 to 100 % of the training patients.

    Their lists for mHRD have everyone with a score; those for tHRD are the same folds without
    the middle tertile, so this one split serves both. (Fitted on the latter, the rule for tHRD
    would cut tertiles of tertiles.) Each of `labels` is checked, and fitted where it is a rule.
    Raises CohortInvalid where the cohort lacks one of their patients.
    """
    by_fold: dict[int, list[_List]] = defaultdict(list)
    for one in _read_lists(folder, "mHRD"):
        by_fold[one.fold].append(one)
    split = Split(
        cohort=cohort.digest,
        kind="nested",
        made={"published": folder.name, "lists": digest_of(_plain(by_fold))},
        folds=tuple(_fold(by_fold[index]) for index in sorted(by_fold)),
    )
    check_split(split, cohort)
    folds = tuple(with_thresholds(cohort, fold, labels) for fold in split.folds)
    return split.model_copy(update={"folds": folds})


def _fold(lists: list[_List]) -> Fold:
    names = {(one.part, one.share): tuple(sorted(one.classes)) for one in lists}
    try:
        return Fold(
            train=names["train", WHOLE],
            val=names["val", WHOLE],
            test=names["test", WHOLE],
            subsets={share: its for (part, share), its in sorted(names.items()) if part == "train"},
        )
    except KeyError as error:
        raise CohortInvalid(f"fold {lists[0].fold} has no list {error}") from error


def _read_lists(folder: Path, label: str) -> list[_List]:
    found = [(path, _NAME.fullmatch(path.name)) for path in sorted(folder.glob("*.txt"))]
    lists = [
        _List(match["part"], int(match["fold"]), match["share"] or WHOLE, _read_list(path))
        for path, match in found
        if match and match["label"] == label
    ]
    if not lists:
        raise CohortInvalid(f"{folder} has no lists for {label}")
    return lists


def _read_list(path: Path) -> dict[str, str]:
    """Lines of path, patient, slide, class; the class may be spelled 1 or 1.0."""
    classes: dict[str, str] = {}
    for line in path.read_text().splitlines():
        cells = line.split(",")
        if len(cells) != 4 or cells[3] not in ("0", "1", "0.0", "1.0"):
            raise CohortInvalid(f"{path.name}: {line!r} is not path, patient, slide, class")
        name = parse_barcode(cells[2]).patient
        value = HRD_CLASSES[int(float(cells[3]))]
        if name != cells[1] or classes.setdefault(name, value) != value:
            raise CohortInvalid(f"{path.name}: {line!r} contradicts itself or another line")
    return classes


def _plain(by_fold: dict[int, list[_List]]) -> list[object]:
    return [
        [one.part, fold, one.share, sorted(one.classes.items())]
        for fold in sorted(by_fold)
        for one in by_fold[fold]
    ]
