"""Launching: one tool on one slide in a process of its own, with what it costs."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

from benchmarks.peers.figures import Run
from benchmarks.peers.prepare import Models
from benchmarks.peers.protocol import Encoded, last_answer, load
from benchmarks.road import tree_memory
from deepsmile.bundle import SUFFIX

ROOT = Path(__file__).parents[2]
LOOK_S = 0.5
"""How often memory is looked at, which costs some 10 ms each time."""
ENVIRONMENT = {"CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
"""No GPU, and no calls home."""


@dataclass(frozen=True)
class Tool:
    """A runner, the interpreter it runs in, and the model it takes."""

    name: str
    runner: str
    python: Path
    model: Path

    @property
    def is_there(self) -> bool:
        return self.python.exists()


PEERS = {
    "slide2vec": "with_slide2vec",
    "LazySlide": "with_lazyslide",
    "TIAToolbox": "with_tiatoolbox",
}
"""Name -> runner; the environment has the name in small letters."""


def peers(venvs: Path, models: Models) -> list[Tool]:
    """Every peer, whether its environment is there or not."""
    return [
        Tool(name, runner, venvs / name.lower() / "bin/python", models.weights)
        for name, runner in PEERS.items()
    ]


def ours(models: Models) -> list[Tool]:
    """DeepSMILE in fp32 and in int8."""
    bundles = {"DeepSMILE fp32": models.fp32, "DeepSMILE int8": models.int8}
    return [
        Tool(name, "with_deepsmile", Path(sys.executable), found.root / f"{found.name}{SUFFIX}")
        for name, found in bundles.items()
    ]


def launch(tool: Tool, slide: Path, words: Sequence[str] = ()) -> tuple[Run, Encoded]:
    """Run it to its end.

    Raises:
        subprocess.CalledProcessError: it failed; what it said is in the exception's notes.
    """
    with tempfile.TemporaryDirectory() as name, tempfile.TemporaryFile("w+") as said:
        out = Path(name) / "features.npz"
        module = f"benchmarks.peers.{tool.runner}"
        command = [tool.python, "-m", module, slide, tool.model, out, *words]
        started = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=ROOT, env=os.environ | ENVIRONMENT, stdout=said, stderr=subprocess.STDOUT
        )
        try:
            with _peaks(process.pid) as peaks:
                _, status, usage = os.wait4(process.pid, 0)
                wall_s = time.perf_counter() - started
                process.returncode = os.waitstatus_to_exitcode(status)
        finally:
            process.kill()  # it has ended, unless this was interrupted
            process.wait()
        said.seek(0)
        text = said.read()
        if process.returncode:
            failure = subprocess.CalledProcessError(process.returncode, command)
            failure.add_note(text[-4000:])
            raise failure
        cpu_s = usage.ru_utime + usage.ru_stime
        return Run(last_answer(text)["tiles"], wall_s, cpu_s, max(peaks) / 2**20), load(out)


@contextmanager
def _peaks(pid: int) -> Iterator[list[int]]:
    """Bytes of a process and its descendants, looked at from time to time."""
    peaks, over = [0], Event()

    def look() -> None:
        while not over.wait(LOOK_S):
            peaks.append(tree_memory(pid)[0])

    thread = Thread(target=look)
    thread.start()
    try:
        yield peaks
    finally:
        over.set()
        thread.join()
