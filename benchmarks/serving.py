"""Serving: what Triton, HTTP and the queue cost on top of the same work in one process.

    python -m benchmarks.serving [SLIDE] [--architecture resnet18] [--rounds 5]

Four claims, each a ratio inside one round of one run, on the CPUs of this machine:

1. tiles/s of the encoder through Triton, over shared memory (goal 0.9) and gRPC (goal 0.8), of
   those in process with as many threads;
2. a slide over HTTP, queue and Triton takes at most 1.10 x its in-process wall time;
3. a second head on a known slide costs at most 0.01 x the first;
4. two workers keep the encoder busy: idle under 10 % of a ten-slide run (its instances added up
   and divided by their number, so no instance computes for at most so long).
"""

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import tritonclient.grpc as grpc

from benchmarks.encoding import BATCH, rate
from benchmarks.inputs import ARCHITECTURES, reader_for, throwaway_bundle
from benchmarks.slides import add_slide, slide_of
from deepsmile.backends.onnx import OnnxBackend, available_cores
from deepsmile.backends.triton import TritonBackend
from deepsmile.bundle import Bundle
from deepsmile.client import Client
from deepsmile.pipeline import SlideSource, score_slide
from deepsmile.scorer import BundleScorer, Work
from deepsmile.settings import Settings
from deepsmile.stages import no_progress
from deepsmile.triton.config import INSTANCES, Target, write_configs
from deepsmile.triton.connection import Endpoint, Transport
from deepsmile.triton.install import find_triton
from deepsmile.triton.models import encoder_model
from deepsmile.triton.server import Ports, TritonServer
from tests.service import RunningService

IN_FLIGHT = 8
SLIDES, WORKERS = 10, 2
SIZE_UM = 256.0


@contextmanager
def triton_with(bundle: Bundle, home: Path) -> Iterator[TritonServer]:
    """A server with the bundle's models."""
    write_configs(bundle.root, Target.CPU)
    server = TritonServer(
        find_triton(), bundle.root, home=home, ports=Ports.free(), log=home / "triton.log"
    )
    with server:
        server.wait_live(60)
        yield server


def transports(bundle: Bundle, url: str, rounds: int) -> Iterator[str]:
    """Claim 1."""
    tiles = np.random.default_rng(0).integers(0, 255, (BATCH, 224, 224, 3), dtype=np.uint8)
    threads = available_cores()
    local = OnnxBackend(bundle, threads)
    ways: tuple[tuple[Transport, str, float], ...] = (
        ("shm", "shared memory", 0.9),
        ("grpc", "gRPC", 0.8),
    )
    for transport, name, goal in ways:
        endpoint = Endpoint(url, transport, in_flight=IN_FLIGHT, timeout_s=30, patience_s=60)
        ratios, here, there = [], [], []
        with TritonBackend(bundle, endpoint) as remote:
            for _ in range(rounds):
                here.append(rate(lambda: local.encode(tiles), BATCH, threads))
                there.append(rate(lambda: remote.encode(tiles), BATCH, IN_FLIGHT))
                ratios.append(there[-1] / here[-1])
        yield (
            f"encoder over {name}: {told(ratios)} x in process (goal {goal});"
            f" {statistics.median(there):.0f} of {statistics.median(here):.0f} tiles/s"
        )


def overhead(slide: Path, bundle: Bundle, url: str, rounds: int, folder: Path) -> str:
    """Claim 2."""
    backend, reader = OnnxBackend(bundle, available_cores()), reader_for(folder / "scratch")
    with service(bundle, url) as running, Client(running.url) as client, closing(reader):
        path = shutil.copy(slide, running.slides)
        source = SlideSource(slide)  # hashed beside its scoring, as the service hashes a fresh one
        score_slide(source, bundle, backend, reader)
        submit_and_wait(client, [path])
        ratios = []
        for _ in range(rounds):
            alone_s = seconds(lambda: score_slide(source, bundle, backend, reader))
            ratios.append(seconds(lambda: submit_and_wait(client, [path])) / alone_s)
    return f"HTTP, queue and Triton: {told(ratios)} x in process (goal 1.10; {alone_s:.2f} s)"


def second_head(slide: Path, bundle: Bundle, other: Bundle, folder: Path) -> str:
    """Claim 3."""
    scorer = BundleScorer(Settings(data_dir=folder / "data", model_repository=bundle.root))
    source, ratios = SlideSource(slide, sha256="0" * 64), []

    def score(of: Bundle, fresh: bool) -> float:
        work = Work("job", source, of.name, of.digest, fresh)
        return seconds(lambda: scorer(work, no_progress))

    score(bundle, True)
    for _ in range(3):
        first = score(bundle, True)
        score(other, False)  # loads its models, once
        ratios.append(score(other, False) / first)
    return f"a second head on a known slide: {told(ratios, 4)} x the first (goal 0.01)"


def busy(slide: Path, bundle: Bundle, url: str) -> str:
    """Claim 4, by the server's own count of the time in which the encoder computed."""
    with service(bundle, url) as running, Client(running.url) as client:
        for _ in range(WORKERS - 1):
            running.start_worker()
        paths = [shutil.copy(slide, running.slides / f"{i}.svs") for i in range(SLIDES)]
        submit_and_wait(client, paths[:WORKERS])  # both have their models and readers
        before = computed_s(bundle, url)
        wall_s = seconds(lambda: submit_and_wait(client, paths))
        idle = 1 - (computed_s(bundle, url) - before) / (INSTANCES * wall_s)
    what = f"{SLIDES} slides, {WORKERS} workers"
    return f"{what}: {wall_s:.1f} s, encoder idle at most {idle:.1%} (goal 10 %)"


@contextmanager
def service(bundle: Bundle, url: str) -> Iterator[RunningService]:
    with RunningService(
        bundle.root,
        default_bundle=bundle.name,
        triton_url=url,
        lease_s=30.0,
        heartbeat_s=5.0,
        sweep_s=5.0,
    ) as running:
        yield running


def submit_and_wait(client: Client, paths: list[Path | str]) -> None:
    jobs = [client.predict_path(str(path), fresh=True) for path in paths]
    for job in jobs:
        ended = client.wait(job.id, timeout_s=600)
        assert ended.result is not None, ended.error


def computed_s(bundle: Bundle, url: str) -> float:
    """Seconds that the encoder's instances have computed since the server started, added up."""
    with grpc.InferenceServerClient(url) as client:
        found = client.get_inference_statistics(encoder_model(bundle).name, as_json=True)
    (model,) = found["model_stats"]
    return sum(int(batch["compute_infer"]["ns"]) for batch in model["batch_stats"]) / 1e9


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def told(ratios: list[float], digits: int = 2) -> str:
    low, high = min(ratios), max(ratios)
    return f"{statistics.median(ratios):.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_slide(parser)
    parser.add_argument("--architecture", choices=ARCHITECTURES, default="resnet18")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    slide = slide_of(options)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundle = throwaway_bundle(folder / "models", options.architecture, SIZE_UM)
        other = throwaway_bundle(folder / "models", options.architecture, SIZE_UM, members=3)
        print(second_head(slide, bundle, other, folder), flush=True)
        with triton_with(bundle, folder) as server:
            for line in transports(bundle, server.url, options.rounds):
                print(line, flush=True)
            print(overhead(slide, bundle, server.url, options.rounds, folder), flush=True)
            print(busy(slide, bundle, server.url), flush=True)


if __name__ == "__main__":
    main()
