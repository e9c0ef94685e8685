"""Options: columns and plans as the command line spells them, KEY=VALUE."""

from pydantic import ValidationError

from deepsmile_training.cohorts.generic import Columns
from deepsmile_training.cohorts.problems import CohortInvalid
from deepsmile_training.cohorts.splitting import SplitPlan

ROLES = ("patient", "slide", "site", "score", "stratum")
LISTS = ("strata", "test_where")


def columns_from(
    labels: list[str], roles: list[str], missing: list[str], *, distinct: bool = False
) -> Columns:
    """Columns from `status=neg,pos`, `score=age` and the like; "slide=" where there is none.

    `missing` has cells, of labels and strata, or COLUMN=CELL.
    """
    named: dict[str, list[str]] = {role: [] for role in ROLES}
    for role, column in map(_pair, roles):
        if role not in named:
            raise CohortInvalid(f"--column {role}=: not one of {', '.join(ROLES)}")
        named[role].append(column)
    missing_in: dict[str, set[str]] = {}
    for column, cell in (_pair(text) for text in missing if "=" in text):
        missing_in.setdefault(column, set()).add(cell)
    return Columns(
        patient=(named["patient"] or ["patient"])[-1],
        slide=(named["slide"] or ["slide"])[-1] or None,
        site=(named["site"] or [""])[-1] or None,
        labels=dict(_label(text) for text in labels),
        scores=tuple(named["score"]),
        strata=tuple(named["stratum"]),
        missing=frozenset(text for text in missing if "=" not in text),
        missing_in={column: frozenset(cells) for column, cells in missing_in.items()},
        distinct=distinct,
    )


def plan_from(labels: list[str], options: list[str]) -> SplitPlan:
    """A plan from `kind=fixed-test`, `strata=age,site` and the like."""
    told: dict[str, object] = {"labels": labels}
    for key, value in map(_pair, options):
        told[key] = value.split(",") if key in LISTS else value
    try:
        return SplitPlan.model_validate(told)
    except ValidationError as error:
        first = error.errors()[0]
        raise CohortInvalid(f"--plan {'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def _pair(text: str) -> tuple[str, str]:
    key, found, value = text.partition("=")
    if not found:
        raise CohortInvalid(f"{text!r} is not KEY=VALUE")
    return key, value


def _label(text: str) -> tuple[str, tuple[str, ...]]:
    name, _, classes = text.partition("=")
    return name, tuple(classes.split(",")) if classes else ()
