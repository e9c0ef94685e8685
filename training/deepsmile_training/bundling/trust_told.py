"""Trust told: what a head promises where it may abstain, and what it came to, for a card."""

from collections.abc import Mapping
from dataclasses import dataclass
from textwrap import fill

from scipy.stats import binomtest

from deepsmile.contract import Conformal, Head
from deepsmile_training.metrics import COVERAGE

WIDTH = 100
"""Of a card's lines, characters."""


@dataclass(frozen=True)
class Kept:
    """What a head's promises came to on test."""

    unit: str
    """What has one prediction set: "slides" or "patients"."""
    negatives: int
    positives: int
    covered: Mapping[str, int] | None
    """Of each class, whose prediction set held it."""
    uncertain: int
    """Who gets a probability and no label."""
    slides: int
    declined: int
    """Slides too novel for the head."""


def tell_trust(head: Head, kept: Kept) -> str:
    """Two bullets, on prediction sets and on novelty."""
    return f"{_sets(head, kept)}\n{_novelty(head, kept)}"


def bullet(text: str) -> str:
    """One item of a list, in lines of the card's width."""
    return fill(text, WIDTH, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False)


def paragraph(text: str) -> str:
    """A text in lines of the card's width."""
    return fill(text, WIDTH, break_on_hyphens=False)


def _sets(head: Head, kept: Kept) -> str:
    rule, covered, unit = head.conformal, kept.covered, kept.unit
    if rule is None or covered is None:
        return "- **Prediction sets**: none; a label is given however near the two classes are."
    totals = {head.negative: kept.negatives, head.positive: kept.positives}
    held = [_held(name, covered[name], n, rule) for name, n in totals.items()]
    return bullet(
        f"**Prediction sets** are to hold the true class of {rule.coverage:.0%} of the {unit} of"
        f" either class: {head.negative} up to a probability of {rule.negative_up_to:.3f},"
        f" {head.positive} from {rule.positive_from:.3f} on (split-conformal, on {rule.basis})."
        f" On test they held that of {' and '.join(held)} {unit}. A set of both classes or of none,"
        " or one that contradicts the operating point, gives no label:"
        f" {kept.uncertain} of {kept.negatives + kept.positives} test {unit}."
    )


def _held(name: str, covered: int, total: int, rule: Conformal) -> str:
    """Those of one class whose set held it; says so where that breaks the promise."""
    interval = binomtest(covered, total).proportion_ci(COVERAGE)
    short = ", short of the promise" if interval.high < rule.coverage else ""
    bounds = f"{COVERAGE:.0%} interval {interval.low:.0%} to {interval.high:.0%}{short}"
    return f"{covered} of {total} {name} ({bounds})"


def _novelty(head: Head, kept: Kept) -> str:
    rule = head.novelty
    if rule is None:
        return "- **Novelty**: not told; slides unlike the training slides are scored as any other."
    return bullet(
        f"**Novelty**: slides with a score above {rule.threshold:.2f} are declined, to be at most"
        f" {rule.rate:.0%} of slides like the training ones ({rule.basis}). On test:"
        f" {kept.declined} of {kept.slides}. All other figures are of all test slides,"
        " these too."
    )
