"""Models: those of a bundle as Triton knows them: name, version, what goes in and comes out."""

from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath

from deepsmile.bundle import Bundle, read_sealed
from deepsmile.contract import FeatureContract, Head
from deepsmile.errors import BundleMismatch

MODEL_FILE = "model.onnx"
ENCODER_SUFFIX = ".encoder.json"
"""Of an encoder's file, which training writes before there are heads."""
NUMPY_TYPES = {"UINT8": "uint8", "FP32": "float32"}


@dataclass(frozen=True)
class Tensor:
    """One input or output."""

    name: str
    type: str
    """As Triton calls it: one of `NUMPY_TYPES`."""
    dims: tuple[int, ...]
    """Without the batch that Triton puts before them; -1: the number of tiles."""


@dataclass(frozen=True)
class Model:
    """One version of one model."""

    name: str
    version: str
    sha256: str
    """Digest of its ONNX file."""
    input: Tensor
    outputs: tuple[Tensor, ...]
    is_batched: bool
    """Whether Triton may put requests together along the tiles."""

    def shape(self, tensor: Tensor, tiles: int) -> tuple[int, ...]:
        """The shape of a tensor in a request of that many tiles."""
        if self.is_batched:
            return (tiles, *tensor.dims)
        return tuple(tiles if dim == -1 else dim for dim in tensor.dims)


def encoder_model(bundle: Bundle) -> Model:
    """Tiles (B, size, size, 3) -> features (B, D)."""
    return _encoder(bundle.encoder_path.relative_to(bundle.root), bundle.contract.features)


def headless_encoder(path: Path) -> Model:
    """The model of a `NAME.encoder.json`.

    Raises:
        BundleCorrupt: a byte of that file changed, or it is none of ours.
    """
    return read_sealed(
        path,
        lambda content, _: _encoder(
            PurePosixPath(content["model"]), FeatureContract.model_validate(content["features"])
        ),
    )


def _encoder(place: PurePath, contract: FeatureContract) -> Model:
    size_px = contract.tile.size_px
    return Model(
        *_name_and_version(place),
        sha256=contract.encoder.sha256,
        input=Tensor("tiles", "UINT8", (size_px, size_px, 3)),
        outputs=(Tensor("features", "FP32", (contract.encoder.feature_dim,)),),
        is_batched=True,
    )


def head_model(bundle: Bundle, head: Head) -> Model:
    """Features (N, D) -> logits (M, 2), attention (M, N)."""
    feature_dim = bundle.contract.features.encoder.feature_dim
    return Model(
        *_name_and_version(bundle.head_path(head).relative_to(bundle.root)),
        sha256=head.sha256,
        input=Tensor("features", "FP32", (-1, feature_dim)),
        outputs=(
            Tensor("logits", "FP32", (head.members, 2)),
            Tensor("attention", "FP32", (head.members, -1)),
        ),
        is_batched=False,
    )


def models_of(bundle: Bundle) -> tuple[Model, ...]:
    """The encoder, then the heads in the contract's order."""
    return (
        encoder_model(bundle),
        *(head_model(bundle, head) for head in bundle.contract.heads),
    )


def _name_and_version(place: PurePath) -> tuple[str, str]:
    """From where the file lies in its repository."""
    parts = place.parts
    if len(parts) != 3 or not parts[1].isdecimal() or parts[2] != MODEL_FILE:
        raise BundleMismatch(
            f"{'/'.join(parts)} does not lie where Triton looks",
            hint=f"Put models at MODEL/VERSION/{MODEL_FILE}, the version a number.",
        )
    return parts[0], parts[1]
