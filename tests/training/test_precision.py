"""Encoders in other precisions: what they compute, and that they are the same bytes each time."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from deepsmile.backends.onnx import OnnxEncoder
from deepsmile.errors import RequestInvalid
from deepsmile.slides.slide import RGB
from deepsmile_training.variants.gate import cosine
from deepsmile_training.variants.precision import write_fp16, write_int8
from tests.convolving import conv_encoder
from tests.making import make_bundle, tissue_image


@pytest.fixture(scope="module")
def tiles() -> RGB:
    """(12, 224, 224, 3) of tissue."""
    image = tissue_image(896, 672, tissue=1.3)
    return np.stack(
        [image[y : y + 224, x : x + 224] for y in range(0, 672, 224) for x in range(0, 896, 224)]
    )


@pytest.fixture(scope="module")
def fp32(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return conv_encoder(tmp_path_factory.mktemp("fp32") / "model.onnx")


def encode(path: Path, tiles: RGB) -> np.ndarray:
    return OnnxEncoder(path, threads=1).encode(tiles)


def operators(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


@pytest.mark.parametrize("bits", [7, 8])
def test_int8_gives_nearly_the_same_features(
    bits: int, fp32: Path, tiles: RGB, tmp_path: Path
) -> None:
    write_int8(fp32, tmp_path / "int8.onnx", tiles[:4], bits)
    exact, found = encode(fp32, tiles), encode(tmp_path / "int8.onnx", tiles)
    assert found.dtype == np.float32
    assert not np.array_equal(found, exact)
    np.testing.assert_allclose(found, exact, atol=0.02 * np.abs(exact).max())


@pytest.mark.parametrize(("bits", "largest"), [(7, 64), (8, 127)])
def test_weights_have_so_many_bits_and_a_scale_per_channel(
    bits: int, largest: int, fp32: Path, tiles: RGB, tmp_path: Path
) -> None:
    """Activations are bytes: sums of two products of bytes and 7 bits fit into 16 bits."""
    write_int8(fp32, tmp_path / "int8.onnx", tiles[:4], bits)
    graph = onnx.load(tmp_path / "int8.onnx").graph
    constants = {one.name: onnx.numpy_helper.to_array(one) for one in graph.initializer}
    for name, channels in (("first", 8), ("second", 6)):
        weights = constants[f"{name}_quantized"]
        assert weights.dtype == np.int8
        assert np.abs(weights.astype(int)).reshape(channels, -1).max(
            axis=1
        ).tolist() == pytest.approx([largest] * channels, abs=1)
        assert constants[f"{name}_scale"].shape == (channels,)
    assert constants["normal_zero_point"].dtype == np.uint8


def test_the_first_layer_can_be_spared(fp32: Path, tiles: RGB, tmp_path: Path) -> None:
    """It keeps its weights as they are, and only the second is in bytes."""
    write_int8(fp32, tmp_path / "int8.onnx", tiles[:4], 8, spare_first=True)
    names = {one.name for one in onnx.load(tmp_path / "int8.onnx").graph.initializer}
    assert {"first", "second_quantized"} <= names
    assert not {"second", "first_quantized"} & names
    exact, found = encode(fp32, tiles), encode(tmp_path / "int8.onnx", tiles)
    np.testing.assert_allclose(found, exact, atol=0.02 * np.abs(exact).max())


def test_pixels_are_normalised_in_fp32(fp32: Path, tiles: RGB, tmp_path: Path) -> None:
    """No rounding before the first convolution's own, and nothing else is left in fp32."""
    write_int8(fp32, tmp_path / "int8.onnx", tiles[:4], weight_bits=7)
    found = [op for op in operators(tmp_path / "int8.onnx") if op != "DequantizeLinear"]
    assert found[:6] == ["Transpose", "Cast", "Div", "Sub", "Div", "QuantizeLinear"]


def test_nodes_without_names_are_quantised_as_well(tiles: RGB, tmp_path: Path) -> None:
    named = conv_encoder(tmp_path / "named.onnx")
    nameless = conv_encoder(tmp_path / "nameless.onnx", named=False)
    for path in (named, nameless):
        write_int8(path, path.with_suffix(".int8"), tiles[:4], weight_bits=7)
    assert operators(named.with_suffix(".int8")) == operators(nameless.with_suffix(".int8"))


def test_an_encoder_without_weights_is_refused(tiles: RGB, tmp_path: Path) -> None:
    encoder = make_bundle(tmp_path).encoder_path
    with pytest.raises(RequestInvalid, match="nothing to quantise"):
        write_int8(encoder, tmp_path / "int8.onnx", tiles, weight_bits=7)


def test_fp16_takes_bytes_and_gives_float32(fp32: Path, tiles: RGB, tmp_path: Path) -> None:
    """Half the weights' size; an error of a few units in 2 ** 11."""
    write_fp16(fp32, tmp_path / "fp16.onnx")
    exact, found = encode(fp32, tiles), encode(tmp_path / "fp16.onnx", tiles)
    assert found.dtype == np.float32
    assert 0 < np.abs(found - exact).max() < 0.005 * np.abs(exact).max()
    constants = onnx.load(tmp_path / "fp16.onnx").graph.initializer
    assert {one.data_type for one in constants} == {onnx.TensorProto.FLOAT16}


def test_a_variant_is_the_same_bytes_each_time(fp32: Path, tiles: RGB, tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_int8(fp32, tmp_path / f"{name}.int8", tiles, weight_bits=7)
        write_fp16(fp32, tmp_path / f"{name}.fp16")
    assert (tmp_path / "one.int8").read_bytes() == (tmp_path / "two.int8").read_bytes()
    assert (tmp_path / "one.fp16").read_bytes() == (tmp_path / "two.fp16").read_bytes()


def test_cosine_is_of_each_row_with_its_like() -> None:
    a = np.array([[1, 0], [3, 4], [0, 0], [1, 1], [2, 2]], np.float32)
    b = np.array([[5, 0], [4, 3], [1, 0], [np.inf, 1], [np.nan, 1]], np.float32)
    np.testing.assert_allclose(cosine(a, b), [1, 24 / 25, 0, 0, 0])


@pytest.mark.slow
def test_an_exported_shufflenet_goes_through_both(
    encoder_path: Path, noise_tiles: np.ndarray, tmp_path: Path
) -> None:
    """Untrained it amplifies every rounding: int8 is far off, fp16 is not; no batch matters."""
    write_int8(encoder_path, tmp_path / "int8.onnx", noise_tiles, weight_bits=7)
    write_fp16(encoder_path, tmp_path / "fp16.onnx")
    exact = encode(encoder_path, noise_tiles)
    for name, least, most in (("int8", 0.95, 0.999), ("fp16", 0.9999, 1.0)):
        found = encode(tmp_path / f"{name}.onnx", noise_tiles)
        assert least < cosine(exact, found).mean() < most
        ones = [encode(tmp_path / f"{name}.onnx", noise_tiles[k : k + 1]) for k in range(8)]
        assert np.array_equal(np.concatenate(ones), found)
