"""Release: an encoder exported, checked on real tiles, and put into a model repository."""

from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import TypeAdapter, ValidationError

from deepsmile.contract import Encoder, FeatureContract
from deepsmile.digest import digest_of, digest_of_file
from deepsmile.disk import copy_file, write_file
from deepsmile.errors import RequestInvalid
from deepsmile.frozen import Name
from deepsmile.slides.slide import RGB
from deepsmile.triton.config import write_configs
from deepsmile.triton.models import MODEL_FILE
from deepsmile_training.contracts import feature_contract
from deepsmile_training.encoders.agreement import Agreement, measure
from deepsmile_training.encoders.backbones import TIMM
from deepsmile_training.encoders.card import render_card
from deepsmile_training.encoders.encoder_file import (
    EncoderFile,
    Preprocessing,
    RepositoryEncoder,
    write_encoder,
)
from deepsmile_training.encoders.history import history_of
from deepsmile_training.encoders.probe_report import ProbeReport
from deepsmile_training.encoders.sources import settled_encoder
from deepsmile_training.encoders.tile_encoder import TILE_PX, TileEncoder, export_encoder
from deepsmile_training.encoders.weights import digest_of_weights
from deepsmile_training.provenance import TRAINING, software_versions, source_digest


@dataclass(frozen=True)
class Candidate:
    """An encoder to be released, and what is known of it."""

    name: str
    encoder: TileEncoder
    provenance: dict[str, Any]
    """How it was initialised and trained."""
    probe: ProbeReport | None = None
    """Of this encoder beside others."""
    contract: FeatureContract | None = None
    """The rules that its tiles were cut by; None: the project's own."""


def candidate_of(
    name: str,
    source: str,
    tiles: RGB,
    *,
    contract: FeatureContract | None = None,
    probe: ProbeReport | None = None,
    data: str | None = None,
) -> Candidate:
    """The encoder that `source` names, with what a training run left beside it.

    `data` says whose tiles it learnt from, for people.

    Raises:
        RequestInvalid: no such source, its weights cannot be used, or no such name can be.
    """
    _check_name(name)
    encoder, origin = settled_encoder(source, tiles)
    training = history_of(Path(source)) if origin.kind == "file" else None
    known = {"origin": asdict(origin), "data": data, "training": training}
    return Candidate(name, encoder, known, probe, contract)


def _check_name(name: str) -> None:
    try:
        TypeAdapter(Name).validate_python(name)
    except ValidationError as error:
        raise RequestInvalid(
            f"name {name!r}: {error.errors()[0]['msg']}",
            hint="Use small letters, digits, dots, dashes and underscores, 64 at most.",
        ) from error


def release(
    candidate: Candidate, tiles: RGB, out: Path, command: str, *, fp16: bool = True
) -> RepositoryEncoder:
    """Export, compare with torch on `tiles` (n, 224, 224, 3), and write what passes.

    Raises:
        RequestInvalid: the graph is not torch's equal, the probe was of other encoders, or `out`
            has another model of that name.
    """
    weights = digest_of_weights(candidate.encoder)
    with TemporaryDirectory() as folder:
        model = Path(folder, MODEL_FILE)
        export_encoder(candidate.encoder, model)
        agreement = measure(candidate.encoder, model, tiles)
        agreement.demand(fp16=fp16)
        if candidate.probe is not None:
            candidate.probe.demand((weights, digest_of_file(model)))
        export = _export(candidate.encoder, agreement, tiles, command) | {"weights_sha256": weights}
        return _put(candidate, model, out, export)


def put_model(model: Path, target: Path) -> None:
    """Copy an exported model to its place in a repository.

    Raises:
        RequestInvalid: another one is there; it stays, since bundles may be made of it.
    """
    if target.exists() and digest_of_file(target) != digest_of_file(model):
        raise RequestInvalid(
            f"{target} exists, and is another encoder",
            hint="Choose another --name, or remove what was made with that one.",
        )
    copy_file(model, target)


def _put(
    candidate: Candidate, exported: Path, out: Path, export: dict[str, Any]
) -> RepositoryEncoder:
    """Write model, card, encoder file and configuration, once all that they say is known."""
    encoder, sha256 = candidate.encoder, digest_of_file(exported)
    known = Encoder(name=candidate.name, sha256=sha256, feature_dim=encoder.feature_dim)
    rules = candidate.contract or feature_contract(known)
    features = rules.model_copy(update={"encoder": known})
    model, card = f"{candidate.name}_encoder/1/{MODEL_FILE}", f"{candidate.name}.encoder.card.md"
    probe = candidate.probe.model_dump(mode="json") if candidate.probe else None
    content = {
        "format": "deepsmile-encoder/1",
        "name": candidate.name,
        "backbone": encoder.name,
        "preprocessing": preprocessing(encoder),
        "features": features,
        "model": model,
        "card": card,
        "provenance": {**candidate.provenance, "probe": probe, "export": export},
    }
    text = render_card(EncoderFile.model_validate({**content, "files": {}}))
    put_model(exported, out / model)
    write_file(out / card, text)
    files = {path: digest_of_file(out / path) for path in (model, card)}
    written = write_encoder(out, EncoderFile.model_validate({**content, "files": files}))
    write_configs(out)
    return written


def preprocessing(encoder: TileEncoder) -> Preprocessing:
    """What the encoder does to a tile's bytes before its first layer."""
    return Preprocessing(
        scale="0 to 1",
        mean=tuple(encoder.mean.flatten().tolist()),
        deviation=tuple(encoder.deviation.flatten().tolist()),
        input_px=encoder.input_px or TILE_PX,
    )


def _export(encoder: TileEncoder, agreement: Agreement, tiles: RGB, command: str) -> dict[str, Any]:
    measured = asdict(agreement) | {"batches": list(agreement.batches)}
    is_timms = encoder.name.startswith(TIMM)
    return {
        "command": command,
        "agreement": {**measured, "tiles_sha256": digest_of(tiles.tobytes().hex())},
        "software": software_versions() | ({"timm": version("timm")} if is_timms else {}),
        "source_digest": source_digest(TRAINING),
    }
