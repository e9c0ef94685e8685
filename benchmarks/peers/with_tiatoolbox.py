"""TIAToolbox on one slide: its deep feature extractor with its own tissue mask and defaults."""

from pathlib import Path

import numpy as np
import openslide
import zarr
from tiatoolbox.models.engine.deep_feature_extractor import DeepFeatureExtractor
from tiatoolbox.models.engine.io_config import IOPatchPredictorConfig
from tiatoolbox.models.models_abc import ModelABC
from torch import Tensor, inference_mode

from benchmarks.peers.network import Network, normalised
from benchmarks.peers.protocol import TILE_MPP, TILE_PX, Encoded, Order, answer


class Model(ModelABC):
    """The network in the shape that TIAToolbox asks for."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        self.preproc_func = normalised()

    def forward(self, planes: Tensor) -> Tensor:
        return self.network(planes)  # (B, D)

    @staticmethod
    @inference_mode()
    def infer_batch(model: "Model", batch_data: Tensor, *, device: str) -> list[np.ndarray]:
        return [model(batch_data.to(device)).numpy()]


def mpp_of(slide: Path) -> tuple[float, float]:
    """Of level 0."""
    with openslide.OpenSlide(slide) as opened:
        x, y = (opened.properties[f"openslide.mpp-{axis}"] for axis in "xy")
    return float(x), float(y)


def as_svs(slide: Path, folder: Path) -> Path:
    """A name under which TIAToolbox has OpenSlide read it, level by level.

    Under any other a plain pyramid counts as a picture, loaded whole at level 0.
    """
    link = folder / f"{slide.stem}.svs"
    link.symlink_to(slide)
    return link


def encode(order: Order) -> Encoded:
    """Its grid starts at the slide's corner, as ours does; other places are not to be had."""
    network = Network(order.model, keep=order.pixels)
    extractor = DeepFeatureExtractor(Model(network), device="cpu", verbose=False)
    grid = IOPatchPredictorConfig(
        input_resolutions=[{"units": "mpp", "resolution": TILE_MPP}],
        patch_input_shape=[TILE_PX, TILE_PX],
        stride_shape=[TILE_PX, TILE_PX],
    )
    slide, mpp = as_svs(order.slide, order.scratch), mpp_of(order.slide)
    written = extractor.run(
        [slide],
        patch_mode=False,
        ioconfig=grid,
        save_dir=order.scratch / "tiatoolbox",
        overwrite=True,
        output_type="zarr",
    )
    arrays = zarr.open(str(written[slide]), mode="r")
    corners = np.asarray(arrays["coordinates"])[:, :2] * TILE_MPP / mpp  # (N, 2)
    features = np.asarray(arrays["features"], np.float32)  # (N, D)
    return Encoded(features, corners, network.pixels_of(features))


if __name__ == "__main__":
    answer("TIAToolbox", encode)
