"""Card: an encoder's card, for a person, generated from what its file says."""

import json
from typing import Any

from deepsmile.report import RESEARCH_USE_ONLY
from deepsmile_training.encoders.encoder_file import EncoderFile
from deepsmile_training.encoders.probe_report import ProbeReport, table
from deepsmile_training.encoders.tile_encoder import TILE_PX


def render_card(file: EncoderFile) -> str:
    """Markdown; equal inputs give equal bytes."""
    provenance = file.provenance
    parts = [
        f"# Tile encoder `{file.name}`",
        _use(file),
        _graph(file),
        _origin(provenance),
        _training(provenance.get("data"), provenance.get("training")),
        _probe(provenance.get("probe"), _own(file)),
        _agreement(provenance["export"]["agreement"]),
        _digests(file),
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _use(file: EncoderFile) -> str:
    return f"""
{RESEARCH_USE_ONLY}

An encoder scores nothing by itself: heads are trained on its features, and a bundle holds both.
"""


def _graph(file: EncoderFile) -> str:
    done, tile = file.preprocessing, file.features.tile
    size = f"{done.input_px} px"
    resized = "as it is" if done.input_px == tile.size_px else f"resized bilinearly to {size}"
    return f"""
## Graph

- backbone: `{file.backbone}`, without its classifier
- in: bytes (B, {tile.size_px}, {tile.size_px}, 3), RGB, {tile.size_um:g} um wide
- out: float32 (B, {file.features.encoder.feature_dim})
- inside: scaled to {done.scale}, minus {_colour(done.mean)}, over {_colour(done.deviation)}
- size: {resized}
"""


def _colour(values: tuple[float, float, float]) -> str:
    return "(" + ", ".join(f"{value:.4g}" for value in values) + ")"


def _origin(provenance: dict[str, Any]) -> str:
    return "## Weights\n\n" + _facts(provenance.get("origin", {}))


def _training(data: str | None, training: dict[str, Any] | None) -> str:
    said = f"## Training\n\n{data or 'Nobody said whose tiles it learnt from.'}"
    if training is None:
        return f"{said}\n\nNot trained by this project, or not that it knows of."
    rest = {key: value for key, value in training.items() if key != "loss_curve"}
    if "tiles" in rest:
        rest["tiles"] = {key: rest["tiles"][key] for key in rest["tiles"] if key != "slides"}
    return f"{said}\n\n{_facts(rest)}\n\n{_curve(training.get('loss_curve') or [])}"


def _facts(known: dict[str, Any]) -> str:
    return "\n".join(f"- {key.replace('_', ' ')}: {_spelt(known[key])}" for key in sorted(known))


def _spelt(value: Any) -> str:  # noqa: ANN401 - any JSON value
    if isinstance(value, float):
        return f"{value:g}"
    return f"`{json.dumps(value)}`" if isinstance(value, dict | list) else str(value)


def _curve(points: list[list[float]]) -> str:
    """(step, loss) pairs as a table."""
    if not points:
        return "No loss curve is kept."
    lines = [f"| {step:,.0f} | {loss:.4g} |" for step, loss in points]
    return "\n".join(["| step | loss |", "|--:|--:|", *lines])


def _own(file: EncoderFile) -> tuple[str, str]:
    """Digests by which a probe knows it: of its weights, and of the graph."""
    return file.provenance["export"]["weights_sha256"], file.features.encoder.sha256


def _probe(probe: dict[str, Any] | None, own: tuple[str, str]) -> str:
    if probe is None:
        return "## Probe\n\nNot probed."
    told = ProbeReport.model_validate(probe)
    return f"""
## Probe

Shares of tiles told right; intervals (95 %) by resampling cases. The slide is told by all other
tiles, any other label by those of other cases only, and only its values that two cases have are
asked for. {told.tiles:,} tiles of store `{told.store}`{_shown(told.size_px)}. This
encoder is in bold.

{table(told.figures, own)}
"""


def _shown(size_px: int) -> str:
    return "" if size_px == TILE_PX else f", shown to the encoder at {size_px} px"


def _agreement(measured: dict[str, Any]) -> str:
    batches = ", ".join(map(str, measured["batches"]))
    return f"""
## ONNX against torch

On {measured["tiles"]} tiles, in batches of {batches}: features are up to {measured["largest"]:.3g}
and differ by at most {measured["difference"]:.1e} in fp32. With weights rounded to fp16, on a CPU,
the least cosine of any tile is {measured["cosine_fp16"]:.6f}.
"""


def _digests(file: EncoderFile) -> str:
    export = file.provenance["export"]
    software = ", ".join(f"{name} {version}" for name, version in export["software"].items())
    return f"""
## Digests

- made by: `{export["command"]}`
- weights: `{export["weights_sha256"]}`
- encoder: `{file.features.encoder.sha256}`
- feature contract: `{file.features.digest}`
- tiles of the check: `{export["agreement"]["tiles_sha256"]}`
- training source: `{export["source_digest"]}`

Software: {software}.
"""
