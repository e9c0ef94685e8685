"""The reader process: opens one hostile file within limits, sends tiles, and may die of it.

`deepsmile.reader_host` starts `python -m deepsmile.reader_process FD` once; this host imports the
readers, then forks a fresh process for every slide, so that a slide costs a fork and not 0.3 s
of imports. Everything that touches a file's bytes happens in the forked process.
"""

import os
import resource
import socket
import sys
import time
from pathlib import Path

import cv2

from deepsmile.errors import DeepSmileError
from deepsmile.frames import (
    MAX_REQUEST_BYTES,
    STATUS,
    PlanFacts,
    ReadCount,
    ReadRequest,
    SlideFacts,
    write_frame,
)
from deepsmile.slides.open import cucim_is_installed, open_slide
from deepsmile.slides.slide import Slide
from deepsmile.tiles import TileCount, TilePlan, plan_tiles, read_tiles

NOTHING = memoryview(b"")


def main() -> None:
    """Serve requests until the other end of the control socket closes."""
    cv2.setNumThreads(1)
    if cucim_is_installed():
        import cucim.clara  # noqa: F401 - loaded before the fork, for all that follow
    with socket.socket(fileno=int(sys.argv[1])) as control:
        while serve_next(control):
            pass


def serve_next(control: socket.socket) -> bool:
    """Fork a reader for the next request, tell who it is and how it ended; False at the end."""
    text, fds, _, _ = socket.recv_fds(control, MAX_REQUEST_BYTES, maxfds=2)
    if not text:
        return False
    pid = os.fork()
    if pid == 0:
        control.close()
        read_one(text, *fds)
        os._exit(0)  # the host's own clean-up is none of ours
    for fd in fds:
        os.close(fd)
    pidfd = os.pidfd_open(pid)
    try:
        socket.send_fds(control, [b"forked"], [pidfd])
        control.send(STATUS.pack(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])))
    except OSError:
        return False  # nobody is listening any more
    finally:
        os.close(pidfd)
    return True


def read_one(text: bytes, frames_fd: int, errors_fd: int) -> None:
    """Read one slide. An exception that is not ours ends the process; stderr has its last words."""
    os.dup2(errors_fd, 2)
    request = ReadRequest.model_validate_json(text)
    limit(request)
    try:
        serve(frames_fd, request)
    except DeepSmileError as error:
        body = {"code": error.code, "detail": error.detail, "hint": error.hint}
        write_frame(frames_fd, "error", body, NOTHING)


def limit(request: ReadRequest) -> None:
    """Bound memory and CPU time, forbid core dumps: a bomb ends this process alone."""
    resource.setrlimit(resource.RLIMIT_AS, (request.memory_bytes, request.memory_bytes))
    # At the soft limit comes SIGXCPU, which says why; at the hard one SIGKILL, which does not.
    resource.setrlimit(resource.RLIMIT_CPU, (request.cpu_s, request.cpu_s + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def serve(fd: int, request: ReadRequest) -> None:
    """Open, plan, read; each step's outcome is a frame."""
    scratch = Path(request.scratch)
    slide = open_slide(Path(request.path), scratch, reserve_bytes=request.reserve_bytes)
    write_frame(fd, "slide", slide_facts(slide).model_dump(), NOTHING)

    def looked(done: int, total: int) -> None:
        write_frame(fd, "looked", {"done": done, "total": total}, NOTHING)

    plan = plan_tiles(slide, request.contract, request.mpp, looked)
    write_frame(fd, "plan", plan_facts(plan).model_dump(), NOTHING)
    if request.overview:
        image = plan.overview.image
        write_frame(fd, "overview", {"shape": image.shape}, image.ravel().data)
    count = TileCount()
    if request.batch:
        for batch in read_tiles(slide, plan, request.contract, request.batch, count):
            body = {"cells": batch.cells.tolist(), "to_come": batch.to_come}
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
