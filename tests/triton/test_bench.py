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
        found = measure(SlideSource(slide_path), bundle, remote, reader)
    assert remote.name.startswith("triton 2.51.0 over ")
    assert found.tiles > 0
    assert min(found.encoding_s, found.aggregating_s, found.whole_s) > 0
