"""`deepsmile bench` times the server that the settings point to."""

from pathlib import Path

import pytest

from deepsmile.bench import measure
from deepsmile.bundle import Bundle
from deepsmile.pipeline import SlideSource
from deepsmile.reading import Reader
from deepsmile.scorer import make_backend
from deepsmile.settings import Settings
from deepsmile.triton.server import TritonServer

pytestmark = pytest.mark.slow


def test_the_server_is_timed(
    triton: TritonServer, bundle: Bundle, slide_path: Path, reader: Reader, tmp_path: Path
) -> None:
    settings = Settings(data_dir=tmp_path, triton_url=triton.url)
    with make_backend(bundle, settings) as remote:
        found = measure(SlideSource(slide_path), bundle, remote, reader, rounds=2)
    assert remote.name.startswith("triton 2.51.0 over ")
    assert (found.tiles, found.callers) == (8, remote.concurrency)
    assert 0 < found.encoding_s < found.whole.seconds
    assert 0 < found.whole.busy_s < found.whole.seconds
    assert (len(found.half), len(found.rates[reader.batch])) == (2, 2)
