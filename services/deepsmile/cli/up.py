"""`deepsmile up`: the whole service on this machine, one Ctrl-C to drain it."""

import signal
from pathlib import Path
from threading import Event
from typing import Annotated, Any

import typer

from deepsmile.disk import keep_private
from deepsmile.report import RESEARCH_USE_ONLY
from deepsmile.settings import Settings
from deepsmile.stack import Stack

READY_S = 60.0


def up(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder for everything.")] = None,
    triton: Annotated[bool, typer.Option(help="Run the models on a Triton server, too.")] = False,
) -> None:
    """Start broker, worker and API here. Ctrl-C finishes the slide at hand, then stops."""
    given = {"host": host, "port": port, "data_dir": data_dir}
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    stop = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: _stop(stop))
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # which is what nohup wants
        signal.signal(signal.SIGHUP, lambda *_: stop.set())  # a closing terminal may say so twice
    settings = Settings(**changes)
    keep_private()
    with Stack(settings, with_triton=triton) as stack:
        stack.wait_ready(READY_S, stop)
        typer.secho(f"DeepSMILE is ready at {stack.url}. {RESEARCH_USE_ONLY}", fg="green")
        typer.echo(f"Try: deepsmile predict SLIDE --url {stack.url}    Stop: Ctrl-C")
        stack.supervise(stop)
        typer.echo("Finishing the slide at hand; Ctrl-C again to leave it to the next start.")


def _stop(stop: Event) -> None:
    if stop.is_set():
        raise KeyboardInterrupt
    stop.set()
