"""Imports: fast, and without what serving does not need."""

import json
import statistics
import subprocess
import sys
import time

TOO_HEAVY = {"torch", "torchvision", "deepsmile_training"}
NOT_THE_ROAD_S = {"fastapi", "celery", "sqlalchemy", "redis", "uvicorn", "typer"}


def imported_by(module: str) -> set[str]:
    """Top-level modules that a fresh interpreter has after importing `module` (or several)."""
    code = f"import {module}, sys, json; print(json.dumps([m.split('.')[0] for m in sys.modules]))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    return set(json.loads(out.stdout))


def seconds_to_run(code: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - began


def test_importing_the_package_is_fast_and_light() -> None:
    """HOUSE STYLE 30: under 0.3 s cold, and nothing but the standard library."""
    assert statistics.median(seconds_to_run("import deepsmile") for _ in range(5)) < 0.3
    assert imported_by("deepsmile") & (TOO_HEAVY | NOT_THE_ROAD_S | {"numpy", "pydantic"}) == set()


def test_the_road_needs_neither_torch_nor_the_service() -> None:
    """HOUSE STYLE 1 and 30: imports go upstream only."""
    loaded = imported_by("deepsmile.pipeline, deepsmile.reader_process")
    assert loaded & (TOO_HEAVY | NOT_THE_ROAD_S) == set()


def test_runtime_and_decoder_are_loaded_only_when_used() -> None:
    """HOUSE STYLE 31: an optional dependency is imported inside its one module."""
    loaded = imported_by("deepsmile.backends.onnx, deepsmile.slides.open")
    assert loaded & {"onnxruntime", "cucim"} == set()
