"""Figures: what runs on two slides come to, and whether a goal is reached."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Run:
    """One slide through one tool, from the launch of a process to its end."""

    tiles: int
    wall_s: float
    cpu_s: float
    """Of the process and all its descendants."""
    peak_mb: float
    """Proportional memory of the process tree."""


@dataclass(frozen=True)
class Cost:
    """What a tool costs, start-up removed: medians over rounds."""

    tiles: tuple[int, int]
    """Of the small and of the large slide."""
    cpu_ms: float
    """Per tile."""
    wall_ms: float
    """Per tile."""
    whole_s: float
    """Wall time of the large slide, start included."""
    peak_mb: float
    """On the large slide."""

    @property
    def whole_ms(self) -> float:
        """Wall time of the large slide, start included, by its tiles."""
        return 1e3 * self.whole_s / self.tiles[1]


CPU_GOALS = {"fp32": 0.6, "int8": 0.35}
"""Our marginal CPU time per tile, of the least of the peers'."""
SPEED_GOALS = {"fp32": 2.5, "int8": 4.0}
"""The shortest whole wall time of the peers, by ours."""


def cost(small: Sequence[Run], large: Sequence[Run]) -> Cost:
    """The slope between two slides, round by round, then medians."""
    rounds = list(zip(small, large, strict=True))
    return Cost(
        tiles=(small[0].tiles, large[0].tiles),
        cpu_ms=statistics.median(_slope_ms(a, b, b.cpu_s - a.cpu_s) for a, b in rounds),
        wall_ms=statistics.median(_slope_ms(a, b, b.wall_s - a.wall_s) for a, b in rounds),
        whole_s=statistics.median(run.wall_s for run in large),
        peak_mb=statistics.median(run.peak_mb for run in large),
    )


def _slope_ms(small: Run, large: Run, seconds: float) -> float:
    assert large.tiles > small.tiles, "the second slide must have more tiles than the first"
    return 1e3 * seconds / (large.tiles - small.tiles)


def verdicts(precision: str, ours: Cost, peers: dict[str, Cost]) -> list[str]:
    """One line per goal; the best peer is chosen for each goal anew."""
    frugal = min(peers, key=lambda name: peers[name].cpu_ms)
    quick = min(peers, key=lambda name: peers[name].whole_s)
    share = ours.cpu_ms / peers[frugal].cpu_ms
    speed, fair = peers[quick].whole_s / ours.whole_s, peers[quick].whole_ms / ours.whole_ms
    return [
        f"{precision}, CPU per tile: {share:.2f} x that of {frugal}, goal at most"
        f" {CPU_GOALS[precision]}: {reached(share <= CPU_GOALS[precision])}",
        f"{precision}, whole wall time: {speed:.1f} x as fast as {quick} ({fair:.1f} x by the tiles"
        f" that each kept), goal at least {SPEED_GOALS[precision]}:"
        f" {reached(speed >= SPEED_GOALS[precision])}",
    ]


def reached(is_reached: bool) -> str:
    return "reached" if is_reached else "not reached"


def table(costs: dict[str, Cost | None]) -> list[str]:
    """Markdown; a tool without a cost is a line that says so."""
    head = [
        "| tool | tiles | CPU ms/tile | wall ms/tile | whole wall, s | peak MB |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    return head + [_row(name, found) for name, found in costs.items()]


def _row(name: str, found: Cost | None) -> str:
    if found is None:
        return f"| {name} | missing | | | | |"
    tiles = ", ".join(str(count) for count in found.tiles)
    return (
        f"| {name} | {tiles} | {found.cpu_ms:.1f} | {found.wall_ms:.1f} | {found.whole_s:.1f}"
        f" | {found.peak_mb:.0f} |"
    )
