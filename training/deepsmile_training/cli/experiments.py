"""Commands that run the paper's experiments on a prepared cohort."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from deepsmile_training.cli.progress import stages

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from deepsmile_training.experiments.grids import Grid
    from deepsmile_training.experiments.tables import Results
    from deepsmile_training.prepared.prepared import Prepared

OF_A_COHORT = ("2", "3", "4", "5", "learning")
OF_RUNS = ("B.6", "B.7")

Where = Annotated[Path, typer.Argument(help="Folder with cohort.json, split.json, features/ ...")]
Out = Annotated[Path, typer.Option(help="Folder for the result; cells/ is kept in it.")]
Labels = Annotated[list[str] | None, typer.Option("--label", help="Repeatable; all of them.")]
Extractors = Annotated[
    list[str] | None, typer.Option("--extractor", help="Repeatable; all that there are.")
]
Recipe = Annotated[
    str | None,
    typer.Option(
        help="paper-tcga-bc, paper-tcga-crck or hissl, of heads and tile supervision;"
        " by default the paper's for this cohort, or else paper-tcga-bc."
    ),
]
Epochs = Annotated[int | None, typer.Option(min=1, help="Instead of the recipe's.")]
Batch = Annotated[int | None, typer.Option(min=2, help="Of tiles, instead of the recipe's.")]
VoteBy = Annotated[
    Literal["share", "mean"] | None,
    typer.Option("--vote", help="Of tiles in tile supervision, instead of the recipe's."),
]
OneBag = Annotated[
    bool, typer.Option("--one-bag", help="Of all a patient's slides; by default one per slide.")
]
Standardise = Annotated[
    bool, typer.Option("--standardise", help="Features for the heads; the paper's are as they are.")
]
Workers = Annotated[int, typer.Option(min=1, help="Cells to train at once, one core each.")]
Seed = Annotated[int, typer.Option(min=0)]


def table(
    name: Annotated[str, typer.Argument(help="2, B.3, B.4, B.5, B.6, heads or learning.")],
    prepared: Where,
    out: Out,
    label: Labels = None,
    extractor: Extractors = None,
    recipe: Recipe = None,
    epochs: Epochs = None,
    tile_batch: Batch = None,
    vote: VoteBy = None,
    one_bag: OneBag = False,
    standardise: Standardise = False,
    workers: Workers = 1,
    seed: Seed = 0,
) -> None:
    """A table of the paper: mean and standard deviation over folds of the patients' AUC."""
    from deepsmile_training.experiments.tables import markdown, write_table

    changes = {"epochs": epochs, "tile_batch": tile_batch, "vote": vote, "one_bag": one_bag}
    changes |= {"standardise": standardise}
    made, grid = _grid(name, prepared, label, extractor, recipe=recipe, seed=seed, **changes)
    results = _results(made, grid, out, workers)
    write_table(grid, results, out / f"table_{name}")
    typer.echo(markdown(grid, results))


def figure(
    name: Annotated[str, typer.Argument(help="2, 3, 4, 5, B.6, B.7 or learning.")],
    out: Out,
    prepared: Annotated[Path | None, typer.Option(help="For figures 2 to 5 and learning.")] = None,
    run: Annotated[
        list[str] | None, typer.Option(help="NAME=FOLDER of a pre-training run, for B.6 and B.7.")
    ] = None,
    label: Labels = None,
    extractor: Extractors = None,
    recipe: Recipe = None,
    epochs: Epochs = None,
    tile_batch: Batch = None,
    vote: VoteBy = None,
    one_bag: OneBag = False,
    standardise: Standardise = False,
    workers: Workers = 1,
    seed: Seed = 0,
) -> None:
    """Violins (2), ROC curves of a label (3, 4, 5), losses (B.6, B.7), learning curves."""
    from deepsmile_training.cohorts.problems import CohortInvalid
    from deepsmile_training.experiments import figures

    if name in OF_RUNS:
        if not run:
            raise CohortInvalid(f"figure {name} shows pre-training runs; give --run NAME=FOLDER")
        drawn = figures.losses(_runs(run))
    elif name in OF_A_COHORT:
        if prepared is None:
            raise CohortInvalid(f"figure {name} is of a cohort; give --prepared FOLDER")
        of = name if name == "learning" else "2"
        changes = {"epochs": epochs, "tile_batch": tile_batch, "vote": vote, "one_bag": one_bag}
        changes |= {"standardise": standardise}
        made, grid = _grid(of, prepared, label, extractor, recipe=recipe, seed=seed, **changes)
        if name in ("3", "4", "5"):
            _check_curves(name, made, grid)
        drawn = _drawn(name, made, grid, out, workers)
    else:
        raise CohortInvalid(f"no figure {name}; there are {', '.join((*OF_A_COHORT, *OF_RUNS))}")
    for path in figures.write_figure(drawn, out / f"figure_{name}"):
        typer.echo(path)


