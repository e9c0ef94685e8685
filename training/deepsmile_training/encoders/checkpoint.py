"""Checkpoint: an encoder as a training run leaves it, `encoder.pt`."""

from pathlib import Path

from deepsmile.errors import RequestInvalid
from deepsmile_training.encoders.tile_encoder import TileEncoder, make_encoder
from deepsmile_training.encoders.weights import fit, read_weights, write_weights


def save_checkpoint(encoder: TileEncoder, path: Path) -> None:
    """Write the backbone's name and everything that the encoder has learnt.

    Raises:
        StorageFull: what was there is still there.
    """
    state = {key: tensor.cpu() for key, tensor in encoder.state_dict().items()}
    write_weights({"backbone": encoder.name, "state": state}, path)


def load_checkpoint(path: Path) -> TileEncoder:
    """The encoder of a file that `save_checkpoint` wrote, ready to encode.

    Raises:
        RequestInvalid: no such file, or no such content; missing keys are named.
    """
    content = read_weights(path)
    if not isinstance(content.get("backbone"), str):
        raise RequestInvalid(_foreign(path))
    encoder = make_encoder(content["backbone"], seed=0)
    restore(encoder, path)
    return encoder.eval()


def restore(encoder: TileEncoder, path: Path) -> None:
    """Give `encoder` the weights of a checkpoint of the same backbone.

    Raises:
        RequestInvalid: no such file, another backbone, or keys are missing; both are named.
    """
    content = read_weights(path)
    if content.keys() != {"backbone", "state"}:
        raise RequestInvalid(_foreign(path))
    if content["backbone"] != encoder.name:
        raise RequestInvalid(
            f"{path.name} holds a {content['backbone']}, the encoder is a {encoder.name}",
            hint="Name the checkpoint's backbone, or another checkpoint.",
        )
    fit(encoder, content["state"], f"{path.name} as {encoder.name}")


def _foreign(path: Path) -> str:
    return f"{path.name} is no encoder of ours: it does not hold `backbone` and `state`"
