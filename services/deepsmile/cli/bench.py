"""`deepsmile bench`: where the time goes on this machine, and what would make it faster."""

from contextlib import closing
from statistics import median

import typer
from rich.console import Console
from rich.table import Table

from deepsmile.backends.onnx import CUDA, available_cores, execution_providers
from deepsmile.bench import Timings, measure
from deepsmile.bundle import Bundle, load_bundle
from deepsmile.cli.advice import Setup, advice
from deepsmile.cli.options import BundleName, RequestedMpp, SlidePath
from deepsmile.pipeline import SlideSource
from deepsmile.precision import precision_of
from deepsmile.scorer import make_backend
from deepsmile.settings import Settings


def bench(slide: SlidePath, bundle: BundleName = None, mpp: RequestedMpp = None) -> None:
    """Time reading, encoding, aggregating and the whole; name the bottleneck and what to change."""
    settings = Settings()
    console = Console()
    loaded = load_bundle(settings.model_repository, bundle or settings.default_bundle)
    with (
        closing(settings.reader) as reader,
        make_backend(loaded, settings) as backend,
        console.status("timing ..."),
    ):
        reader.start()
        timings = measure(SlideSource(slide, mpp=mpp), loaded, backend, reader)
    console.print(_table(timings), f"{backend.name}, {backend.concurrency} calls at once")
    rates = ", ".join(
        f"{size}: {median(rates):.0f} ({min(rates):.0f} to {max(rates):.0f})"
        for size, rates in timings.rates.items()
    )
    console.print(f"encoder alone, tiles/s by batch size: {rates}")
    idle = f"the encoder idles {timings.encoder_idle:.0%} of the whole"
    console.print(f"bottleneck: [bold]{timings.bottleneck}[/]; {idle}")
    for line in advice(timings, _setup(settings, loaded)):
        typer.echo(f"faster with: {line}")


def _setup(settings: Settings, bundle: Bundle) -> Setup:
    precision = precision_of(bundle)
    return Setup(
        batch=settings.batch,
        cores=available_cores(),
        on_triton=settings.triton is not None,
        on_gpu=settings.triton is None and CUDA in execution_providers(),
        precision=precision.kind if precision else None,
    )


def _table(timings: Timings) -> Table:
    table = Table("stage", "seconds", "tiles/s")
    alone = {f"{name} alone": seconds for name, seconds in timings.stages_s.items()}
    for name, seconds in {**alone, "the whole": timings.whole.seconds}.items():
        table.add_row(name, f"{seconds:.2f}", f"{timings.tiles / seconds:.0f}" if seconds else "")
    return table
