"""`deepsmile inspect`: what we would read of a slide, and what scoring it would cost."""

import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from deepsmile.backends.onnx import OnnxBackend
from deepsmile.bundle import Bundle, load_bundle
from deepsmile.cli.options import (
    EXIT_ABSTAINED,
    BundleName,
    RequestedMpp,
    SlidePath,
    writable,
    write,
)
from deepsmile.cli.progress import progress_bar
from deepsmile.contract import FeatureContract
from deepsmile.errors import Abstention
from deepsmile.frames import PlanFacts, ReadCount, SlideFacts
from deepsmile.preview import draw_preview
from deepsmile.pyramid import Cells
from deepsmile.reading import Looked, OverviewImage, Reader
from deepsmile.settings import LOCAL_BATCH, Settings
from deepsmile.slides.slide import RGB
from deepsmile.stages import Progress
from deepsmile.tiles import TileBatch

TIMED_BATCHES = 8


@dataclass
class Inspection:
    """What one pass over a slide showed."""

    slide: SlideFacts | None = None
    plan: PlanFacts | None = None
    overview: RGB | None = None
    tissue: list[Cells] = field(default_factory=list)
    count: ReadCount | None = None
    abstention: Abstention | None = None
    seconds: float = 0.0


def inspect(
    slide: SlidePath,
    bundle: BundleName = None,
    mpp: RequestedMpp = None,
    preview: Annotated[
        Path | None, typer.Option(help="Write the tissue preview, PNG.", callback=writable)
    ] = None,
) -> None:
    """Reader, levels, mpp, tissue and tile count of a slide, and a cost estimate; no score."""
    settings = Settings()
    loaded = load_bundle(settings.model_repository, bundle or settings.default_bundle)
    contract = loaded.contract.features
    with closing(settings.reader) as reader, progress_bar() as progress:
        found = look(slide, contract, reader, mpp, progress)
    console = Console(markup=False)
    console.print(_table(found))
    if found.abstention:
        console.print(f"{found.abstention.code}: {found.abstention.detail}", style="yellow")
        console.print(found.abstention.hint)
    else:
        console.print(_cost(found, loaded, settings))
    if preview and found.overview is not None and found.overview.size:
        cells = np.concatenate(found.tissue) if found.tissue else np.empty((0, 2), np.int32)
        write(preview, draw_preview(found.overview, contract.overview.tile_px, cells))
    if found.abstention:
        raise typer.Exit(EXIT_ABSTAINED)


def look(
    slide: Path, contract: FeatureContract, reader: Reader, mpp: float | None, progress: Progress
) -> Inspection:
    """Read a slide as scoring would, and keep what it tells instead of encoding it."""
    found, started = Inspection(), time.perf_counter()
    try:
        with closing(reader.read(slide, contract, mpp=mpp, overview=True)) as events:
            for event in events:
                _note(event, found, progress)
    except Abstention as abstention:
        found.abstention = abstention
    found.seconds = time.perf_counter() - started
    return found


def _note(event: object, found: Inspection, progress: Progress) -> None:
    match event:
        case SlideFacts():
            found.slide = event
        case Looked():
            progress("tiling", event.done, event.total)
        case PlanFacts():
            found.plan = event
        case OverviewImage():
            found.overview = event.image
        case TileBatch():
            found.tissue.append(event.cells)
            read = sum(map(len, found.tissue))
            progress("reading", read, read + event.to_come)
        case ReadCount():
            found.count = event


def _table(found: Inspection) -> Table:
    table = Table.grid(padding=(0, 2))
    if found.slide:
        note = f" ({found.slide.reader_note})" if found.slide.reader_note else ""
        table.add_row("reader", f"{found.slide.reader}{note}")
        table.add_row("format", found.slide.format)
        sizes = ", ".join(f"{width} x {height}" for width, height in found.slide.levels)
        table.add_row("levels, px", sizes)
    if found.plan:
        plan = found.plan
        table.add_row("mpp", f"{plan.mpp[0]:.4g} x {plan.mpp[1]:.4g} um ({plan.mpp_source})")
        table.add_row("level used", f"{plan.level}, {plan.level_mpp[0]:.4g} um per px")
        table.add_row("glass", f"grey {plan.glass_grey}")
        grid = f"{plan.columns} x {plan.rows} = {plan.columns * plan.rows}"
        table.add_row("tiles", f"{grid}, {plan.candidates} candidates")
    if found.count:
        table.add_row("tissue tiles", str(found.count.kept))
    return table


def _cost(found: Inspection, bundle: Bundle, settings: Settings) -> str:
    """Reading as measured just now; encoding from a few batches timed on this machine."""
    tiles = found.count.kept if found.count else 0
    threads = settings.threads
    batch = settings.encoder_batch or LOCAL_BATCH  # timed here, wherever models will run
    each = seconds_per_tile(OnnxBackend(bundle, threads), bundle, batch)
    encoding = each * tiles / threads
    return (
        f"cost here: reading {found.seconds:.1f} s, encoding about {encoding:.1f} s"
        f" ({each * 1e3:.1f} ms a tile on each of {threads} threads); they overlap"
    )


def seconds_per_tile(backend: OnnxBackend, bundle: Bundle, batch: int) -> float:
    """Time of one encoder thread per tile, the median of a few batches."""
    size = bundle.contract.features.tile.size_px
    tiles = np.zeros((batch, size, size, 3), np.uint8)  # (B, size, size, 3)
    times = []
    for _ in range(TIMED_BATCHES):
        started = time.perf_counter()
        backend.encode(tiles)
        times.append((time.perf_counter() - started) / batch)
    return float(np.median(times))
