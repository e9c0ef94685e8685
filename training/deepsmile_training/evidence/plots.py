"""Plots: a report's curves as SVG that takes the colours of the page it stands in."""

import math
import re
from collections.abc import Callable, Sequence
from io import StringIO
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from deepsmile_training.evidence.curves import Bin
from deepsmile_training.evidence.report import EvidenceReport

SIZE_INCHES = (4.6, 3.9)
NEAR = 0.08
"""Numbers of points so near to each other would overlap."""
CROWDED = 0.07
"""So do numbers at such a share of an axis."""
# matplotlib knows no CSS: these stand for the page's colours until they are replaced.
INK, MUTED, LINE, FIRST, SECOND = ("#010101", "#020202", "#030303", "#040404", "#050505")
VARIABLES = {INK: "ink", MUTED: "muted", LINE: "line", FIRST: "first", SECOND: "second"}
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 11,
    "font.family": "sans-serif",
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "lines.linewidth": 2,
    "legend.frameon": False,
    "legend.fontsize": 10,
}


def plots(report: EvidenceReport) -> dict[str, str]:
    """Name -> SVG, of what the report has."""
    drawn: dict[str, Callable[[Axes, EvidenceReport], None]] = {
        "ROC curve": _roc,
        "Precision and recall": _precision_recall,
        "Reliability": _reliability,
        "Decision curve": _decision,
    }
    if report.learning:
        drawn["Learning curve"] = _learning
    return {name: _svg(name, draw, report) for name, draw in drawn.items()}


def _svg(name: str, draw: Callable[[Axes, EvidenceReport], None], report: EvidenceReport) -> str:
    """With ids that depend on the name, so that plots of one page share none."""
    with mpl.rc_context({**STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=SIZE_INCHES, layout="constrained")
        draw(figure.add_subplot(), report)
        text = StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    return _for_page(text.getvalue())


def _for_page(svg: str) -> str:
    """Without prologue, fixed size and numbered ids; with the page's colours and letters."""
    svg = svg[svg.index("<svg ") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'^<svg .*?viewBox="([^"]+)".*?>', r'<svg viewBox="\1">', svg, flags=re.DOTALL)
    svg = re.sub(r' id="[A-Za-z0-9.]+_[0-9]+"', "", svg)
    svg = re.sub(r"font-family: [^;\"]+;? ?", "", svg)
    for colour, name in VARIABLES.items():
        svg = svg.replace(colour, f"var(--{name})")
    return svg


def _roc(axes: Axes, report: EvidenceReport) -> None:
    curve = report.discrimination.roc
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle="--")
    axes.plot(curve.x, curve.y, color=FIRST)
    points = _places(report)
    for x, y in points.values():
        axes.plot(x, y, "o", color=SECOND, markersize=7)
    for here, numbers in numbered(list(points.values())).items():
        axes.annotate(", ".join(map(str, numbers)), here, (8, -10), textcoords="offset points")
    names = "\n".join(f"{number} {name}" for number, name in enumerate(points, 1))
    axes.text(0.98, 0.03, names, ha="right", va="bottom", multialignment="left")
    _label(axes, "1 - specificity", "Sensitivity")


def _places(report: EvidenceReport) -> dict[str, tuple[float, float]]:
    """Name -> where an operating point lies."""
    return {
        one.point.name.replace("_", "-"): (1 - one.specificity.value, one.sensitivity.value)
        for one in report.points
        if one.sensitivity is not None and one.specificity is not None
    }


def numbered(places: Sequence[tuple[float, float]]) -> dict[tuple[float, float], list[int]]:
    """Where numbers stand, from 1, and which: those of neighbours share the place of the first."""
    shared: dict[tuple[float, float], list[int]] = {}
    for number, here in enumerate(places, 1):
        near = (place for place in shared if math.dist(place, here) < NEAR)
        shared.setdefault(next(near, here), []).append(number)
    return shared


def _precision_recall(axes: Axes, report: EvidenceReport) -> None:
    curve = report.discrimination.precision_recall
    axes.axhline(report.cohort.prevalence.value, color=MUTED, linewidth=1, linestyle="--")
    axes.step(curve.x, curve.y, color=FIRST, where="post")
    _label(axes, "Recall (sensitivity)", "Precision (PPV)")


def _reliability(axes: Axes, report: EvidenceReport) -> None:
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle="--")
    both = report.calibration
    _bins(axes, both.raw.reliability, SECOND, "raw", shift=-0.006)
    _bins(axes, both.calibrated.reliability, FIRST, "calibrated", shift=0.006)
    axes.legend(loc="upper left")
    _label(axes, "Predicted probability", "Observed share")


def _bins(axes: Axes, bins: Sequence[Bin], colour: str, name: str, shift: float) -> None:
    x = [one.predicted + shift for one in bins]
    y = [one.observed.value for one in bins]
    below = [one.observed.value - one.observed.low for one in bins]
    above = [one.observed.high - one.observed.value for one in bins]
    reach = np.maximum([below, above], 0)  # (2, k) Wilson's ends may round past 0 or 1
    axes.errorbar(
        x,
        y,
        reach,
        color=colour,
        marker="o",
        markersize=5,
        elinewidth=1.2,
        linewidth=1.5,
        label=name,
    )


def _decision(axes: Axes, report: EvidenceReport) -> None:
    curve = report.decision
    top = report.cohort.prevalence.value
    axes.axhline(0, color=MUTED, linewidth=1.5, label="treat nobody")
    axes.plot(curve.thresholds, curve.everybody, color=SECOND, label="treat all")
    axes.plot(curve.thresholds, curve.model, color=FIRST, label="calibrated model")
    axes.legend(loc="upper right")
    _label(axes, "Threshold probability", "Net benefit per patient")
    axes.set_ylim(-0.25 * top, 1.15 * top)


def _learning(axes: Axes, report: EvidenceReport) -> None:
    sizes = [point.trained_on for point in report.learning]
    values = np.array([point.auroc.value for point in report.learning])  # (k,)
    low = values - [point.auroc.low for point in report.learning]  # (k,)
    high = np.array([point.auroc.high for point in report.learning]) - values  # (k,)
    axes.errorbar(sizes, values, [low, high], color=FIRST, fmt="o", elinewidth=1.2)
    distinct = sorted(set(sizes))
    means = [values[np.array(sizes) == size].mean() for size in distinct]
    axes.plot(distinct, means, color=FIRST, linewidth=1.5)
    axes.set_xscale("log")
    mark_sizes(axes, distinct)
    axes.set_xlabel("Training patients")
    axes.set_ylabel("AUROC")


def mark_sizes(axes: Axes, sizes: Sequence[int]) -> None:
    """Name the sizes (rising) on a logarithmic x axis, but for those too near to the one before."""
    apart = (sizes[-1] / sizes[0]) ** CROWDED
    named: list[int] = []
    for size in sizes:
        if not named or size >= named[-1] * apart:
            named.append(size)
    axes.set_xticks(named, [str(size) for size in named])
    axes.minorticks_off()


def _label(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
