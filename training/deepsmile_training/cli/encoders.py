"""Commands that compare encoders and put one into a model repository."""

from pathlib import Path
from typing import Annotated, Any

import typer

from deepsmile.settings import Settings
from deepsmile_training.cli.progress import stages

THREADS = Annotated[int, typer.Option(min=1, help="Cores to use.")]


def probe(
    encoders: Annotated[
        list[str],
        typer.Argument(
            help="encoder.pt, MODEL.onnx, random:BACKBONE, imagenet:FILE, timm:NAME=FILE,"
            " deepsmile:BACKBONE=FILE; the first is what the others are compared with."
        ),
    ],
    store: Annotated[Path, typer.Option(help="Tile store.")],
    label: Annotated[
        list[str] | None,
        typer.Option(help="`slide`, or a label of the store; repeatable. Default: of few values."),
    ] = None,
    tiles: Annotated[
        int, typer.Option(min=2, help="At most so many, of slides of all cases.")
    ] = 2500,
    size: Annotated[
        int | None,
        typer.Option(min=32, help="Show tiles at so many px. Default: as in the store, 224."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Random encoders of each backbone.")] = 1,
    out: Annotated[Path | None, typer.Option(help="Write the figures here too, as JSON.")] = None,
    threads: THREADS = 2,
) -> None:
    """Compare encoders by what their features tell of tiles: of the slide, of the organ."""
    import torch

    from deepsmile.disk import write_file
    from deepsmile.errors import RequestInvalid
    from deepsmile_training.encoders import comparison
    from deepsmile_training.encoders.probe_report import table
    from deepsmile_training.tilesets.store import open_store

    if out is not None and (out.is_dir() or not out.parent.is_dir()):
        hint = "Name a file in a folder that exists."
        raise RequestInvalid(f"--out {out}: no file can be written there", hint=hint)
    torch.set_num_threads(threads)
    opened = open_store(store)
    chosen = comparison.sample(opened, tiles)
    if size is not None:
        chosen = comparison.shown_at(chosen, size)
    asked = comparison.questions(chosen, label or [])
    with stages() as stage:
        found = comparison.compare(encoders, chosen, asked, seeds=seeds, stage=stage)
    typer.echo(f"{len(chosen.tiles):,} tiles, shown at {chosen.tiles.shape[1]} px")
    for line in comparison.left_out(chosen, asked):
        typer.echo(line)
    typer.echo(table(found))
    if out is not None:
        content = comparison.report(found, opened.digest, chosen)
        write_file(out, content.model_dump_json(indent=2) + "\n")


def export_encoder(
    encoder: Annotated[str, typer.Argument(help="encoder.pt, or as `probe` takes them.")],
    name: Annotated[str, typer.Option(help="Name of the encoder in the repository.")],
    store: Annotated[Path | None, typer.Option(help="Tile store, to check the export on.")] = None,
    tiles: Annotated[Path | None, typer.Option(help="Or a folder of tile images.")] = None,
    probed: Annotated[
        Path | None, typer.Option("--probe", help="JSON of `probe --out`, for the card.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="Whose tiles it learnt from, and their licence; for the card."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Model repository to write into; by default the settings'.")
    ] = None,
    fp16: Annotated[bool, typer.Option(help="Demand that it also holds in fp16.")] = True,
    threads: THREADS = 2,
) -> None:
    """Export an encoder to ONNX, check it against torch on real tiles, write it with its card."""
    import torch

    from deepsmile_training.encoders.probe_report import read_report
    from deepsmile_training.encoders.release import candidate_of, release

    torch.set_num_threads(threads)
    report = read_report(probed) if probed else None
    pixels, contract = _real_tiles(store, tiles)
    candidate = candidate_of(name, encoder, pixels, contract=contract, probe=report, data=data)
    origin = candidate.provenance["origin"]["what"]  # paths may name patients
    command = f"deepsmile-train export-encoder '{origin}' --name {name}"
    command += "" if fp16 else " --no-fp16"
    repository = out or Settings().model_repository
    released = release(candidate, pixels, repository, command, fp16=fp16)
    measured = released.file.provenance["export"]["agreement"]
    typer.echo(
        f"fp32: largest difference {measured['difference']:.1e} of features up to"
        f" {measured['largest']:.3g}; fp16: least cosine {measured['cosine_fp16']:.6f}"
    )
    typer.echo(f"encoder {name} {released.file.features.encoder.sha256}")


def _real_tiles(store: Path | None, folder: Path | None) -> tuple[Any, Any]:
    """Tiles, and the contract that they were cut by where that is known."""
    from deepsmile.errors import RequestInvalid
    from deepsmile_training.encoders.real_tiles import contract_of, tiles_of_folder, tiles_of_store
    from deepsmile_training.tilesets.store import open_store

    if store is not None and folder is None:
        opened = open_store(store)
        return tiles_of_store(opened), contract_of(opened)
    if folder is not None and store is None:
        return tiles_of_folder(folder), None
    raise RequestInvalid("give --store or --tiles", hint="The export is checked on real tiles.")
