"""Command that trains a tile encoder without labels."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deepsmile.errors import RequestInvalid
from deepsmile_training.cli.progress import stages

if TYPE_CHECKING:
    from deepsmile_training.pretraining.loop import Run


def pretrain(
    store: Annotated[Path, typer.Argument(help="Tile store, from `deepsmile-train tiles`.")],
    out: Annotated[
        Path, typer.Option(help="Folder of the run, shared by all nodes; given again, it goes on.")
    ],
    preset: Annotated[
        str, typer.Option(help="paper-tcga-bc, paper-tcga-crck, hissl, smoke, ...")
    ] = "",
    config: Annotated[
        Path | None, typer.Option(help="YAML file; its keys win over the preset's.")
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Wins over both: --set adam.beta2=0.99"),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Cores to use without a GPU.")] = 2,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it would do and take; write nothing.")
    ] = False,
) -> None:
    """Train a tile encoder by SimCLR or BYOL; with torchrun in front, on many GPUs and nodes."""
    import torch

    from deepsmile_training.pretraining.config import load_config
    from deepsmile_training.pretraining.distributed import joined_world
    from deepsmile_training.pretraining.loop import Run
    from deepsmile_training.tilesets.store import open_store

    if not preset and config is None:
        raise RequestInvalid("nothing says how to train", hint="Give --preset or --config.")
    torch.set_num_threads(threads)
    values = load_config(config, preset or None, _changes(changes or []))
    with joined_world(values.running.device) as world:
        run = Run(values, open_store(store), out, world)
        (_tell if dry_run else _train)(run)


def _changes(pairs: list[str]) -> dict[str, Any]:
    """KEY=VALUE with dots for nesting, values as YAML has them; the later one wins."""
    from deepsmile_training.pretraining.config import merged

    return merged(*(_change(pair) for pair in pairs))


def _change(pair: str) -> dict[str, Any]:
    import yaml

    key, equals, value = pair.partition("=")
    if not equals:
        raise RequestInvalid(f"--set {pair}: want KEY=VALUE", hint="Such as --set batch=64.")
    try:
        told = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise RequestInvalid(
            f"--set {pair}: {error}", hint="Write the value as YAML has it."
        ) from error
    for step in reversed(key.split(".")):
        told = {step: told}
    changes: dict[str, Any] = told
    return changes


def _silent(_what: str, _total: int) -> Callable[[], None]:
    """One progress bar is enough: the leading rank's."""
    return lambda: None


def _tell(run: "Run") -> None:
    import yaml

    from deepsmile_training.pretraining.forecast import forecast
    from deepsmile_training.pretraining.probing import prober_of
    from deepsmile_training.pretraining.remarks import remarks

    told = forecast(run)
    if run.world.leads:
        values = run.config.model_dump(mode="json")
        typer.echo(yaml.safe_dump(values, sort_keys=False), nl=False)
        typer.echo(f"tiles       {len(run.tiles)} on {run.world.size} x {run.world.name}")
        prober = prober_of(run.tiles, run.config.view_px)
        for line in (*told.lines(), *remarks(run, told.taken, prober)):
            typer.echo(line)


def _train(run: "Run") -> None:
    from deepsmile_training.pretraining.logbook import summary_of
    from deepsmile_training.pretraining.pretrain import ENCODER, pretrain
    from deepsmile_training.pretraining.stopping import told_to_stop

    with told_to_stop() as told, stages() as stage:
        bar = stage if run.world.leads else _silent
        ended = pretrain(run, told.is_set, stage=bar, say=typer.echo)
    if not ended:
        if run.world.leads:
            typer.echo(f"Stopped, with a checkpoint in {run.folder}; the same command goes on.")
        raise typer.Exit(told.exit_code)
    if not run.world.leads:
        return
    for line in summary_of(run.folder):
        typer.echo(line)
    typer.echo(f"encoder {run.folder / ENCODER}")
