"""Large uploads: streamed to the disk, never held in memory, and whole."""

import hashlib
import random
from pathlib import Path

import httpx
import pytest

from tests.api.conftest import RAW
from tests.memory import watched
from tests.service import RunningService

MIB = 1 << 20
SIZE = 64 * MIB


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """64 MiB of noise."""
    path = tmp_path_factory.mktemp("large") / "slide.svs"
    path.write_bytes(random.Random(5).randbytes(SIZE))
    return path


@pytest.mark.parametrize("form", [False, True], ids=["body", "form"])
def test_64_mib_take_no_more_than_30_mb_of_memory(
    service: RunningService, large: Path, form: bool
) -> None:
    assert service.api is not None
    fresh = {"fresh": "true"}
    with httpx.Client(base_url=service.url, timeout=120) as http:
        http.post("/predict", content=b"warm", headers=RAW)
        with large.open("rb") as file, watched(service.api.pid) as growth:
            if form:
                answer = http.post("/predict", files={"file": ("a", file)}, data=fresh)
            else:
                length = {**RAW, "Content-Length": str(SIZE)}
                answer = http.post("/predict", params=fresh, content=file, headers=length)
        job = answer.json()
        assert answer.status_code == 202
        assert job["slide"]["bytes"] == SIZE
        with large.open("rb") as file:
            assert job["slide"]["sha256"] == hashlib.file_digest(file, "sha256").hexdigest()
        http.delete(job["links"]["self"])
    assert growth.mb < 30


def test_what_api_and_worker_write_is_their_owner_s_alone(
    service: RunningService, slide_path: Path
) -> None:
    with httpx.Client(base_url=service.url, timeout=60) as http:
        headers = {**RAW, "Prefer": "wait=30"}
        answer = http.post("/predict", content=slide_path.read_bytes(), headers=headers)
    assert answer.json()["state"] == "completed"
    settings = service.settings
    folders = (settings.uploads, settings.features, settings.scratch)
    database = settings.data_dir.glob("deepsmile.sqlite*")
    found = [*folders, *(path for folder in folders for path in folder.iterdir()), *database]
    assert {".slide", ".npz", ".sqlite"} <= {path.suffix for path in found}
    assert [path for path in found if path.lstat().st_mode & 0o077] == []
