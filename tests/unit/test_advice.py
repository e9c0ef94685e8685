"""Advice: each figure says what to change, and noise says nothing."""

from dataclasses import replace
from typing import Any

import pytest

from deepsmile.bench import Rates, Timings, Whole
from deepsmile.cli.advice import Setup, advice
from deepsmile.precision import Kind

QUIET = Timings(
    tiles=100,
    callers=2,
    reading_s=0.5,
    encoding_s=1.0,
    aggregating_s=0.1,
    whole=Whole(seconds=1.1, busy_s=1.0, calls_s=2.0),
    rates={4: (100.0, 101.0, 99.0), 16: (100.0, 100.0, 100.0)},
    half=(60.0, 60.0, 60.0),
)
"""Encoding is the slowest stage, and nothing stands in its way."""
HERE = Setup(batch=4, cores=2, on_triton=False, on_gpu=False, precision=Kind.INT8)


def said(setup: Setup = HERE, **changes: Any) -> list[str]:
    return list(advice(replace(QUIET, **changes), setup))


def test_where_all_is_well_only_hardware_helps() -> None:
    assert said() == ["a GPU, or more cores"]
    assert said(replace(HERE, on_gpu=True, precision=Kind.FP16)) == ["a faster GPU"]


@pytest.mark.parametrize(
    ("better", "gain"),
    [
        ((150.0, 160.0, 140.0), "1.50"),  # in every round
        ((150.0, 160.0, 105.0), None),  # once no more than noise
        ((109.0, 109.0, 109.0), None),  # steadily, but not worth it
    ],
)
def test_another_batch_is_advised_when_every_round_was_faster(
    better: Rates, gain: str | None
) -> None:
    told = [line for line in said(rates={**QUIET.rates, 16: better}) if "BATCH" in line]
    line = f"DEEPSMILE_ENCODER_BATCH=16: the encoder alone is {gain} x as fast"
    assert told == ([line] if gain else [])


def test_rounds_are_compared_with_themselves() -> None:
    """The machine was busy in one of them, and the ratio is the same in all."""
    rates = {4: (100.0, 20.0, 100.0), 16: (150.0, 30.0, 150.0)}
    assert said(rates=rates)[0].startswith("DEEPSMILE_ENCODER_BATCH=16: ")


def test_idle_cores_get_encoder_threads() -> None:
    eight = replace(HERE, cores=8)
    assert said(eight)[0] == "DEEPSMILE_ENCODER_THREADS=8: one for each core, not 2"
    crowded = Whole(seconds=1.5, busy_s=1.5, calls_s=3.0)
    assert not any("THREADS=8" in line for line in said(eight, whole=crowded))


@pytest.mark.parametrize(
    ("setup", "shorter"),
    [
        (HERE, "int8"),
        (replace(HERE, on_gpu=True), "fp16"),
        (
            replace(HERE, on_triton=True),
            "int8 (where the server has no GPU) or fp16 (where it has)",
        ),
    ],
)
def test_fp32_may_be_shortened(setup: Setup, shorter: str) -> None:
    line = f"a bundle in {shorter}, if `deepsmile-train precision` accepts one"
    assert line in said(replace(setup, precision=None))
    assert not any("precision" in line for line in said(setup))


def test_triton_gets_more_requests_while_they_bring_something() -> None:
    (line,) = said(replace(HERE, on_triton=True), callers=8, whole=Whole(1.1, 1.0, 8.0))
    assert line == "DEEPSMILE_TRITON_IN_FLIGHT=16: 8 requests in flight are 1.67 x as fast as 4"


def test_a_triton_with_one_request_at_a_time_gets_more_of_them() -> None:
    (line,) = said(replace(HERE, on_triton=True), callers=1, whole=Whole(1.1, 1.0, 1.0), half=())
    assert line.startswith("DEEPSMILE_TRITON_IN_FLIGHT=4: ")


def test_a_triton_whose_instances_are_all_busy_gets_more_of_them() -> None:
    busy = {"callers": 8, "whole": Whole(1.1, 1.0, 8.0), "half": (97.0, 104.0, 98.0)}
    (line,) = said(replace(HERE, on_triton=True), **busy)
    assert line.startswith("more GPUs or cores for Triton (it has 2 instances of the encoder on")
    assert line.endswith("8 requests in flight are not clearly faster than 4")


def test_an_encoder_that_waits_gets_more_workers() -> None:
    waiting = Whole(seconds=2.0, busy_s=0.5, calls_s=1.0)
    assert said(reading_s=1.8, encoding_s=0.5, whole=waiting) == [
        "slides on a local disk, and faster cores",
        "more workers: 75% of the time the encoder waits for tiles",
    ]


@pytest.mark.parametrize(
    ("on_triton", "half", "room"),
    [
        (False, (60.0, 60.0, 60.0), "a core more"),
        (
            False,
            (98.0, 101.0, 99.0),
            "DEEPSMILE_ENCODER_THREADS=1, as fast alone as 2",
        ),
        (False, (98.0, 70.0, 99.0), "a core more"),
        (True, (60.0, 60.0, 60.0), "cores of its own for Triton"),
    ],
)
def test_calls_that_are_slower_beside_the_reader_get_room(
    on_triton: bool, half: Rates, room: str
) -> None:
    crowded = Whole(seconds=1.6, busy_s=1.5, calls_s=3.0)
    told = said(replace(HERE, on_triton=on_triton), whole=crowded, half=half)
    assert told[-1] == f"{room}: beside the reader, calls of the encoder take 1.5 x as long"


def test_one_caller_cannot_be_fewer() -> None:
    crowded = Whole(seconds=1.6, busy_s=1.5, calls_s=1.5)
    told = said(replace(HERE, cores=1), callers=1, whole=crowded, half=())
    assert told[-1] == "a core more: beside the reader, calls of the encoder take 1.5 x as long"


def test_many_tiles_make_heads_slow() -> None:
    (line,) = said(aggregating_s=2.0)
    assert line == "fewer tiles (a budget in the contract), or heads with fewer members"
