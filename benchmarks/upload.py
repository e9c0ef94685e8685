"""Claim: 1 GiB arrives at >= 90 MB/s, hashed and on the disk, in little memory.

    python -m benchmarks.upload --mib 1024

Prints MB/s and the growth of the API's resident memory, for a raw body and for a form, beside
what `sha256sum` and a copy alone take on this machine.
"""

import argparse
import hashlib
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from tests.making import make_bundle
from tests.memory import MB, watched
from tests.service import RunningService

MIB = 1 << 20
RAW = {"Content-Type": "application/octet-stream"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=1024)
    size = parser.parse_args().mib * MIB
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_bundle(folder)
        slide = make_slide(folder / "slide.svs", size)
        report("sha256 alone", size, timed(lambda: sha256(slide)))
        report("copy and fsync alone", size, timed(lambda: copy(slide, folder / "copy")))
        (folder / "copy").unlink()
        with RunningService(folder, max_upload_bytes=2 * size) as service:
            measure(service, slide, size)


def measure(service: RunningService, slide: Path, size: int) -> None:
    assert service.api is not None
    with httpx.Client(base_url=service.url, timeout=600) as http:
        for name, post in (("raw body", post_raw), ("form", post_form)):
            with watched(service.api.pid) as growth:
                took_s = timed(lambda post=post: post(http, slide))
            report(name, size, took_s, f"; the API grew by {growth.mb:.0f} MB")


def post_raw(http: httpx.Client, slide: Path) -> None:
    length = {"Content-Length": str(slide.stat().st_size)}
    with slide.open("rb") as file:
        check(http.post("/predict", content=blocks(file), headers={**RAW, **length}))


def post_form(http: httpx.Client, slide: Path) -> None:
    with slide.open("rb") as file:
        check(http.post("/predict", files={"file": ("a", file)}, data={"fresh": "true"}))


def check(answer: httpx.Response) -> None:
    """Accepted; the job is canceled, it is no slide."""
    assert answer.status_code == 202, answer.text
    httpx.delete(f"{answer.request.url.copy_with(path=answer.headers['location'])}")


def blocks(file):
    while block := file.read(MIB):
        yield block


def make_slide(path: Path, size: int) -> Path:
    """Noise, the same every time."""
    dice = random.Random(1)
    with path.open("wb") as file:
        for _ in range(size // MIB):
            file.write(dice.randbytes(MIB))
    return path


def sha256(path: Path) -> None:
    with path.open("rb") as file:
        hashlib.file_digest(file, "sha256")


def copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    with target.open("rb") as file:
        os.fsync(file.fileno())


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def report(name: str, size: int, took_s: float, more: str = "") -> None:
    print(f"{name}: {took_s:.1f} s, {size / took_s / MB:.0f} MB/s{more}", flush=True)


if __name__ == "__main__":
    main()
