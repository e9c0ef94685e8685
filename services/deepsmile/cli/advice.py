"""Advice: what would make slides faster, from what was measured of one."""

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

from deepsmile.bench import Rates, Timings
from deepsmile.precision import Kind
from deepsmile.triton.config import INSTANCES

WORTHWHILE = 1.1
"""A change is advised if it gains as much in every single round; in some it may be chance."""
CROWDED = 1.25
"""From here on calls of the encoder wait for a core and not only for each other's caches."""
MUCH_IDLE = 0.2


@dataclass(frozen=True)
class Setup:
    """How it was set up to run."""

    batch: int
    cores: int
    on_triton: bool
    on_gpu: bool
    """In this process; what a server has is not known here."""
    precision: Kind | None
    """None: fp32."""


def advice(timings: Timings, setup: Setup) -> Iterator[str]:
    """What to change, the most telling first."""
    if timings.bottleneck == "encoding":
        yield from _faster_encoding(timings, setup)
    elif timings.bottleneck == "reading":
        yield "slides on a local disk, and faster cores"
    else:
        yield "fewer tiles (a budget in the contract), or heads with fewer members"
    if timings.encoder_idle > MUCH_IDLE:
        yield f"more workers: {timings.encoder_idle:.0%} of the time the encoder waits for tiles"
    if timings.crowding > CROWDED:
        slower = f"beside the reader, calls of the encoder take {timings.crowding:.1f} x as long"
        yield f"{_more_room(timings, setup)}: {slower}"


def _faster_encoding(timings: Timings, setup: Setup) -> Iterator[str]:
    rates = timings.rates
    best = max(rates, key=lambda size: median(rates[size]))
    if gain := _gain(rates[best], rates[setup.batch]):
        yield f"DEEPSMILE_ENCODER_BATCH={best}: the encoder alone is {gain:.2f} x as fast"
    if setup.on_triton:
        yield _faster_server(timings, setup)
    elif timings.callers < setup.cores and timings.crowding <= CROWDED:
        yield f"DEEPSMILE_ENCODER_THREADS={setup.cores}: one for each core, not {timings.callers}"
    if setup.precision is None:
        yield f"a bundle in {_shorter(setup)}, if `deepsmile-train precision` accepts one"
    if not setup.on_triton:
        yield "a faster GPU" if setup.on_gpu else "a GPU, or more cores"


def _faster_server(timings: Timings, setup: Setup) -> str:
    """More requests in flight while they bring something; then more for them to meet."""
    now, half = timings.callers, timings.callers // 2
    if now < INSTANCES:
        told = "a request for each instance of the encoder, and more to come"
        return f"DEEPSMILE_TRITON_IN_FLIGHT={2 * INSTANCES}: {told}"
    if gain := _gain(timings.rates[setup.batch], timings.half):
        told = f"{now} requests in flight are {gain:.2f} x as fast as {half}"
        return f"DEEPSMILE_TRITON_IN_FLIGHT={2 * now}: {told}"
    return (
        f"more GPUs or cores for Triton (it has {INSTANCES} instances of the encoder on each GPU,"
        f" or on the CPU): {now} requests in flight are not clearly faster than {half}"
    )


def _shorter(setup: Setup) -> str:
    if setup.on_triton:
        return "int8 (where the server has no GPU) or fp16 (where it has)"
    return "fp16" if setup.on_gpu else "int8"


def _more_room(timings: Timings, setup: Setup) -> str:
    if setup.on_triton:
        return "cores of its own for Triton"
    rounds = zip(timings.rates[setup.batch], timings.half, strict=True)
    if timings.callers > 1 and all(many < WORTHWHILE * few for many, few in rounds):
        fewer = timings.callers // 2
        return f"DEEPSMILE_ENCODER_THREADS={fewer}, as fast alone as {timings.callers}"
    return "a core more"


def _gain(new: Rates, old: Rates) -> float:
    """How many times as fast, by medians; 0 if it is not worthwhile in every round."""
    if any(a < WORTHWHILE * b for a, b in zip(new, old, strict=True)):
        return 0.0
    return median(new) / median(old)
