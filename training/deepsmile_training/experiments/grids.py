"""Grids: which cells each of the paper's tables is made of."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from deepsmile_training.cohorts.labels import resolve_labels
from deepsmile_training.cohorts.problems import CohortInvalid
from deepsmile_training.experiments.cells import Cell, HeadCell, TileCell
from deepsmile_training.experiments.inputs import check_inputs, check_labels
from deepsmile_training.experiments.starts import start_names
from deepsmile_training.experiments.tiles import has_store
from deepsmile_training.experiments.wish import Wish
from deepsmile_training.mil.config import MilConfig
from deepsmile_training.mil.recipe import (
    DeepMILSpec,
    HeadSpec,
    PoolSpec,
    TransMILSpec,
    VarMILSpec,
)
from deepsmile_training.prepared.prepared import Prepared

METHODS: dict[str, DeepMILSpec | VarMILSpec] = {"DeepMIL": DeepMILSpec(), "VarMIL": VarMILSpec()}
HEADS: dict[str, HeadSpec] = {
    **METHODS,
    "VarMIL, std": VarMILSpec(spread="std"),
    "gated attention": DeepMILSpec(kind="gated"),
    "mean": PoolSpec(kind="mean"),
    "max": PoolSpec(kind="max"),
    "TransMIL": TransMILSpec(),
}
SEARCH: dict[str, Any] = {"epochs": 8, "evaluate_every": 10}
"""What tables B.4 and B.6 change, by their captions."""
RATES = (1e-5, 5e-5, 1e-4, 5e-4, 1e-3, 5e-3, 1e-2, 5e-2)
DECAYS = (1e-5, 5e-5, 1e-4, 5e-4, 1e-3)
WHOLE = "100 %"
BASE_DECAY, HIGHEST_IN_GRID = 1e-4, 1e-3
"""Higher rates were tried with one decay only (appendix B.2); the table does not say which."""


@dataclass(frozen=True)
class Grid:
    """A table before its numbers: for each place, one cell per fold."""

    title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: dict[tuple[str, str], tuple[Cell, ...]]

    @property
    def all_cells(self) -> list[Cell]:
        return [cell for place in self.cells.values() for cell in place]


def grid_of(table: str, prepared: Prepared, wish: Wish) -> Grid:
    """The cells of a table, and the recipe in its title; nothing that they need is missing.

    Raises:
        CohortInvalid: no such table, an experiment on one label is given several, a learning
            curve is asked of a split without subsets, a wish is about rows that are not there, or
            a cell has no features, no encoder, or a part without a class.
        RequestInvalid: there is no such recipe, or no tile store.
    """
    if table not in GRIDS:
        raise CohortInvalid(f"no table {table}; there are {', '.join(GRIDS)}")
    check_labels(prepared, wish.labels)
    grid = GRIDS[table](prepared, wish)
    kinds = {cell.kind for cell in grid.all_cells}
    if wish.vote and "tiles" not in kinds:
        raise CohortInvalid(f"table {table} has no tile-supervised row here, so no vote")
    if (wish.one_bag or wish.standardise) and "head" not in kinds:
        raise CohortInvalid(f"table {table} has no heads, so no bags")
    check_inputs(prepared, grid.all_cells)
    return replace(grid, title=f"{grid.title} ({wish.told}{_drawn(grid.all_cells)})")


def _drawn(cells: Iterable[Cell]) -> str:
    """How many tiles figures are of, where they are not of whole slides (RESOLUTIONS row 19)."""
    sizes = {c.config.recipe.tiles if isinstance(c, HeadCell) else c.config.tiles for c in cells}
    drawn = " or ".join(str(size) for size in sorted(filter(None, sizes), reverse=True))
    return f"; at most {drawn} tiles of a slide, in validation and test too" if drawn else ""


def table_2(prepared: Prepared, wish: Wish) -> Grid:
    """Extractors by methods, for every label (section 5).

    An extractor has the rows that it can have: by tiles, by features, or both.
    """
    starts = start_names(prepared) if has_store(prepared) else ()
    names = _extractors(prepared, wish, starts)
    # One that has nothing is among these, so that its features are missed.
    by_features = [name for name in names if name in prepared.extractors or name not in starts]
    cells: dict[tuple[str, str], tuple[Cell, ...]] = {}
    for extractor in names:
        if extractor in starts:
            for label in wish.labels:
                place = f"{extractor}, tile-supervised", label
                cells[place] = _tile_folds(prepared, wish, extractor, label)
    for method, spec in METHODS.items():
        config = wish.head(spec)
        for extractor in by_features:
            for label in wish.labels:
                place = f"{extractor}, {method}", label
                cells[place] = _head_folds(prepared, extractor, label, config)
    title = "Table 2: AUC (%) on the test patients, mean and standard deviation over folds"
    return _grid(title, cells)


def heads(prepared: Prepared, wish: Wish) -> Grid:
    """Every kind of head on one extractor's features; the first two are cells of table 2."""
    extractor = _one_extractor(prepared, wish)
    cells: dict[tuple[str, str], tuple[Cell, ...]] = {
        (row, label): _head_folds(prepared, extractor, label, wish.head(spec))
        for row, spec in HEADS.items()
        for label in wish.labels
    }
    return _grid(f"{extractor}: AUC (%) by head", cells)


