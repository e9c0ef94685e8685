"""Tuned: tile supervision with all layers of the encoder trained (paper section 4.2.1).

It starts from the encoder that made the features of the other methods. Of the demo's encoder
there is a graph only, in which batch norms are folded into convolutions; they are unfolded.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx.numpy_helper import to_array
from torch import Tensor, nn

from benchmarks.claim_tiles import EXTRACTOR
from benchmarks.inputs import reader_for
from deepsmile.contract import FeatureContract
from deepsmile_training.demo.pretext import BACKBONE
from deepsmile_training.encoders.checkpoint import save_checkpoint
from deepsmile_training.encoders.tile_encoder import TileEncoder, make_encoder
from deepsmile_training.experiments.cells import TileCell
from deepsmile_training.prepared.prepared import Prepared
from deepsmile_training.stage import Stage
from deepsmile_training.supervised.recipe import SupervisedRecipe
from deepsmile_training.tilesets.packing import pack
from deepsmile_training.tilesets.pressing import Press
from deepsmile_training.tilesets.recipe import TileRecipe, slide_rules
from deepsmile_training.tilesets.sources import find_slides
from deepsmile_training.tilesets.store import TileStore

RECIPE = SupervisedRecipe(learning_rate=5e-4, batch=64, epochs=2, evaluate_every=24, vote="mean")
"""Few steps in all: larger ones, of smaller batches, than the paper's 5e-5 and 512."""
SETTLING_TILES = 96


def tuned_cells(labels: Sequence[str], folds: int) -> list[TileCell]:
    """Of the first `folds` folds."""
    return [
        TileCell(extractor=EXTRACTOR, label=label, fold=fold, config=RECIPE)
        for label in labels
        for fold in range(folds)
    ]


def add_tiles(
    prepared: Prepared, graph: Path, contract: FeatureContract, slides: Path, stage: Stage
) -> None:
    """Pack the slides' tiles, and make the encoder that each fold starts from."""
    store = _store(prepared, contract, slides, stage)
    (prepared.root / "encoders").mkdir(exist_ok=True)
    slide_names = np.array([slide.name for slide in store.slides])  # (s,)
    for number, fold in enumerate(prepared.split.folds):
        path = prepared.root / "encoders" / f"{EXTRACTOR}@{number}.pt"
        if path.exists():
            continue
        trained_on = np.isin(slide_names, fold.train)[store.slide_index]  # (n,)
        numbers = np.flatnonzero(trained_on)  # (k,)
        some = numbers[:: len(numbers) // SETTLING_TILES][:SETTLING_TILES]  # (SETTLING_TILES,)
        save_checkpoint(unfolded(graph, torch.from_numpy(store.read(some))), path)


@torch.no_grad()
def unfolded(graph: Path, tiles: Tensor) -> TileEncoder:
    """The encoder of an exported graph, with batch norms that have the statistics of `tiles`.

    In evaluation it is the graph's equal. A folded convolution's bias becomes the norm's; the
    norm's scale is the deviation of what the convolution gives, so that training goes on with
    the scale that every layer has.
    """
    encoder = make_encoder(BACKBONE, seed=0).eval()
    weights = _weights(graph)
    encoder.normalise_by(*(weights[name].flatten().tolist() for name in ("mean", "deviation")))
    modules = dict(encoder.named_modules())
    for name, convolution in modules.items():
        if isinstance(convolution, nn.Conv2d):
            stem, _, place = name.rpartition(".")
            norm = modules[f"{stem}.{int(place) + 1}"]
            assert isinstance(norm, nn.BatchNorm2d), name
            convolution.weight.copy_(torch.tensor(weights[f"{name}.weight"]))
            _pass_through(norm, torch.tensor(weights[f"{name}.weight_bias"]))
            convolution.register_forward_hook(_settling(norm))
    encoder(tiles)
    for module in modules.values():
        module._forward_hooks.clear()
    return encoder


def _weights(graph: Path) -> dict[str, NDArray[np.float32]]:
    """Tensors of the graph by the modules' names, which the exporter keeps but for one."""
    found = {one.name: to_array(one) for one in onnx.load(graph).graph.initializer}
    return found | {"mean": found["mean_1"]}


def _pass_through(norm: nn.BatchNorm2d, bias: Tensor) -> None:
    """Make a norm add `bias` (C,) and no more."""
    norm.bias.copy_(bias)
    norm.weight.fill_(1)
    norm.get_buffer("running_mean").zero_()
    norm.get_buffer("running_var").fill_(1 - norm.eps)


def _settling(norm: nn.BatchNorm2d) -> Callable[[nn.Module, object, Tensor], None]:
    """Give the norm the statistics of its input; what it adds up to stays."""

    def settle(_: nn.Module, __: object, given: Tensor) -> None:
        variance, mean = torch.var_mean(given, dim=(0, 2, 3), correction=0)  # (C,) each
        norm.weight.copy_((variance + norm.eps).sqrt())
        norm.bias.add_(mean)
        norm.get_buffer("running_mean").copy_(mean)
        norm.get_buffer("running_var").copy_(variance)

    return settle


def _store(prepared: Prepared, contract: FeatureContract, slides: Path, stage: Stage) -> TileStore:
    recipe = TileRecipe(encoding="raw", rules=slide_rules(contract))
    press = Press(prepared.root / "tiles", recipe, lambda: reader_for(prepared.root / "scratch"))
    files = [slides / f"{name}.svs" for name in prepared.cohort.patient_of_slide]
    return pack(find_slides(files, None), press, stage)
