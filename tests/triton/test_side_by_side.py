"""One server for several bundles: each slide is scored by the encoder and head of its own."""

from pathlib import Path

import pytest

from deepsmile.backends.onnx import OnnxBackend
from deepsmile.backends.triton import TritonBackend
from deepsmile.pipeline import SlideSource, score_slide
from deepsmile.reading import Reader
from deepsmile.report import differences
from tests.making import make_bundle
from tests.triton.conftest import StartServer, copy_of, endpoint
from tests.triton.test_hot_swap import probability, reseal
from tests.triton.test_proof import scale

pytestmark = pytest.mark.slow


def test_two_encoders_with_their_heads_are_served_side_by_side(
    start_server: StartServer, reader: Reader, slide_path: Path, tmp_path: Path
) -> None:
    one = make_bundle(tmp_path / "made", "one")
    make_bundle(tmp_path / "made", "two", members=3)
    scale(tmp_path / "made/two_encoder/1/model.onnx", "scale", 0.7)
    two = reseal(tmp_path / "made", "two", "1")
    assert one.contract.features.digest != two.contract.features.digest
    source = SlideSource(slide_path)
    server = start_server(copy_of(one, tmp_path))
    try:
        with (
            TritonBackend(one, endpoint(server)) as remote_one,
            TritonBackend(two, endpoint(server)) as remote_two,
        ):
            there = [
                score_slide(source, bundle, remote, reader)
                for bundle, remote in ((one, remote_one), (two, remote_two), (one, remote_one))
            ]
    finally:
        server.kill()
    here = [score_slide(source, bundle, OnnxBackend(bundle, 1), reader) for bundle in (one, two)]
    for expected, report in zip([*here, here[0]], there, strict=True):
        assert differences(expected, report) == []
    assert probability(here[0]) != probability(here[1])
