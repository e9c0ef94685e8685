"""LazySlide on one slide: tissue, tiles, features, each with its own defaults."""

import lazyslide as zs
import numpy as np
from wsidata import TileSpec, open_wsi
from wsidata.io import add_tiles

from benchmarks.peers.network import Network, normalised
from benchmarks.peers.protocol import TILE_MPP, TILE_PX, Encoded, Order, answer


def encode(order: Order) -> Encoded:
    wsi = open_wsi(str(order.slide), store=None)
    if order.places is None:
        zs.pp.find_tissues(wsi)
        zs.pp.tile_tissues(wsi, TILE_PX, mpp=TILE_MPP)
    else:
        spec = TileSpec.from_wsidata(wsi, tile_px=TILE_PX, mpp=TILE_MPP)
        nowhere = np.zeros(len(order.places), int)  # (N,)
        add_tiles(wsi, "tiles", order.places, spec, nowhere)
    network = Network(order.model, keep=order.pixels)
    features = zs.tl.feature_extraction(
        wsi,
        model=network,
        model_name="resnet18",
        transform=normalised(),
        device="cpu",
        pbar=False,
        return_features=True,
    )
    corners = wsi["tiles"].bounds[["minx", "miny"]].to_numpy()  # (N, 2)
    return Encoded(features, corners, network.pixels_of(features))


if __name__ == "__main__":
    answer("LazySlide", encode)
