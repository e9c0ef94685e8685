"""Commands that read cohorts, split them, and list what the GDC should send."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from deepsmile_training.cohorts.cohort import Cohort

Out = Annotated[Path, typer.Option(help="JSON file to write.")]

cohort = typer.Typer(help="Read tables into a cohort: patients, slides, labels.")


@cohort.command("tcga-bc")
def cohort_tcga_bc(
    hrd: Annotated[Path, typer.Option(help="HRD score per sample (Knijnenburg et al. 2018).")],
    manifest: Annotated[Path, typer.Option(help="GDC manifest of the diagnostic slides.")],
    out: Out,
    clinical: Annotated[Path | None, typer.Option(help="Clinical table by PATIENT.")] = None,
    column: Annotated[
        list[str] | None, typer.Option(help="Column of it that is a label; repeatable.")
    ] = None,
    published: Annotated[
        Path | None, typer.Option(help="Folder of the authors' splits; adds their own labels.")
    ] = None,
) -> None:
    """Breast cancer: mHRD and tHRD by rule, TP53 and other columns."""
    from deepsmile_training.cohorts.problems import CohortInvalid
    from deepsmile_training.cohorts.published import import_labels
    from deepsmile_training.cohorts.tcga_bc import RULES, tcga_bc

    if column and not clinical:
        raise CohortInvalid("--column is of the clinical table: give --clinical too")
    made = tcga_bc(hrd, manifest, clinical=clinical, columns=tuple(column or ["TP53_driver"]))
    if published:
        for label in RULES:
            made = import_labels(made, published, label)
    _write(made, out)


@cohort.command("tcga-crck")
def cohort_tcga_crck(
    folder: Annotated[Path, typer.Argument(help="Folder with Kather's TRAIN and TEST.")], out: Out
) -> None:
    """Colorectal cancer: Kather's tiles, MSI or MSS by folder."""
    from deepsmile_training.cohorts.tcga_crck import tcga_crck

    _write(tcga_crck(folder), out)


@cohort.command("tcga-msi")
def cohort_tcga_msi(
    cbioportal: Annotated[Path, typer.Option(help="Clinical workbook of cBioPortal.")],
    liu: Annotated[Path, typer.Option(help="Liu et al. (2018), master patient table.")],
    out: Out,
    project: Annotated[
        list[str] | None, typer.Option(help="TCGA project; repeatable; else COAD and READ.")
    ] = None,
    manifest: Annotated[
        Path | None, typer.Option(help="GDC manifest; keeps the patients who have a slide.")
    ] = None,
) -> None:
    """MSI by Liu's status, by MANTIS and by MSIsensor."""
    from deepsmile_training.cohorts.tcga_msi import PROJECTS, tcga_msi

    projects = tuple(project) if project else PROJECTS
    _write(tcga_msi(cbioportal, liu, projects=projects, manifest=manifest), out)


@cohort.command("generic")
def cohort_generic(
    table: Annotated[Path, typer.Argument(help="CSV, TSV or XLSX, one row per slide.")],
    out: Out,
    label: Annotated[
        list[str], typer.Option(help="COLUMN, or COLUMN=class0,class1,...; repeatable.")
    ],
    column: Annotated[
        list[str] | None,
        typer.Option(help="patient=, slide=, site=, score= or stratum=COLUMN; repeatable."),
    ] = None,
    missing: Annotated[
        list[str] | None,
        typer.Option(
            help="A cell of labels and strata that says nothing, or COLUMN=CELL; repeatable."
        ),
    ] = None,
    distinct: Annotated[
        bool,
        typer.Option(
            "--distinct",
            help="Names, and groups, differ that do so in case, spaces or leading zeros alone.",
        ),
    ] = False,
) -> None:
    """A table of your own: binary or multi-class labels, strata, scores."""
    from deepsmile_training.cohorts.generic import read_cohort
    from deepsmile_training.cohorts.options import columns_from

    columns = columns_from(label, column or [], missing or [], distinct=distinct)
    _write(read_cohort(table, columns), out)