def table_b3(prepared: Prepared, wish: Wish) -> Grid:
    """Tile-supervised from every initialisation (appendix B.1)."""
    names = wish.extractors or start_names(prepared)
    if not names:
        raise CohortInvalid("no encoders: put one encoder.pt per initialisation into encoders/")
    cells: dict[tuple[str, str], tuple[Cell, ...]] = {
        (name, label): _tile_folds(prepared, wish, name, label)
        for name in names
        for label in wish.labels
    }
    return _grid("Table B.3: tile supervision, AUC (%) by initialisation", cells)


def table_b4(prepared: Prepared, wish: Wish) -> Grid:
    """DeepMIL by the number of tiles (appendix B.2)."""
    sizes = {"All": None, "500": 500, "50": 50}
    changes = {name: {"tiles": size} for name, size in sizes.items()}
    return _searched(prepared, wish, "Table B.4: DeepMIL, AUC (%) by tiles", changes)


def table_b5(prepared: Prepared, wish: Wish) -> Grid:
    """DeepMIL by batch size, 16 epochs (appendix B.2)."""
    changes: dict[str, dict[str, Any]] = {
        str(size): {"batch": size, "epochs": 16} for size in (1, 4, 8, 16)
    }
    return _searched(prepared, wish, "Table B.5: DeepMIL, AUC (%) by batch size", changes)


def table_b6(prepared: Prepared, wish: Wish) -> Grid:
    """DeepMIL by learning rate and weight decay (appendix B.2)."""
    extractor, label = _one_extractor(prepared, wish), _one("label", wish.labels)
    cells: dict[tuple[str, str], tuple[Cell, ...]] = {}
    for rate in RATES:
        for decay in DECAYS if rate <= HIGHEST_IN_GRID else (BASE_DECAY,):
            changes = SEARCH | {"learning_rate": rate, "weight_decay": decay}
            config = wish.head(DeepMILSpec(), **changes)
            place = f"lr {rate:g}", f"decay {decay:g}"
            cells[place] = _head_folds(prepared, extractor, label, config)
    return _grid(f"Table B.6: DeepMIL, {label}, AUC (%) by learning rate and decay", cells)


