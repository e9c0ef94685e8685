"""DeepSMILE on one slide, cold: what `deepsmile score` does up to the feature bag."""

from benchmarks.peers.protocol import Encoded, Order, answer
from deepsmile.backends.onnx import OnnxEncoder
from deepsmile.bundle import SUFFIX, load_bundle
from deepsmile.pipeline import SlideSource, extract
from deepsmile.settings import Settings


def encode(order: Order) -> Encoded:
    """Features of the tissue tiles; `order.model` is a bundle's file."""
    settings = Settings(data_dir=order.scratch)
    reader = settings.reader
    reader.start()  # its imports overlap with the loading of the model
    try:
        bundle = load_bundle(order.model.parent, order.model.name.removesuffix(SUFFIX))
        encoder = OnnxEncoder(bundle.encoder_path, settings.threads)
        extraction = extract(SlideSource(order.slide), bundle.contract.features, encoder, reader)
    finally:
        reader.close()
    bag = extraction.need_bag()
    return Encoded(bag.features, bag.corners_l0)


if __name__ == "__main__":
    answer("DeepSMILE", encode)
