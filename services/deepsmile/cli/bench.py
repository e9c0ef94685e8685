"""`deepsmile bench`: where the time goes on this machine, and what would make it faster."""

from contextlib import closing

import typer
from rich.console import Console
from rich.table import Table

from deepsmile.bench import Timings, advice, measure
from deepsmile.bundle import load_bundle
from deepsmile.cli.options import BundleName, RequestedMpp, SlidePath
from deepsmile.pipeline import SlideSource
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
    rates = ", ".join(f"{size}: {rate:.0f}" for size, rate in timings.tiles_per_s.items())
    console.print(f"encoder alone, tiles/s by batch size: {rates}")
    idle = f"the encoder idles {timings.encoder_idle:.0%} of the whole"
    console.print(f"bottleneck: [bold]{timings.bottleneck}[/]; {idle}")
    for line in advice(timings, settings.batch):
        typer.echo(f"faster with: {line}")


def _table(timings: Timings) -> Table:
    table = Table("stage", "seconds", "tiles/s")
    alone = {f"{name} alone": seconds for name, seconds in timings.stages_s.items()}
    for name, seconds in {**alone, "the whole": timings.whole_s}.items():
        table.add_row(name, f"{seconds:.2f}", f"{timings.tiles / seconds:.0f}" if seconds else "")
    return table