def learning(prepared: Prepared, wish: Wish) -> Grid:
    """VarMIL by the share of the training patients, for every label.

    All training patients are the cells of table 2. A share without every class in every fold is
    left out.
    """
    extractor = _one_extractor(prepared, wish)
    config = wish.head(VarMILSpec())
    shares = {label: _shares(prepared, label) for label in wish.labels}
    if not any(shares.values()):
        raise _no_curve(prepared)
    cells: dict[tuple[str, str], tuple[Cell, ...]] = {}
    for share in sorted(set().union(*shares.values()), key=float):
        for label in wish.labels:
            if share in shares[label]:
                place = f"{100 * float(share):g} %", label
                cells[place] = _head_folds(prepared, extractor, label, config, share)
    cells |= {
        (WHOLE, label): _head_folds(prepared, extractor, label, config) for label in wish.labels
    }
    title = f"{extractor}, VarMIL: AUC (%) by share of the training patients"
    return Grid(title, _unique(row for row, _ in cells), wish.labels, cells)


def _shares(prepared: Prepared, label: str) -> set[str]:
    """Those that a label can be trained on in every fold."""
    folds = [resolve_labels(prepared.cohort, fold, label) for fold in prepared.split.folds]
    return set.intersection(*(set(fold.shares) for fold in folds))


def _no_curve(prepared: Prepared) -> CohortInvalid:
    root, split = prepared.root, prepared.split
    some = any(fold.subsets for fold in split.folds)
    why = "with every class in every fold" if some else "of the training patients"
    return CohortInvalid(
        f"the split has no subsets {why}",
        hint=f"Make a split with `deepsmile-train split {root / 'cohort.json'} --out"
        f" {root / 'split.json'} --label LABEL --plan kind={split.kind} --plan subsets=true`; with"
        " the plan otherwise the same, its folds stay as they are.",
    )


GRIDS: dict[str, Callable[[Prepared, Wish], Grid]] = {
    "2": table_2,
    "B.3": table_b3,
    "B.4": table_b4,
    "B.5": table_b5,
    "B.6": table_b6,
    "heads": heads,
    "learning": learning,
}


def _searched(
    prepared: Prepared, wish: Wish, title: str, changes: dict[str, dict[str, Any]]
) -> Grid:
    extractor = _one_extractor(prepared, wish)
    cells: dict[tuple[str, str], tuple[Cell, ...]] = {}
    for row, change in changes.items():
        config = wish.head(DeepMILSpec(), **SEARCH | change)
        for label in wish.labels:
            cells[row, label] = _head_folds(prepared, extractor, label, config)
    return _grid(title, cells)


def _head_folds(
    prepared: Prepared, extractor: str, label: str, config: MilConfig, share: str | None = None
) -> tuple[Cell, ...]:
    return tuple(
        HeadCell(extractor=extractor, label=label, fold=fold, config=config, share=share)
        for fold in range(len(prepared.split.folds))
    )


def _tile_folds(prepared: Prepared, wish: Wish, extractor: str, label: str) -> tuple[Cell, ...]:
    config = wish.supervised
    return tuple(
        TileCell(extractor=extractor, label=label, fold=fold, config=config, seed=wish.seed)
        for fold in range(len(prepared.split.folds))
    )


def _grid(title: str, cells: dict[tuple[str, str], tuple[Cell, ...]]) -> Grid:
    return Grid(title, _unique(row for row, _ in cells), _unique(c for _, c in cells), cells)


def _unique(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def _extractors(prepared: Prepared, wish: Wish, starts: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Those that are wished, or else all that there are."""
    names = wish.extractors or tuple(sorted({*prepared.extractors, *starts}))
    if not names:
        raise CohortInvalid(
            f"{prepared.root} has no features, so the table has no rows",
            hint=f"Make them with `deepsmile-train features {prepared.root} SLIDES --encoder"
            " ENCODER --extractor NAME`; the tile-supervised rows of tables 2 and B.3 need a tile"
            " store in tiles/ and encoders/NAME.pt instead.",
        )
    return names


def _one_extractor(prepared: Prepared, wish: Wish) -> str:
    return _one("extractor", _extractors(prepared, wish))


def _one(what: str, names: Sequence[str]) -> str:
    if len(names) != 1:
        raise CohortInvalid(f"this table is about one {what}; name it: {', '.join(names)}")
    return names[0]
