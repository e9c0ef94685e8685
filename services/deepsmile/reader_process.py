"""The reader process: opens one hostile file within limits, sends tiles, and may die of it.

Started by `deepsmile.reading` as `python -m deepsmile.reader_process FD`, with a `ReadRequest`
on stdin. Everything that touches the file's bytes happens here.
"""

import resource
import sys
import time
from pathlib import Path

import cv2

from deepsmile.errors import DeepSmileError
from deepsmile.frames import PlanFacts, ReadCount, ReadRequest, SlideFacts, write_frame
from deepsmile.slides.open import open_slide
from deepsmile.slides.slide import Slide
from deepsmile.tiles import TileCount, TilePlan, plan_tiles, read_tiles

NOTHING = memoryview(b"")


def main() -> None:
    """Serve one request and exit."""
    fd = int(sys.argv[1])
    request = ReadRequest.model_validate_json(sys.stdin.buffer.read())
    limit(request)
    cv2.setNumThreads(1)
    try:
        serve(fd, request)
    except DeepSmileError as error:
        body = {"code": error.code, "detail": error.detail, "hint": error.hint}
        write_frame(fd, "error", body, NOTHING)


def limit(request: ReadRequest) -> None:
    """Bound memory and CPU time, forbid core dumps: a bomb ends this process alone."""
    resource.setrlimit(resource.RLIMIT_AS, (request.memory_bytes, request.memory_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (request.cpu_s, request.cpu_s))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def serve(fd: int, request: ReadRequest) -> None:
    """Open, plan, read; each step's outcome is a frame."""
    slide = open_slide(Path(request.path), Path(request.scratch))
    write_frame(fd, "slide", slide_facts(slide).model_dump(), NOTHING)

    def looked(done: int, total: int) -> None:
        write_frame(fd, "looked", {"done": done, "total": total}, NOTHING)

    plan = plan_tiles(slide, request.contract, request.mpp, looked)
    image = plan.overview.image.ravel().data if request.overview else NOTHING
    write_frame(fd, "plan", plan_facts(plan).model_dump(), image)
    count = TileCount()
    if request.batch:
        for batch in read_tiles(slide, plan, request.contract, request.batch, count):
            body = {"cells": batch.cells.tolist(), "decoded": count.decoded}
            write_frame(fd, "tiles", body, batch.pixels.ravel().data)
    done = ReadCount(
        decoded=count.decoded,
        kept=count.kept,
        cpu_s=time.process_time(),
        reader_note=slide.reader_note,
    )
    write_frame(fd, "done", done.model_dump(), NOTHING)


def slide_facts(slide: Slide) -> SlideFacts:
    return SlideFacts(
        reader=slide.reader,
        reader_note=slide.reader_note,
        format=slide.format,
        levels=tuple((level.width, level.height) for level in slide.levels),
        mpp_stated=(slide.mpp.x, slide.mpp.y) if slide.mpp else None,
        mpp_stated_by=slide.mpp.source if slide.mpp else None,
    )


def plan_facts(plan: TilePlan) -> PlanFacts:
    grid, cutter = plan.grid, plan.cutter
    return PlanFacts(
        mpp=(grid.mpp.x, grid.mpp.y),
        mpp_source=grid.mpp.source,
        level=cutter.level,
        level_mpp=(grid.mpp.x * cutter.downsample[0], grid.mpp.y * cutter.downsample[1]),
        columns=grid.columns,
        rows=grid.rows,
        origin_l0=grid.origin_l0,
        step_l0=grid.step_l0,
        candidates=len(plan.candidates),
        glass_grey=plan.tissue.glass_grey,
    )


if __name__ == "__main__":
    main()
