"""Initialisation: the weights that an encoder begins with."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self
from urllib.error import URLError

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator

from deepsmile.errors import RequestInvalid
from deepsmile.frozen import Sha256
from deepsmile_training.encoders.backbones import TIMM, TORCHVISION
from deepsmile_training.encoders.checkpoint import restore
from deepsmile_training.encoders.published import PUBLISHED, trunk_of
from deepsmile_training.encoders.tile_encoder import TileEncoder
from deepsmile_training.encoders.timm_weights import downloaded_state, state_of_file
from deepsmile_training.encoders.weights import check_digest, fit, read_weights

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum

HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.pth$")
"""How torchvision writes the first digits of a file's SHA-256."""
LOCAL_FOLDER = f"{TIMM}local-dir:"
IDENTITY = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))

Kind = Literal["random", "imagenet", "timm", "file", "deepsmile"]


class Initialisation(BaseModel):
    """Which weights: drawn at random, torchvision's, timm's, an `encoder.pt`, or the authors'."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind = "random"
    path: Path | None = None
    """The file; torchvision's and timm's may be downloaded instead."""
    sha256: Sha256 | None = None
    """The file's digest, where it must be that one."""
    download: Annotated[bool, Field(strict=True)] = False
    """Whether the library may fetch its weights from where it keeps them."""

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if self.kind == "random" and (self.path or self.sha256 or self.download):
            raise ValueError("kind random takes no path, sha256 or download")
        if self.kind in ("file", "deepsmile") and (self.path is None or self.download):
            raise ValueError(f"kind {self.kind} takes the path of a file, and downloads nothing")
        if self.path is not None and self.download:
            raise ValueError("either path or download")
        return self


@dataclass(frozen=True)
class Origin:
    """Where an encoder's first weights come from, for its provenance."""

    kind: Kind
    what: str
    sha256: str | None = None
    """Of the file; None: drawn at random, or timm's own download."""


def load_initialisation(encoder: TileEncoder, initialisation: Initialisation) -> Origin:
    """Give `encoder` the weights, and the normalisation that they were trained with.

    Raises:
        RequestInvalid: another digest than expected, weights of another backbone, missing keys,
            no such file, or nothing can be reached.
    """
    match initialisation.kind:
        case "random":
            return Origin("random", "He et al. 2015, by the encoder's seed")
        case "imagenet":
            return _torchvision(encoder, initialisation)
        case "timm":
            return _timm(encoder, initialisation)
        case "file":
            path, sha256 = _checked(initialisation)
            restore(encoder, path)
            return Origin("file", path.name, sha256)
        case "deepsmile":
            return _deepsmile(encoder, initialisation)


def torchvision_weights(backbone: str) -> "dict[str, WeightsEnum]":
    """torchvision's weights of a backbone by the first digits of their files' SHA-256."""
    from torchvision.models import get_model_weights

    found = {one: HASH_IN_NAME.search(one.url) for one in get_model_weights(backbone)}
    return {match[1]: one for one, match in found.items() if match}


def _checked(initialisation: Initialisation, *beginnings: str) -> tuple[Path, str]:
    """The file and its digest: the one that was asked for, or one of these beginnings."""
    path = initialisation.path
    if path is None:
        raise RequestInvalid(
            f"kind {initialisation.kind} needs the path of a file of weights",
            hint="Give `path`; with `download: true` the library fetches its own.",
        )
    asked = initialisation.sha256
    return path, check_digest(path, [asked] if asked else beginnings)


def _torchvision(encoder: TileEncoder, initialisation: Initialisation) -> Origin:
    if encoder.name not in TORCHVISION:
        raise RequestInvalid(
            f"{encoder.name} is no backbone of torchvision", hint="Use kind timm for timm's."
        )
    known = torchvision_weights(encoder.name)
    if initialisation.download:
        # V1: what the paper compared with; its successors did not exist.
        v1 = next(one for one in known.values() if one.name == "IMAGENET1K_V1")
        initialisation = initialisation.model_copy(update={"path": _downloaded(v1.url)})
    path, sha256 = _checked(initialisation, *known)
    weights = next((one for digits, one in known.items() if sha256.startswith(digits)), None)
    state = {k: v for k, v in read_weights(path).items() if not k.startswith("fc.")}
    fit(encoder.backbone, state, f"{path.name} as {encoder.name}")
    colours = (weights or next(iter(known.values()))).transforms()
    encoder.normalise_by(colours.mean, colours.std)
    return Origin("imagenet", f"torchvision {weights}" if weights else path.name, sha256)


def _downloaded(url: str) -> Path:
    """Fetch a file of torchvision's to its cache, once."""
    path = Path(torch.hub.get_dir(), "checkpoints", url.rsplit("/", 1)[-1])
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(url, str(path), progress=False)
    except URLError as error:
        raise RequestInvalid(
            f"{url} cannot be reached: {error.reason}",
            hint="Fetch it on a machine that is online, and give the file's path instead.",
        ) from error
    return path


def _timm(encoder: TileEncoder, initialisation: Initialisation) -> Origin:
    """The normalisation is the model's already: `make_backbone` took it from timm."""
    if not encoder.name.startswith(TIMM):
        raise RequestInvalid(
            f"{encoder.name} is no backbone of timm", hint=f"Write {TIMM}{encoder.name}."
        )
    if initialisation.download:
        fit(encoder.backbone, downloaded_state(encoder.name), encoder.name)
        return Origin("timm", f"{encoder.name}, downloaded")
    if initialisation.path is None and encoder.name.startswith(LOCAL_FOLDER):
        weights = Path(encoder.name.removeprefix(LOCAL_FOLDER), "model.safetensors")
        initialisation = initialisation.model_copy(update={"path": weights})
    path, sha256 = _checked(initialisation)
    fit(encoder.backbone, state_of_file(path, encoder.backbone), f"{path.name} as {encoder.name}")
    return Origin("timm", path.name, sha256)


def _deepsmile(encoder: TileEncoder, initialisation: Initialisation) -> Origin:
    """The authors trained and used their encoders on [0, 1], neither centred nor scaled."""
    path, sha256 = _checked(initialisation)
    fit(encoder.backbone, trunk_of(read_weights(path), path.name), f"{path.name} as {encoder.name}")
    encoder.normalise_by(*IDENTITY)
    return Origin("deepsmile", PUBLISHED.get(sha256, f"{path.name}, not a published file"), sha256)
