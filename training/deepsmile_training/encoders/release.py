"""Release: an encoder exported, checked on real tiles, and put into a model repository."""

from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import TypeAdapter, ValidationError

from deepsmile.contract import Encoder, FeatureContract
from deepsmile.digest import digest_of, digest_of_file
from deepsmile.disk import write_file
from deepsmile.errors import RequestInvalid
from deepsmile.frozen import Name
from deepsmile.slides.slide import RGB
from deepsmile.triton.config import CONFIG_FILE, Target, config_text
from deepsmile.triton.models import MODEL_FILE, Model, Tensor
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
from deepsmile_training.encoders.sources import settled_encoder
from deepsmile_training.encoders.tile_encoder import TILE_PX, TileEncoder, export_encoder
from deepsmile_training.provenance import TRAINING, software_versions, source_digest
from deepsmile_training.publishing import copy_file


@dataclass(frozen=True)
class Candidate:
    """An encoder to be released, and what is known of it."""

    name: str
    encoder: TileEncoder
    provenance: dict[str, Any]
    """How it was initialised and trained, and what a probe found."""
    contract: FeatureContract | None = None
    """The rules that its tiles were cut by; None: the project's own."""


def candidate_of(
    name: str,
    source: str,
    tiles: RGB,
    *,
    contract: FeatureContract | None = None,
    probe: dict[str, Any] | None = None,
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
    known = {"origin": asdict(origin), "data": data, "training": training, "probe": probe}
    return Candidate(name, encoder, known, contract)


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
        RequestInvalid: the graph is not torch's equal, or `out` has another model of that name.
    """
    with TemporaryDirectory() as folder:
        model = Path(folder, MODEL_FILE)
        export_encoder(candidate.encoder, model)
        agreement = measure(candidate.encoder, model, tiles)
        agreement.demand(fp16=fp16)
        place = Path(f"{candidate.name}_encoder", "1", MODEL_FILE)
        put_model(model, out / place)
    provenance = _provenance(candidate, agreement, tiles, command)
    return _described(candidate, out, place, provenance)


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


def _described(
    candidate: Candidate, out: Path, place: Path, provenance: dict[str, Any]
) -> RepositoryEncoder:
    """Write configuration, card and encoder file of a model that is in place."""
    encoder, sha256 = candidate.encoder, digest_of_file(out / place)
    known = Encoder(name=candidate.name, sha256=sha256, feature_dim=encoder.feature_dim)
    rules = candidate.contract or feature_contract(known)
    features = rules.model_copy(update={"encoder": known})
    model, card = place.as_posix(), f"{candidate.name}.encoder.card.md"
    content = {
        "format": "deepsmile-encoder/1",
        "name": candidate.name,
        "backbone": encoder.name,
        "preprocessing": preprocessing(encoder),
        "features": features,
        "model": model,
        "card": card,
        "provenance": provenance,
    }
    text = render_card(EncoderFile.model_validate({**content, "files": {}}))
    write_file(out / card, text)
    write_file(out / place.parent.parent / CONFIG_FILE, triton_config(known))
    files = {path: digest_of_file(out / path) for path in (model, card)}
    return write_encoder(out, EncoderFile.model_validate({**content, "files": files}))


def preprocessing(encoder: TileEncoder) -> Preprocessing:
    """What the encoder does to a tile's bytes before its first layer."""
    return Preprocessing(
        scale="0 to 1",
        mean=tuple(encoder.mean.flatten().tolist()),
        deviation=tuple(encoder.deviation.flatten().tolist()),
        input_px=encoder.input_px or TILE_PX,
    )


def triton_config(encoder: Encoder, target: Target = Target.GPU) -> str:
    """`config.pbtxt` of an encoder that no bundle has yet, as `deepsmile export` writes it."""
    model = Model(
        f"{encoder.name}_encoder",
        "1",
        sha256=encoder.sha256,
        input=Tensor("tiles", "UINT8", (TILE_PX, TILE_PX, 3)),
        outputs=(Tensor("features", "FP32", (encoder.feature_dim,)),),
        is_batched=True,
    )
    return config_text(model, {model.version: model.sha256}, target)


def _provenance(
    candidate: Candidate, agreement: Agreement, tiles: RGB, command: str
) -> dict[str, Any]:
    measured = asdict(agreement) | {"batches": list(agreement.batches)}
    is_timms = candidate.encoder.name.startswith(TIMM)
    return {
        **candidate.provenance,
        "export": {
            "command": command,
            "agreement": {**measured, "tiles_sha256": digest_of(tiles.tobytes().hex())},
            "software": software_versions() | ({"timm": version("timm")} if is_timms else {}),
            "source_digest": source_digest(TRAINING),
        },
    }
