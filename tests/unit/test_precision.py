"""The record of a variant: what is in bounds, how it reads, where it is of use."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepsmile.bundle import Bundle, write_bundle
from deepsmile.errors import BundleCorrupt, BundleMismatch
from deepsmile.precision import (
    Attempt,
    Bounds,
    Calibration,
    HeadShift,
    Kind,
    Precision,
    Shift,
    local_backend,
    precision_of,
)
from deepsmile.scorer import make_backend
from deepsmile.settings import Settings
from tests.making import make_bundle

CPU, GPU = ["CPUExecutionProvider"], ["CUDAExecutionProvider", "CPUExecutionProvider"]
SATURATING, VNNI, ARM = "flags: sse avx avx2", "flags: avx2 avx512f avx512_vnni", "Features: asimd"
BOUNDS = Bounds(cosine_mean=0.999, cosine_min=0.99, score=0.005)


def shift(mean: float = 0.9995, least: float = 0.995, raw: float = 0.001) -> Shift:
    heads = {
        "msi": HeadShift(raw=raw, calibrated=0.0004, labels_changed=1),
        "hrd": HeadShift(raw=0.0001, calibrated=0.0002, labels_changed=0),
    }
    return Shift(slides=27, tiles=9000, cosine_mean=mean, cosine_min=least, heads=heads)


def record(kind: Kind = Kind.INT8, *, needs_vnni: bool = False) -> Precision:
    return Precision(
        kind=kind,
        how="8-bit weights",
        parent="demo",
        parent_digest="1" * 64,
        bounds=BOUNDS,
        shift=shift(),
        refused=(Attempt(how="7-bit weights", shift=shift(mean=0.998)),),
        calibration=Calibration(slides=9, tiles=256, tiles_sha256="2" * 64),
        judges_digest="3" * 64,
        measured_on="onnxruntime 1.32.0 CPUExecutionProvider",
        needs_vnni=needs_vnni,
    )


def bundle_with(provenance: dict[str, Any], root: Path) -> Bundle:
    """The tiny bundle with another provenance."""
    content = make_bundle(root).file.model_dump(mode="json") | {"provenance": provenance}
    del content["digest"]
    return write_bundle(root, content)


@pytest.mark.parametrize(
    ("found", "excesses"),
    [
        (shift(), []),
        (shift(mean=0.999, least=0.99, raw=0.005), []),
        (shift(mean=0.99899), ["mean cosine 0.99899, at least 0.999 is needed"]),
        (shift(least=0.98), ["least cosine 0.98000, at least 0.99 is needed"]),
        (shift(raw=0.0051), ["a score moved by 0.0051, at most 0.005 is allowed"]),
    ],
)
def test_a_bound_may_be_reached_but_not_passed(found: Shift, excesses: list[str]) -> None:
    assert list(found.excesses(BOUNDS)) == excesses


def test_the_score_s_shift_is_the_largest_of_all_heads() -> None:
    """Raw or calibrated."""
    assert shift(raw=0.003).score == 0.003
    assert shift(raw=0.0).score == 0.0004


def test_a_record_comes_back_from_the_bundle_as_it_was(tmp_path: Path) -> None:
    made = bundle_with({"precision": record().model_dump(mode="json")}, tmp_path)
    assert precision_of(made) == record()


def test_a_bundle_without_a_record_is_as_it_was_exported(bundle: Bundle) -> None:
    assert precision_of(bundle) is None


def test_a_record_that_is_none_of_ours_is_corrupt(tmp_path: Path) -> None:
    with pytest.raises(BundleCorrupt, match="record of precision"):
        precision_of(bundle_with({"precision": {"kind": "int3"}}, tmp_path))


def test_it_says_what_was_chosen_and_why() -> None:
    assert str(record()) == (
        "int8 (8-bit weights) in place of demo: on 27 slides (9000 tiles) no score moved by more"
        " than 0.0010, cosine of features 0.99950 on average and 0.99500 at least"
        " (bounds 0.005, 0.999, 0.99)"
    )


@pytest.mark.parametrize(
    ("kind", "providers", "advice"),
    [
        (Kind.INT8, CPU, ""),
        (Kind.FP16, GPU, ""),
        (Kind.INT8, GPU, "use demo: int8 is for hosts without a GPU"),
        (Kind.FP16, CPU, "use demo: without a GPU fp16 is slower than fp32"),
    ],
)
def test_it_says_where_it_brings_nothing(kind: Kind, providers: list[str], advice: str) -> None:
    assert record(kind).advice(providers) == advice


@pytest.mark.parametrize("facts", [SATURATING, VNNI, ARM])
@pytest.mark.parametrize("needs_vnni", [True, False])
def test_it_objects_to_a_cpu_that_would_saturate_what_was_judged_without(
    facts: str, needs_vnni: bool
) -> None:
    """x86 adds pairs of 8-bit products in 16 bits, unless it has VNNI."""
    objection = record(needs_vnni=needs_vnni).objection(facts)
    assert objection.startswith("this CPU has no VNNI") is (needs_vnni and facts == SATURATING)
    assert bool(objection) is (needs_vnni and facts == SATURATING)


@pytest.mark.parametrize(("facts", "refused"), [(SATURATING, True), (VNNI, False)])
def test_models_judged_with_vnni_are_not_run_without(
    facts: str, refused: bool, tmp_path: Path
) -> None:
    """Their sums might saturate, and nobody has measured what the scores would be then."""
    made = bundle_with(
        {"precision": record(needs_vnni=True).model_dump(mode="json")}, tmp_path / "repository"
    )
    cpu = tmp_path / "cpuinfo"
    cpu.write_text(facts)
    if refused:
        with pytest.raises(BundleMismatch, match="no VNNI, so scores may be off: use demo"):
            local_backend(made, threads=1, facts=cpu)
        return
    tiles = np.zeros((2, 224, 224, 3), np.uint8)  # (2, 224, 224, 3)
    assert np.isfinite(local_backend(made, threads=1, facts=cpu).encode(tiles)).all()


@pytest.mark.parametrize("url", ["", "127.0.0.1:9"])
@pytest.mark.parametrize(("facts", "refused"), [(SATURATING, True), (VNNI, False)])
def test_nor_is_a_server_held_to_what_they_give_without(
    url: str, facts: str, refused: bool, tmp_path: Path
) -> None:
    """Worker and server on one machine saturate alike, so that the proof would find no fault."""
    made = bundle_with(
        {"precision": record(needs_vnni=True).model_dump(mode="json")}, tmp_path / "repository"
    )
    cpu = tmp_path / "cpuinfo"
    cpu.write_text(facts)
    settings = Settings(encoder_threads=1, triton_url=url)
    if refused:
        with pytest.raises(BundleMismatch, match="no VNNI, so scores may be off: use demo"):
            make_backend(made, settings, cpu)
        return
    make_backend(made, settings, cpu)
