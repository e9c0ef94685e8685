"""GDC manifests: lists of files that gdc-client downloads. We read and write them, no more."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from deepsmile.disk import write_file
from deepsmile_training.cohorts.cohort import Cohort
from deepsmile_training.cohorts.problems import CohortInvalid
from deepsmile_training.cohorts.tables import read_table
from deepsmile_training.cohorts.tcga_barcode import Barcode, parse_barcode

COLUMNS = ("id", "filename", "md5", "size", "state")


@dataclass(frozen=True)
class GdcFile:
    """One line of a manifest."""

    id: str
    filename: str
    md5: str
    size: int
    """Bytes."""
    state: str

    @property
    def barcode(self) -> Barcode:
        """Whose slide it is."""
        return parse_barcode(self.filename)

    def line(self) -> str:
        """As the manifest has it."""
        return "\t".join((self.id, self.filename, self.md5, str(self.size), self.state))


def read_manifest(path: Path) -> tuple[GdcFile, ...]:
    """Every file of a manifest. Raises CohortInvalid where a line is incomplete."""
    table = read_table(path, COLUMNS)[list(COLUMNS)]
    incomplete = [
        str(number + 2) for number in range(len(table)) if table.iloc[number].isna().any()
    ]
    if incomplete:
        raise CohortInvalid(f"{path.name}: line {incomplete[0]} is incomplete")
    return tuple(_file(path, *map(str, row)) for row in table.itertuples(index=False, name=None))


def choose_files(
    cohort: Cohort, files: Iterable[GdcFile]
) -> tuple[tuple[GdcFile, ...], tuple[str, ...]]:
    """The files of a cohort's slides, and the slides that the manifest lacks."""
    by_slide: dict[str | None, GdcFile] = {}
    for file in files:
        if by_slide.setdefault(file.barcode.slide, file) != file:
            raise CohortInvalid(f"slide {file.barcode.slide} has two files in the manifest")
    slides = sorted(cohort.patient_of_slide)
    chosen = tuple(by_slide[slide] for slide in slides if slide in by_slide)
    return chosen, tuple(slide for slide in slides if slide not in by_slide)


def write_manifest(files: Iterable[GdcFile], path: Path) -> None:
    """Save a manifest for `gdc-client download -m`."""
    lines = ("\t".join(COLUMNS), *(file.line() for file in files))
    write_file(path, "\n".join(lines) + "\n")


def _file(path: Path, id_: str, filename: str, md5: str, size: str, state: str) -> GdcFile:
    if not size.isdecimal():
        raise CohortInvalid(f"{path.name}: {filename} has the size {size!r}")
    return GdcFile(id_, filename, md5, int(size), state)
