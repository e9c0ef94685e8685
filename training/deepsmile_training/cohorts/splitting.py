"""Splitting: a plan with a seed, and the folds that follow from it."""

from typing import Self

import numpy as np
from pydantic import Field, model_validator

from deepsmile_training.cohorts.cohort import Cohort
from deepsmile_training.cohorts.dealing import deal
from deepsmile_training.cohorts.labels import resolve_labels
from deepsmile_training.cohorts.problems import CohortInvalid
from deepsmile_training.cohorts.sealed import Record
from deepsmile_training.cohorts.splits import Fold, Kind, Split, check_split
from deepsmile_training.cohorts.strata import sites_of, strata_of

TENTHS = 10


class SplitPlan(Record):
    """How to split; with the cohort it decides every fold.

    nested: five disjoint test folds, a quarter of each rest validates (the authors' code).
    fixed-test: a quarter tests, the rest is five folds of 15 % (paper section 3.1.2).
    """

    kind: Kind = "nested"
    folds: int = Field(5, ge=2)
    val_share: float = Field(0.25, gt=0, lt=1)
    """nested: of the patients that are not tested."""
    test_share: float = Field(0.25, gt=0, lt=1)
    """fixed-test: of all."""
    test_where: tuple[str, str] | None = None
    """fixed-test: the stratum and its value that the published test patients have."""
    labels: tuple[str, ...] = ()
    """Balanced first, and every part of every fold must have all their classes."""
    strata: tuple[str, ...] = ()
    """Balanced next: labels, scores by thirds, or other columns."""
    by_site: bool = False
    """Sites stay whole, so that none is tested that was trained on (Howard et al. 2021)."""
    subsets: bool = False
    """Nested tenths of the training patients, for learning curves."""
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _needs_a_fixed_test(self) -> Self:
        if self.test_where and self.kind != "fixed-test":
            raise CohortInvalid("published test patients need a split of kind fixed-test")
        return self


def make_split(cohort: Cohort, plan: SplitPlan, keep: Split | None = None) -> Split:
    """Every patient in one part of each fold, balanced, and the same for the same plan.

    With a former split to keep, its patients are tested if and only if they were. Raises
    CohortInvalid where a part would lack a class of one of the plan's labels, published or former
    test patients share a site with others and sites shall stay whole, or there is no fixed test
    to keep.
    """
    if keep:
        _check_kept(plan, keep)
    folds = _nested(cohort, plan) if plan.kind == "nested" else _fixed(cohort, plan, keep)
    if plan.subsets:
        folds = [_with_subsets(cohort, plan, fold, index) for index, fold in enumerate(folds)]
    split = Split(
        cohort=cohort.digest,
        kind=plan.kind,
        made=plan.model_dump(mode="json") | ({"kept": keep.digest} if keep else {}),
        folds=tuple(with_thresholds(cohort, fold, plan.labels) for fold in folds),
    )
    check_split(split, cohort)
    return split


def _check_kept(plan: SplitPlan, keep: Split) -> None:
    if plan.test_where:
        raise CohortInvalid("a test_where says who is tested; leave it out, or --keep")
    if {plan.kind, keep.kind} != {"fixed-test"}:
        raise CohortInvalid(
            f"a split of kind {keep.kind} cannot be kept in one of kind {plan.kind}",
            hint="A fixed test set is kept with --plan kind=fixed-test.",
        )


def with_thresholds(cohort: Cohort, fold: Fold, labels: tuple[str, ...]) -> Fold:
    """The fold with what its own patients say about labels by rule; checks every label."""
    resolved = {label: resolve_labels(cohort, fold, label).thresholds for label in labels}
    found = {label: cuts for label, cuts in resolved.items() if cuts is not None}
    return fold.model_copy(update={"thresholds": found})


def _nested(cohort: Cohort, plan: SplitPlan) -> list[Fold]:
    everyone = tuple(cohort.by_name)
    folds = []
    for index, test in enumerate(_parts(cohort, plan, everyone, [1 / plan.folds] * plan.folds)):
        rest = _without(everyone, test)
        shares = [1 - plan.val_share, plan.val_share]
        train, val = _parts(cohort, plan, rest, shares, stage=1 + index)
        folds.append(Fold(train=train, val=val, test=test))
    return folds


def _fixed(cohort: Cohort, plan: SplitPlan, keep: Split | None) -> list[Fold]:
    everyone = tuple(cohort.by_name)
    if plan.test_where:
        test = _published_test(cohort, plan)
    elif keep:
        test = _kept_test(cohort, plan, keep)
    else:
        test = _drawn_test(cohort, plan, everyone)
    rest = _without(everyone, test)
    held_out = _parts(cohort, plan, rest, [1 / plan.folds] * plan.folds, stage=1)
    return [Fold(train=_without(rest, val), val=val, test=test) for val in held_out]


def _drawn_test(cohort: Cohort, plan: SplitPlan, names: tuple[str, ...]) -> tuple[str, ...]:
    return _parts(cohort, plan, names, [plan.test_share, 1 - plan.test_share])[0]


def _kept_test(cohort: Cohort, plan: SplitPlan, keep: Split) -> tuple[str, ...]:
    """Who was tested, and a share of those who are new; by site, whoever is of a known one."""
    of, tested = cohort.by_name, set(keep.folds[0].test)
    known = keep.patients & of.keys()
    if plan.by_site:
        sites = {of[name].site: name in tested for name in known}
        tested |= {name for name in of if name not in known and sites.get(of[name].site)}
        known |= {name for name in of if of[name].site in sites}
    new = tuple(name for name in of if name not in known)
    drawn = set(_drawn_test(cohort, plan, new)) if new else set()
    return tuple(name for name in of if name in tested | drawn)


def _published_test(cohort: Cohort, plan: SplitPlan) -> tuple[str, ...]:
    assert plan.test_where is not None
    column, value = plan.test_where
    found = tuple(one.name for one in cohort.patients if one.strata.get(column) == value)
    if not found:
        raise CohortInvalid(f"no patient of {cohort.name} has {column} = {value}")
    return found


def _with_subsets(cohort: Cohort, plan: SplitPlan, fold: Fold, index: int) -> Fold:
    # Sites may be cut here: nobody is tested on who is left out.
    free = plan.model_copy(update={"by_site": False})
    stage = 1 + plan.folds + index
    tenths = _parts(cohort, free, fold.train, [1 / TENTHS] * TENTHS, stage=stage)
    subsets = {
        f"{count / TENTHS}": tuple(sorted(sum(tenths[:count], ())))
        for count in range(1, TENTHS + 1)
    }
    return fold.model_copy(update={"subsets": subsets})


def _parts(
    cohort: Cohort, plan: SplitPlan, names: tuple[str, ...], shares: list[float], *, stage: int = 0
) -> list[tuple[str, ...]]:
    patients = [cohort.by_name[name] for name in names]
    strata = strata_of(patients, cohort, plan.labels + plan.strata)  # (P, L)
    groups = sites_of(patients) if plan.by_site else None
    rng = np.random.default_rng([plan.seed, stage])
    leading = 1 + len(plan.labels or plan.strata)  # everyone is the first column
    part = deal(strata, shares, rng, leading=leading, groups=groups).tolist()
    dealt = list(zip(names, part, strict=True))
    return [tuple(name for name, its in dealt if its == index) for index in range(len(shares))]


def _without(names: tuple[str, ...], others: tuple[str, ...]) -> tuple[str, ...]:
    gone = set(others)
    return tuple(name for name in names if name not in gone)
