"""ProbeReport: what a probe found, as a file that says of which encoders."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from deepsmile.errors import RequestInvalid
from deepsmile.frozen import Frozen, Sha256
from deepsmile_training.encoders.probe import K
from deepsmile_training.metrics import Estimate

SHOWN = 3
"""Values of a label that the table names."""


@dataclass(frozen=True)
class Probed:
    """One encoder's answers to one question: shares of tiles, intervals over cases."""

    encoder: str
    sha256: Sha256
    """Of its weights (`digest_of_weights`); of an exported one, of the file."""
    label: str
    values: tuple[str, ...]
    """The label's values that were asked for."""
    tiles: int
    cases: int
    nearest: Estimate
    neighbours: Estimate
    linear: Estimate
    gain: Estimate
    """Of `neighbours` over the first encoder's, tile by tile."""


class ProbeReport(Frozen):
    """All figures, as `probe --out` writes them."""

    store: Sha256
    """Digest of the tile store."""
    tiles: int
    size_px: int
    neighbours: int
    table: str
    figures: tuple[Probed, ...]
    software: dict[str, str]

    def demand(self, digests: Collection[str]) -> None:
        """Raises RequestInvalid unless an encoder of one of these digests was probed."""
        if not any(one.sha256 in digests for one in self.figures):
            names = ", ".join(dict.fromkeys(one.encoder for one in self.figures))
            raise RequestInvalid(
                f"the probe is of other encoders: {names or 'none'}",
                hint="Probe the very encoder that is exported, and give that file.",
            )


def read_report(path: Path) -> ProbeReport:
    """What `probe --out` wrote.

    Raises:
        RequestInvalid: no such file, or it says something else.
    """
    try:
        return ProbeReport.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        what = ".".join(str(part) for part in first["loc"])
        said = f"{what}: {first['msg']}".removeprefix(": ")
    except OSError as error:
        said = str(error.strerror)
    raise RequestInvalid(
        f"{path}: no report of a probe: {said}",
        hint="Run `deepsmile-train probe --out` again: it now says which weights were probed.",
    )


def table(found: Sequence[Probed], own: Collection[str] = ()) -> str:
    """Markdown, one line per encoder and question; those of digest `own` are bold."""
    head = f"| encoder | label | nearest | {K}-NN | linear | {K}-NN over the first |"
    rows = [
        f"| {f'**{one.encoder}**' if one.sha256 in own else one.encoder} | {_asked(one)}"
        f" | {_cell(one.nearest)} | {_cell(one.neighbours)} | {_cell(one.linear)}"
        f" | {_cell(one.gain, '+')} |"
        for one in found
    ]
    return "\n".join([head, "|---|---|---|---|---|---|", *rows])


def _asked(one: Probed) -> str:
    values = ", ".join(one.values) if len(one.values) <= SHOWN else f"{len(one.values)} values"
    return f"{one.label}: {values}; {one.tiles:,} tiles, {one.cases} cases"


def _cell(estimate: Estimate, sign: str = "") -> str:
    value, low, high = (
        f"{number:{sign}.3f}" for number in (estimate.value, estimate.low, estimate.high)
    )
    return f"{value} ({low} to {high})"
