"""Manifest: a table of slides, with the case of each and what else is known of it."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from deepsmile_training.cohorts.problems import CohortInvalid
from deepsmile_training.cohorts.tables import number, read_table, rows_of

SLIDE, CASE, MPP = "slide", "case", "mpp"


@dataclass(frozen=True)
class Row:
    """What a manifest says of a slide."""

    slide: str
    """Its name, with or without suffix, or its path from the manifest's folder."""
    case: str
    """Empty where the manifest does not say."""
    mpp: float | None
    labels: dict[str, str]
    """The further columns, mpp among them."""

    @property
    def name(self) -> str:
        """The slide's name without folders."""
        return Path(self.slide).name


@dataclass(frozen=True)
class Manifest:
    """The table's rows, one per slide."""

    folder: Path
    rows: tuple[Row, ...]


def read_manifest(path: Path) -> Manifest:
    """A CSV, TSV or XLSX with a column `slide`; `case` and `mpp` if known; others are labels.

    Raises:
        CohortInvalid: no such table, no such column, a slide twice, an mpp that is no number.
    """
    rows = tuple(_row(cells, path.name) for cells in rows_of(read_table(path, [SLIDE])))
    twice = [name for name, count in Counter(row.name for row in rows).items() if count > 1]
    if twice:
        raise CohortInvalid(f"{path.name}: slide {twice[0]} stands there twice")
    return Manifest(path.parent, rows)


def _row(cells: dict[str, str], table: str) -> Row:
    if SLIDE not in cells:
        raise CohortInvalid(f"{table}: a row without a slide")
    slide, mpp = cells[SLIDE], cells.get(MPP)
    return Row(
        slide=slide,
        case=cells.get(CASE, ""),
        mpp=number(mpp, f"{table}, {slide}, {MPP}") if mpp is not None else None,
        labels={name: text for name, text in cells.items() if name not in (SLIDE, CASE)},
    )
