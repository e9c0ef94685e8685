"""The claim's figure: AUC of each method with its interval, one panel per signal."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from deepsmile_training.metrics import Estimate

PANELS = {
    "heterogeneity": "Signal: tiles differ within a slide",
    "cellularity": "Signal: the mean of the tiles",
}
COLOURS = ("#6b7280", "#2563eb", "#b91c1c")
Found = tuple[Estimate, Sequence[float]]
"""AUC of all slides, and of each fold."""
INK, FAINT = "#1f2937", "#9ca3af"


def draw(figures: Mapping[tuple[str, str], Found], slides: int, path: Path) -> None:
    """Write an SVG of figures by label and method; equal figures give equal files."""
    figure = Figure(figsize=(8, 3.5), layout=ConstrainedLayoutEngine(wspace=0.06))
    axes = figure.subplots(1, len(PANELS), sharey=True)
    for ax, (label, title) in zip(axes, PANELS.items(), strict=True):
        found = {method: each for (of, method), each in figures.items() if of == label}
        _panel(ax, found, title)
    axes[0].set_ylabel("AUC on test slides", color=INK)
    note = (
        f"Dots: {slides} synthetic slides, each tested once (nested 5-fold); bars: DeLong's 95 %"
        " interval; rings: the five folds."
    )
    figure.supxlabel(note, fontsize=8.5, color=INK)
    path.parent.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context({"svg.hashsalt": path.stem}):
        figure.savefig(path, facecolor="white", metadata={"Date": None})


def _panel(ax: Axes, found: Mapping[str, Found], title: str) -> None:
    ax.axhline(0.5, color=FAINT, linestyle=(0, (4, 3)), linewidth=1)
    ax.annotate("chance", (2.42, 0.508), fontsize=8.5, color="#6b7280", ha="right")
    for place, ((pooled, folds), colour) in enumerate(zip(found.values(), COLOURS, strict=True)):
        ax.plot([place - 0.16] * len(folds), folds, "o", markersize=4, mfc="none", mec=colour)
        ax.plot([place, place], [pooled.low, pooled.high], color=colour, linewidth=2.4)
        ax.plot(place, pooled.value, "o", color=colour, markersize=8)
        ax.annotate(
            f"{pooled.value:.3f}",
            (place + 0.1, pooled.value),
            fontsize=11,
            color=colour,
            fontweight="bold",
            va="center",
        )
    ax.set_title(title, fontsize=11.5, color=INK)
    ax.set_xticks(range(len(found)), list(found), fontsize=10, color=INK)
    ax.set(xlim=(-0.5, 2.55), ylim=(0.35, 1.03))
    ax.tick_params(length=0, colors=INK)
    ax.grid(axis="y", color="#e5e7eb", linewidth=0.7)
    ax.set_axisbelow(True)
    ax.spines[["top", "right", "left"]].set_visible(False)
