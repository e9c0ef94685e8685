"""Fixtures that many tests share: a bundle, a slide, a reader."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from sqlalchemy import NullPool, create_engine

from deepsmile.backends.onnx import OnnxBackend
from deepsmile.bundle import Bundle
from deepsmile.reading import Reader, ReaderLimits
from deepsmile.store.database import Database
from deepsmile.store.schema import METADATA
from tests.making import make_bundle, tissue_image, write_svs
from tests.service import RunningService

hypothesis_settings.register_profile(
    "repeatable",
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
hypothesis_settings.load_profile("repeatable")
"""Equal runs try equal examples, and a busy machine fails none of them."""

signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
"""Under nohup, or behind `&` in a script, all that the tests start would be deaf to them too."""

SERVERS = {"service", "slow_service", "queue"}
"""Fixtures that start processes."""


def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    """Tests that need servers are slow."""
    for item in items:
        if SERVERS & set(item.fixturenames):
            item.add_marker(pytest.mark.slow)


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


@pytest.fixture(scope="session")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """One warm reader for all tests; it takes one slide at a time."""
    limits = ReaderLimits(tmp_path_factory.mktemp("reader") / "scratch", 4 << 30, 60, 30.0)
    shared = Reader(limits, batch=4)
    yield shared
    shared.close()


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    """SQLite; or, to try the store on PostgreSQL, an empty database that the variable names."""
    url = os.environ.get("TEST_DATABASE_URL", f"sqlite:///{tmp_path / 'jobs.sqlite'}")
    if not url.startswith("sqlite"):
        METADATA.drop_all(create_engine(url, poolclass=NullPool))
    return url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """An empty store."""
    database = Database(database_url)
    database.create()
    yield database
    database.close()


@pytest.fixture(scope="session")
def service(repository: Path) -> Iterator[RunningService]:
    """Broker, worker and API, started once; tests share it and leave it running."""
    with RunningService(repository) as running:
        yield running
