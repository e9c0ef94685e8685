"""Results of cells that nobody trained."""

from deepsmile_training.experiments.cells import Cell, Result


def made_up(cell: Cell, auc: float, count: int = 9) -> Result:
    """Of so many training patients of the first class, and one of the second."""
    return Result(
        cell=cell,
        made_from="",
        patients={"train": (count, 1), "val": (1, 1), "test": (1, 1)},
        tested="",
        best_step=1,
        validation_auc=auc,
        test_auc=auc,
    )
