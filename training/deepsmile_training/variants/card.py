"""Variant card: which precision a bundle is in and what that moved, then its parent's card."""

from collections.abc import Iterator

from deepsmile.bundle import Bundle
from deepsmile.contract import Contract
from deepsmile.precision import Precision
from deepsmile.report import RESEARCH_USE_ONLY


def render_variant_card(
    contract: Contract, parent: Bundle, precision: Precision, command: str
) -> str:
    """Markdown; equal inputs give equal bytes."""
    return f"""# {parent.file.notice}

{RESEARCH_USE_ONLY} This is the bundle `{parent.name}` with its encoder in {precision.kind}
({precision.how}). Heads, calibration and thresholds are those of `{parent.name}`.

## Precision

Accepted because on {precision.shift.slides} slides ({precision.shift.tiles:,} tiles) that took no
part in making it, scored by both bundles as they are served ({precision.measured_on}), nothing
went out of bounds:

| figure | measured | bound |
|---|--:|--:|
{chr(10).join(_rows(precision))}

{_refused(precision)}{_calibration(precision)}

## Digests

- made by: `{command}`
- parent: `{precision.parent_digest}`
- contract: `{contract.digest}`
- feature contract: `{contract.features.digest}`
- encoder: `{contract.features.encoder.sha256}`
- slides that judged (over their SHA-256s): `{precision.judges_digest}`

# The card of `{parent.name}`

Its figures were measured in fp32.

{parent.card()}"""


def _rows(precision: Precision) -> Iterator[str]:
    shift, bounds = precision.shift, precision.bounds
    yield f"| mean cosine of features | {shift.cosine_mean:.5f} | >= {bounds.cosine_mean:g} |"
    yield f"| least cosine of features | {shift.cosine_min:.5f} | >= {bounds.cosine_min:g} |"
    for name, head in shift.heads.items():
        largest, labels = f"{name}: largest change of the", f"{name}: slides with another label"
        yield f"| {largest} raw probability | {head.raw:.4f} | <= {bounds.score:g} |"
        yield f"| {largest} calibrated probability | {head.calibrated:.4f} | <= {bounds.score:g} |"
        yield f"| {labels} | {head.labels_changed} | |"


def _refused(precision: Precision) -> str:
    lines = (f"Refused before: {one.how}; {one.shift}.\n" for one in precision.refused)
    return "".join(lines)


def _calibration(precision: Precision) -> str:
    if precision.calibration is None:
        return "Nothing was calibrated: fp16 is only a shorter spelling of the same numbers."
    made = precision.calibration
    where = " Use it only on CPUs with VNNI: others may saturate." if precision.needs_vnni else ""
    return (
        f"Ranges were set by {made.tiles} tiles of slides that did not judge ({made.slides} of"
        f" them; SHA-256 of the pixels `{made.tiles_sha256}`).{where}"
    )
