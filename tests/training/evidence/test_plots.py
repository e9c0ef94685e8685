"""Plots: what their axes and points name."""

from matplotlib.figure import Figure

from deepsmile_training.evidence.plots import mark_sizes, numbered


def test_sizes_too_near_to_each_other_are_not_named() -> None:
    axes = Figure().subplots()
    axes.set_xscale("log")
    mark_sizes(axes, [4, 7, 10, 14, 16, 18, 21, 24, 27, 30])
    named = [label.get_text() for label in axes.get_xticklabels()]
    assert named == ["4", "7", "10", "14", "18", "21", "27"]


def test_points_near_to_each_other_share_the_place_of_their_numbers() -> None:
    """Names in the plot did overlap from 0.04 to 0.3 apart; numbers need 0.08."""
    youden, rule_out, rule_in, same = (0.40, 0.944), (0.48, 0.972), (0.07, 0.40), (0.40, 0.95)
    found = numbered([youden, rule_out, rule_in, same])
    assert found == {youden: [1, 4], rule_out: [2], rule_in: [3]}
