"""Fixtures that many tests share: a bundle, a slide, a reader."""

from pathlib import Path

import pytest

from deepsmile.backends.onnx import OnnxBackend
from deepsmile.bundle import Bundle
from deepsmile.reading import Reader, ReaderLimits
from tests.making import make_bundle, tissue_image, write_svs


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model repository with the bundle "tiny"."""
    root = tmp_path_factory.mktemp("repository")
    make_bundle(root)
    return root


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="session")
def backend(bundle: Bundle) -> OnnxBackend:
    return OnnxBackend(bundle, threads=1)


@pytest.fixture(scope="session")
def slide_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An Aperio-like slide, 0.5 um per px, 4 x 3 tiles of 256 um, tissue in the middle."""
    image = tissue_image(2100, 1600, tissue=0.8)
    return write_svs(tmp_path_factory.mktemp("slide") / "slide.svs", image)


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    return Reader(ReaderLimits(tmp_path / "scratch", 4 << 30, 60, 30.0), batch=4)
