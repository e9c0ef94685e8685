"""Peers: two slides and one ResNet18 through other tools and through DeepSMILE, side by side.

    python -m benchmarks.peers.compare --venvs DIR [SMALL LARGE] [--rounds 3]

Each peer runs in its own environment DIR/NAME (README.md beside this file says how to make
them) with its own tissue rule and its own defaults; one that is not there is listed as missing.
Every run is a process of its own, the tools take turns, and figures are medians over rounds. A
tile's cost is the slope between the two slides, which removes starting and loading. Goals, against
the best peer: fp32 at most 0.6 x the CPU time per tile and 2.5 x as fast as a whole; int8 0.35 x
and 4 x.

First the features: all tools encode the tissue tiles of the small slide that DeepSMILE found.
"""

import argparse
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.peers import likeness
from benchmarks.peers.figures import Cost, Run, cost, table, verdicts
from benchmarks.peers.launching import Tool, launch, ours, peers
from benchmarks.peers.prepare import Models, prepare
from benchmarks.slides import SIDES_PX, benchmark_slide
from deepsmile.backends.onnx import OnnxEncoder, available_cores

CHOICE_TILES = 24
"""Enough to tell what a kernel or a level does."""


@dataclass
class Series:
    """The runs of one tool, by slide, round by round."""

    small: list[Run] = field(default_factory=list)
    large: list[Run] = field(default_factory=list)


def features(tools: list[Tool], slide: Path, models: Models) -> Iterator[str]:
    """How like the peers' features are to ours, and why they are not the same."""
    encoder = OnnxEncoder(models.fp32.encoder_path, available_cores())
    fp32, int8 = (launch(tool, slide)[1] for tool in ours(models))
    alike = likeness.Alike.of(fp32.features, int8.features)
    yield f"int8 against fp32, {len(fp32.features)} tiles: cosine {alike}"
    with tempfile.TemporaryDirectory() as folder:
        places = Path(folder) / "places.npy"
        np.save(places, fp32.corners_l0)
        for tool in tools:
            _, theirs = launch(tool, slide, ["--places", str(places), "--pixels"])
            found = likeness.compare(slide, fp32, theirs, encoder)
            yield (
                f"{tool.name}: {found.tiles} tiles at most {found.apart_px:g} px apart;"
                f" cosine {found.features}; its pixels through both networks {found.same_pixels};"
                f" it reads {found.nearest} ({found.nearest_db:.1f} dB from its pixels), and these"
                f" through our network give {found.explained}"
            )
    some = fp32.corners_l0[:: max(len(fp32.corners_l0) // CHOICE_TILES, 1)]
    for choice, alike in likeness.choices(slide, some, encoder):
        yield f"ours with {choice}: {alike}"


def measure(tools: list[Tool], slides: tuple[Path, Path], rounds: int) -> dict[str, Cost]:
    """All tools on both slides, in turns."""
    series = {tool.name: Series() for tool in tools}
    for number in range(rounds):
        for tool in tools:
            runs = series[tool.name]
            for slide, kept in zip(slides, (runs.small, runs.large), strict=True):
                run, _ = launch(tool, slide)
                kept.append(run)
                print(f"round {number + 1}, {tool.name}, {slide.name}: {run}", flush=True)
    return {name: cost(runs.small, runs.large) for name, runs in series.items()}


def lines(slides: tuple[Path, Path], venvs: Path, rounds: int, folder: Path) -> Iterator[str]:
    """The whole comparison; models go into `folder`."""
    models = prepare(slides[0], folder)
    known = peers(venvs, models)
    there = [tool for tool in known if tool.is_there]
    yield load()
    yield from features(there, slides[0], models)
    found = measure([*there, *ours(models)], slides, rounds)
    names = [tool.name for tool in [*known, *ours(models)]]
    yield from table({name: found.get(name) for name in names})
    theirs = {tool.name: found[tool.name] for tool in there}
    for precision, tool in zip(("fp32", "int8"), ours(models), strict=True):
        yield from verdicts(precision, found[tool.name], theirs) if theirs else ()
    yield load()


def load() -> str:
    return f"load {os.getloadavg()[0]:.1f} on {available_cores()} cores"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("slides", type=Path, nargs="*", help="small, large; else two are painted")
    parser.add_argument("--venvs", type=Path, required=True, help="the folder of the peers'")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if len(options.slides) not in (0, 2):
        parser.error("two slides, or none")
    small, large = options.slides or [benchmark_slide(side) for side in reversed(SIDES_PX)]
    slides = small.absolute(), large.absolute()
    with tempfile.TemporaryDirectory() as folder:
        for line in lines(slides, options.venvs.absolute(), options.rounds, Path(folder)):
            print(line, flush=True)


if __name__ == "__main__":
    main()
