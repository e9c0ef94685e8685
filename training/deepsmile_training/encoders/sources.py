"""Sources: an encoder by the word that names it on a command line."""

from pathlib import Path

import torch

from deepsmile.errors import RequestInvalid
from deepsmile.slides.slide import RGB
from deepsmile.triton.models import MODEL_FILE
from deepsmile_training.encoders.backbones import TIMM, TORCHVISION
from deepsmile_training.encoders.checkpoint import load_checkpoint
from deepsmile_training.encoders.initialisation import (
    LOCAL_FOLDER,
    Initialisation,
    Kind,
    Origin,
    load_initialisation,
    torchvision_weights,
)
from deepsmile_training.encoders.tile_encoder import TileEncoder, make_encoder, settle_batch_norm
from deepsmile_training.encoders.weights import check_digest

RANDOM = "random:"
PARTED = (TIMM, "deepsmile:")
"""What `BACKBONE=FILE` comes after; elsewhere `=` is a letter like others."""
SETTLING_TILES = 256
GRAMMAR = """\
An encoder is one of
  RUN/encoder.pt            what a training run left
  random:BACKBONE           drawn at random
  imagenet:FILE             torchvision's weights; the backbone is told by the file's digest
  imagenet:BACKBONE         the same, downloaded
  timm:NAME=FILE            a model of timm with weights from a file
  timm:NAME                 the same, downloaded
  deepsmile:BACKBONE=FILE   the weights that the authors of DeepSMILE published"""


def title_of(source: str) -> str:
    """What a table calls it: the path of no file, but its name and its folder's, or its model's."""
    if Path(source).exists():
        return _short(source)
    named = _parted(source)[0] if source.startswith(PARTED) else source
    kind, _, place = named.rpartition(":")
    return f"{kind}:{_short(place)}".removeprefix(":")


def _parted(named: str) -> tuple[str, str]:
    """`BACKBONE=FILE` in two, at the first `=`; a folder of just that name has none."""
    if named.startswith(LOCAL_FOLDER) and Path(named.removeprefix(LOCAL_FOLDER)).is_dir():
        return named, ""
    backbone, _, file = named.partition("=")
    return backbone, file


def _short(place: str) -> str:
    path = Path(place)
    if not path.exists():
        return place
    model, version = path.absolute().parts[-3:-1]
    is_in_repository = path.name == MODEL_FILE and version.isdecimal()
    return model if is_in_repository else "/".join(path.parts[-2:])


def read_encoder(source: str, seed: int = 0) -> tuple[TileEncoder, Origin]:
    """The encoder that `source` names, in the words of `GRAMMAR`, and where it is from.

    `seed` decides what is random. Batch norms of random encoders have yet to be settled.

    Raises:
        RequestInvalid: no such source, or its weights cannot be used.
    """
    path = Path(source)
    if path.is_file():  # whatever its name
        return load_checkpoint(path), Origin("file", path.name, check_digest(path, ()))
    kind, _, rest = source.partition(":")
    match kind:
        case "random" if rest:
            return _initialised(rest, Initialisation(), seed)
        case "imagenet" if rest in TORCHVISION:
            return _initialised(rest, Initialisation(kind="imagenet", download=True), seed)
        case "imagenet" if rest:
            weights = Path(rest)
            return _initialised(
                _backbone_of(weights), Initialisation(kind="imagenet", path=weights), seed
            )
        case "timm" if rest and "=" not in rest and not rest.startswith("local-dir:"):
            return _initialised(source, Initialisation(kind="timm", download=True), seed)
        case "timm" if rest:
            return _from_file("timm", source, seed)
        case "deepsmile" if "=" in rest:
            return _from_file("deepsmile", rest, seed)
    raise RequestInvalid(f"{source}: neither a file nor the name of an encoder", hint=GRAMMAR)


def settled_encoder(source: str, tiles: RGB, seed: int = 0) -> tuple[TileEncoder, Origin]:
    """As `read_encoder`; a random one has its batch norms settled on `tiles` (n, 224, 224, 3)."""
    encoder, origin = read_encoder(source, seed)
    if source.startswith(RANDOM):
        step = max(len(tiles) // SETTLING_TILES, 1)
        settle_batch_norm(encoder, torch.from_numpy(tiles[::step]))
    return encoder, origin


def _from_file(kind: Kind, place: str, seed: int) -> tuple[TileEncoder, Origin]:
    """`BACKBONE=FILE`, or a backbone that is a folder with its weights."""
    backbone, file = _parted(place)
    initialisation = Initialisation(kind=kind, path=Path(file) if file else None)
    return _initialised(backbone, initialisation, seed)


def _initialised(
    backbone: str, initialisation: Initialisation, seed: int
) -> tuple[TileEncoder, Origin]:
    encoder = make_encoder(backbone, seed)
    origin = load_initialisation(encoder, initialisation)
    return encoder.eval(), origin


def _backbone_of(path: Path) -> str:
    """The backbone whose torchvision weights have this file's digest."""
    found = check_digest(path, ())
    for backbone in TORCHVISION:
        if found.startswith(tuple(torchvision_weights(backbone))):
            return backbone
    raise RequestInvalid(
        f"{path.name}: SHA-256 {found} is that of no weights of torchvision's",
        hint=f"Known are {', '.join(TORCHVISION)}; of timm's models write {TIMM}NAME={path}.",
    )