def _runs(given: list[str]) -> dict[str, Path]:
    from deepsmile_training.cohorts.problems import CohortInvalid

    runs: dict[str, Path] = {}
    for each in given:
        name, _, folder = each.partition("=")
        if not (name and folder):
            raise CohortInvalid(f"--run {each} is not NAME=FOLDER")
        if name in runs:
            raise CohortInvalid(f"--run: two runs are called {name}; give each a name of its own")
        runs[name] = Path(folder)
    return runs


def _drawn(name: str, made: "Prepared", grid: "Grid", out: Path, workers: int) -> "Figure":
    from deepsmile_training.experiments import figures
    from deepsmile_training.experiments.cells import CELLS
    from deepsmile_training.experiments.tables import warnings_of

    results = _results(made, grid, out, workers)
    for warning in warnings_of(grid, results).values():
        typer.echo(warning, err=True)
    if name == "2":
        return figures.violins(grid, results)
    if name == "learning":
        return figures.learning_curves(grid, results)
    (column,) = grid.columns
    curves = {
        row: [out / CELLS / results[cell].key / "test.csv" for cell in grid.cells[row, column]]
        for row in grid.rows
    }
    return figures.roc_curves(grid, results, column, curves)


def _check_curves(name: str, made: "Prepared", grid: "Grid") -> None:
    from deepsmile_training.cohorts.labels import resolve_labels
    from deepsmile_training.cohorts.problems import CohortInvalid

    if len(grid.columns) > 1:
        raise CohortInvalid(f"figure {name} shows one label; give --label {grid.columns[0]}")
    (label,) = grid.columns
    classes = resolve_labels(made.cohort, made.split.folds[0], label).classes
    if len(classes) > 2:
        raise CohortInvalid(
            f"figure {name} has ROC curves, and label {label} has {len(classes)} classes:"
            f" {', '.join(classes)}",
            hint="Give a --label of two classes; figure 2 shows those of more, too.",
        )


def _grid(
    name: str,
    folder: Path,
    labels: list[str] | None,
    extractors: list[str] | None,
    *,
    recipe: str | None,
    **changes: Any,  # noqa: ANN401 - fields of a wish
) -> "tuple[Prepared, Grid]":
    from deepsmile_training.experiments.grids import grid_of
    from deepsmile_training.experiments.wish import Wish, recipe_for
    from deepsmile_training.prepared.prepared import open_prepared

    made = open_prepared(folder)
    wish = Wish(
        labels=tuple(labels or made.cohort.label_names),
        extractors=tuple(extractors or ()),
        recipe=recipe or recipe_for(made.cohort),
        **changes,
    )
    return made, grid_of(name, made, wish)


def _results(made: "Prepared", grid: "Grid", out: Path, workers: int) -> "Results":
    from deepsmile_training.experiments.cells import CELLS
    from deepsmile_training.experiments.running import exit_when_told, run_cells

    cells = list(dict.fromkeys(grid.all_cells))
    try:
        with exit_when_told(), stages() as stage:
            advance = stage("cells", len(cells))
            return run_cells(made, cells, out / CELLS, workers, advance)
    except SystemExit:
        kept = f"{out / CELLS} keeps the cells that are done"
        typer.echo(f"Stopped; {kept}, and the same command goes on.", err=True)
        raise