def split(
    cohort_file: Annotated[Path, typer.Argument(help="Written by `cohort`.")],
    out: Out,
    label: Annotated[
        list[str] | None, typer.Option(help="Balanced and checked in every part; repeatable.")
    ] = None,
    plan: Annotated[
        list[str] | None,
        typer.Option(help="KEY=VALUE: kind, folds, seed, by_site, strata, subsets...; repeatable."),
    ] = None,
    published: Annotated[
        Path | None, typer.Option(help="Folder of the authors' splits, instead of a plan.")
    ] = None,
    keep: Annotated[
        Path | None, typer.Option(help="Former split whose fixed test set stays as it was.")
    ] = None,
) -> None:
    """Split a cohort by patient: nested 5-fold, or `--plan kind=fixed-test`."""
    from deepsmile_training.cohorts.cohort import load_cohort
    from deepsmile_training.cohorts.counting import SPLIT_COLUMNS, count_split
    from deepsmile_training.cohorts.options import plan_from
    from deepsmile_training.cohorts.problems import CohortInvalid
    from deepsmile_training.cohorts.published import import_split
    from deepsmile_training.cohorts.sealed import read_sealed
    from deepsmile_training.cohorts.splits import Split
    from deepsmile_training.cohorts.splitting import make_split

    patients, labels = load_cohort(cohort_file), label or []
    if published and (plan or keep):
        raise CohortInvalid("--published has its folds already; leave --plan and --keep out")
    former = read_sealed(keep, Split) if keep else None
    if published:
        made = import_split(patients, published, tuple(labels))
    else:
        made = make_split(patients, plan_from(labels, plan or []), former)
    made.write(out)
    if former:
        _say_gone(former.patients - set(patients.by_name))
    for each in labels or [""]:
        _show(each or patients.name, SPLIT_COLUMNS, count_split(patients, made, each))
    _say_unseen(patients)
    typer.echo(f"{out}: {made.digest}")


def gdc_manifest(
    cohort_file: Annotated[Path, typer.Argument(help="Written by `cohort`.")],
    manifest: Annotated[Path, typer.Option(help="GDC manifest that has the slides.")],
    out: Annotated[Path, typer.Option(help="Manifest to write; nothing is downloaded.")],
) -> None:
    """List a cohort's slides for `gdc-client download -m`."""
    from deepsmile_training.cohorts.cohort import load_cohort
    from deepsmile_training.cohorts.gdc import choose_files, read_manifest, write_manifest

    chosen, missing = choose_files(load_cohort(cohort_file), read_manifest(manifest))
    write_manifest(chosen, out)
    size = sum(file.size for file in chosen) / 1e9
    typer.echo(f"{out}: {len(chosen)} slides, {size:.1f} GB; {len(missing)} are not in {manifest}")


def _write(made: "Cohort", out: Path) -> None:
    from deepsmile_training.cohorts.counting import COHORT_COLUMNS, count_cohort

    made.write(out)
    _show(made.name, COHORT_COLUMNS, count_cohort(made))
    for note, count in made.notes.items():
        typer.echo(f"{count} {note}")
    _say_unseen(made)
    typer.echo(f"{out}: {made.digest}")


def _say_unseen(made: "Cohort") -> None:
    """Those who turn out to have no slide would be counted in folds, and be in no figure."""
    unseen = sum(not one.slides for one in made.patients)
    if unseen:
        typer.echo(f"{unseen} patients have no slide here, and are counted as if they had one")


def _say_gone(names: frozenset[str]) -> None:
    """One who was renamed would be dealt as if nobody had been tested under that name."""
    from deepsmile_training.cohorts.problems import some

    if names:
        typer.echo(f"{len(names)} patients of the former split are gone: {some(sorted(names))}")


def _show(title: str, columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    table = Table(*columns, title=title)
    for row in rows:
        table.add_row(*row)
    Console().print(table)
