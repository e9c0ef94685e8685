"""Novelty with a Triton server: its file lies beside a served model, and answers stay the same."""

from pathlib import Path

import pytest

from deepsmile.backends.onnx import OnnxBackend
from deepsmile.backends.triton import TritonBackend
from deepsmile.bundle import Bundle
from deepsmile.pipeline import SlideSource, score_slide
from deepsmile.reading import Reader
from deepsmile.report import Scored, differences
from tests.reports import space_of, with_novelty
from tests.triton.conftest import StartServer, copy_of, endpoint

pytestmark = pytest.mark.slow


def test_a_slide_has_the_same_novelty(
    start_server: StartServer, bundle: Bundle, reader: Reader, slide_path: Path, tmp_path: Path
) -> None:
    """To the digits that two runtimes share."""
    novel = with_novelty(bundle, tmp_path, space_of(), 100.0)
    source = SlideSource(slide_path)
    here = score_slide(source, novel, OnnxBackend(novel, threads=1), reader)
    server = start_server(copy_of(novel, tmp_path / "served"))
    try:
        with TritonBackend(novel, endpoint(server)) as remote:
            there = score_slide(source, novel, remote, reader)
    finally:
        server.stop()
    assert isinstance(there.heads[0], Scored)
    assert there.heads[0].novelty
    assert differences(here, there) == []
