"""What is neither a file nor a folder is refused before it is opened, since that may never end."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from deepsmile.attempt import attempt_next
from deepsmile.calls import SlideBody
from deepsmile.digest import digest_of_slide
from deepsmile.errors import SlideUnsupported
from deepsmile.pipeline import SlideSource, extract
from deepsmile.reading import Reader
from deepsmile.roots import resolve_path
from deepsmile.settings import Settings
from deepsmile.store.database import Database
from deepsmile.store.jobs import get_job
from tests.jobs import accept
from tests.readers import CONTRACT
from tests.shell import ERROR, Run

pytestmark = pytest.mark.timeout(20)

MakeFile = Callable[[Path], Path]


def pipe(folder: Path) -> Path:
    os.mkfifo(folder / "slide.svs")
    return folder / "slide.svs"


def endpoint(folder: Path) -> Path:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(folder / "slide.svs"))
    return folder / "slide.svs"


def device(folder: Path) -> Path:
    (folder / "slide.svs").symlink_to("/dev/zero")
    return folder / "slide.svs"


@pytest.fixture(params=[pipe, endpoint, device])
def strange(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    make: MakeFile = request.param
    return make(tmp_path)


@pytest.mark.parametrize("look", [digest_of_slide, lambda path: SlideBody(path, None)])
def test_it_is_refused_before_it_is_hashed_or_sent(
    strange: Path, look: Callable[[Path], object]
) -> None:
    with pytest.raises(SlideUnsupported, match="neither a file nor a folder"):
        look(strange)


def test_it_is_refused_before_it_is_read(strange: Path, reader: Reader) -> None:
    class Unused:
        name = runtime = ""
        concurrency = 1

        def encode(self, _tiles: object) -> None:
            raise AssertionError("there are no tiles")

    with pytest.raises(SlideUnsupported, match="neither a file nor a folder"):
        extract(SlideSource(strange), CONTRACT, Unused(), reader)  # type: ignore[arg-type]


@pytest.mark.parametrize("make", [pipe, endpoint])
def test_it_is_refused_in_a_root(tmp_path: Path, make: MakeFile) -> None:
    with pytest.raises(SlideUnsupported):
        resolve_path(str(make(tmp_path)), [tmp_path])


def test_a_slide_that_became_one_fails_its_job(
    database: Database, tmp_path: Path, repository: Path
) -> None:
    settings = Settings(data_dir=tmp_path, model_repository=repository, allowed_roots=(tmp_path,))
    named = {"source": "path", "path": str(pipe(tmp_path)), "slide_sha256": None, "identity": "x"}
    job = accept(database, **named)
    attempt_next("w", database, lambda *_: pytest.fail("nothing to score"), settings)
    error = get_job(database, job.id).error
    assert error is not None
    assert error.code == "slide_unsupported"
    assert "to a file first" in error.hint


def test_the_command_ends_at_once(run: Run, tmp_path: Path) -> None:
    code, _, err = run("score", pipe(tmp_path))
    assert code == ERROR
    assert err.startswith("slide_unsupported: neither a file nor a folder\nName a slide's file")
