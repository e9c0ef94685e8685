"""Plots: what their axes name."""

from matplotlib.figure import Figure

from deepsmile_training.evidence.plots import mark_sizes


def test_sizes_too_near_to_each_other_are_not_named() -> None:
    axes = Figure().subplots()
    axes.set_xscale("log")
    mark_sizes(axes, [4, 7, 10, 14, 16, 18, 21, 24, 27, 30])
    named = [label.get_text() for label in axes.get_xticklabels()]
    assert named == ["4", "7", "10", "14", "18", "21", "27"]
