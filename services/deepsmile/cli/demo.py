"""`deepsmile demo`: two shipped slides through the real API, queue and worker."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

import deepsmile
from deepsmile.cli.predict import predict_with
from deepsmile.cli.render import show_report
from deepsmile.client import Client
from deepsmile.loopback import free_ports
from deepsmile.settings import Settings
from deepsmile.stack import Stack

READY_S = 60.0
SLIDES = ("heterogeneous.svs", "homogeneous.svs")


def demo(
    slide: Annotated[
        list[Path] | None, typer.Option(help="A slide of yours instead; may be repeated.")
    ] = None,
    mpp: Annotated[float | None, typer.Option(help="Microns per pixel of level 0.")] = None,
) -> None:
    """Start everything in a temporary folder, score two slides, show the reports, stop."""
    console = Console()
    with tempfile.TemporaryDirectory(prefix="deepsmile-demo-") as folder:
        (port,) = free_ports(1)
        settings = Settings(data_dir=Path(folder), port=port)
        with (Path(folder) / "log").open("wb") as log, Stack(settings, log) as stack:
            console.print("Starting broker, worker and API ...")
            stack.wait_ready(READY_S)
            with Client(stack.url) as client:
                for path in slide or demo_slides():
                    console.rule(path.name)
                    show_report(predict_with(client, path, None, mpp, False), console)
    console.print("Next: [bold]deepsmile up[/], then [bold]deepsmile predict SLIDE[/]")


def demo_slides() -> list[Path]:
    """The slides that come with the code: synthetic, without meaning."""
    return [Path(deepsmile.__file__).parent / "demo" / name for name in SLIDES]
