"""Report: equal for equal slides but for `run`, and true to what was counted."""

from typing import Any

import pytest
from pydantic import ValidationError

from deepsmile.contract import OperatingPoint
from deepsmile.frames import PlanFacts, ReadCount, SlideFacts
from deepsmile.report import (
    RESEARCH_USE_ONLY,
    Abstained,
    BundleReport,
    HeadResult,
    PredictionSet,
    Reason,
    Report,
    Run,
    Scored,
    differences,
    slide_report,
    tiles_report,
)

FACTS = SlideFacts(
    reader="cucim 26.10.00",
    reader_note="",
    format="aperio",
    levels=((2048, 1024), (512, 256)),
    mpp_stated=(0.5, 0.5),
    mpp_stated_by="aperio",
)
PLAN = PlanFacts(
    mpp=(0.25, 0.25),
    mpp_source="request",
    level=1,
    level_mpp=(1.0, 1.0),
    columns=4,
    rows=3,
    origin_l0=(0.0, 0.0),
    step_l0=(1024.0, 1024.0),
    candidates=9,
    glass_grey=244,
)
COUNT = ReadCount(decoded=9, kept=7, cpu_s=0.1, reader_note="")
SCORED = Scored(
    head="mhrd",
    head_sha256="a" * 64,
    calibration_digest="c" * 64,
    positive="deficient",
    probability_raw=0.6,
    probability=0.55,
    calibration="platt",
    spread=0.02,
    members=5,
    label="deficient",
    operating_point=OperatingPoint(name="youden", threshold=0.4, basis="validation"),
    prediction_set=PredictionSet(classes=("deficient",), coverage=0.9),
    novelty=2.5,
    reason=None,
)
ABSTAINED = Abstained(
    head="thrd",
    head_sha256="b" * 64,
    calibration_digest="c" * 64,
    reason=Reason(code="too_little_tissue", detail="7 tiles", hint="More."),
)


def report_of(*heads: HeadResult, **changes: Any) -> Report:
    whole: dict[str, Any] = {
        "notice": "Test.",
        "software": "deepsmile 0",
        "requested_mpp": 0.25,
        "slide": slide_report("5" * 64, FACTS, PLAN, requested_mpp=0.25, note=""),
        "tiles": tiles_report(PLAN, COUNT, 256.0, 224),
        "bundle": BundleReport(
            name="tiny",
            version="1",
            digest="0" * 64,
            contract_digest="1" * 64,
            features_digest="2" * 64,
            encoder_sha256="3" * 64,
        ),
        "heads": heads or (SCORED, ABSTAINED),
        "run": run_of("job"),
    }
    return Report(**{**whole, **changes})


def run_of(job_id: str) -> Run:
    return Run(job_id=job_id, started_at="a", finished_at="b", backend="x", timings_s={"qc": 0.1})


def test_a_report_comes_back_from_its_json() -> None:
    report = report_of()
    assert Report.model_validate_json(report.model_dump_json(indent=2)) == report


def test_it_says_what_it_must_not_be_used_for() -> None:
    assert report_of().research_use_only == RESEARCH_USE_ONLY
    assert "Research use only" in report_of().model_dump_json()


def test_two_runs_of_one_slide_do_not_differ() -> None:
    assert differences(report_of(), report_of(run=run_of("another"))) == []


def test_a_difference_is_named_by_its_path() -> None:
    other = SCORED.model_copy(update={"probability": 0.56, "label": "proficient"})
    tiles = tiles_report(PLAN, COUNT.model_copy(update={"kept": 6}), 256.0, 224)
    found = differences(report_of(), report_of(other, ABSTAINED, tiles=tiles))
    assert found == [
        "heads[0].label: 'deficient' != 'proficient'",
        "heads[0].probability: 0.55 != 0.56",
        "tiles.kept: 7 != 6",
        "tiles.tissue_mm2: 0.459 != 0.393",
        "tiles.used: 7 != 6",
    ]


def test_a_head_that_abstains_differs_from_one_that_scores() -> None:
    abstained = ABSTAINED.model_copy(update={"head": "mhrd"})
    found = differences(report_of(SCORED), report_of(abstained))
    assert "heads[0].outcome: 'scored' != 'abstained'" in found
    assert any(line.startswith("heads[0].probability: 0.55 != None") for line in found)


def test_another_number_of_heads_is_one_difference() -> None:
    (found,) = differences(report_of(SCORED), report_of(SCORED, ABSTAINED))
    assert found.startswith("heads: [")


def test_the_slide_abstains_when_every_head_does() -> None:
    assert report_of(SCORED, ABSTAINED).abstention is None
    assert report_of(ABSTAINED, ABSTAINED).abstention == ABSTAINED.reason


def test_a_head_without_a_label_abstains_though_it_has_a_probability() -> None:
    doubt = Reason(code="uncertain", detail="both", hint="Test.")
    uncertain = SCORED.model_copy(update={"label": None, "reason": doubt})
    assert report_of(SCORED, uncertain).abstention is None
    assert report_of(uncertain, ABSTAINED).abstention == doubt


def test_the_believed_scale_is_reported_not_the_stated_one() -> None:
    slide = slide_report("5" * 64, FACTS, PLAN, requested_mpp=0.25, note="note")
    assert (slide.mpp, slide.mpp_source) == ((0.25, 0.25), "request")
    assert (slide.level_used, slide.level_mpp, slide.glass_grey) == (1, (1.0, 1.0), 244)
    assert slide.reader_note == "note"


def test_without_a_plan_the_stated_scale_is_all_there_is() -> None:
    slide = slide_report("5" * 64, FACTS, None, requested_mpp=None, note="")
    assert (slide.mpp, slide.mpp_source) == ((0.5, 0.5), "aperio")
    assert (slide.level_used, slide.level_mpp, slide.glass_grey) == (None, None, None)


def test_without_a_plan_a_requested_scale_is_the_one_that_was_gone_by() -> None:
    """E.g. when the stain was declined: the file's own scale played no part."""
    slide = slide_report("5" * 64, FACTS, None, requested_mpp=0.25, note="")
    assert (slide.mpp, slide.mpp_source) == ((0.25, 0.25), "request")


def test_tissue_is_counted_in_square_millimetres() -> None:
    """7 tiles of 256 um: 7 * 0.065536 mm2 = 0.459 mm2."""
    tiles = tiles_report(PLAN, COUNT, 256.0, 224)
    assert (tiles.seen, tiles.decoded, tiles.kept, tiles.used) == (12, 9, 7, 7)
    assert tiles.tissue_mm2 == 0.459
    nothing = tiles_report(None, None, 256.0, 224)
    assert (nothing.seen, nothing.decoded, nothing.used, nothing.tissue_mm2) == (0, 0, 0, 0)


def test_a_report_with_an_unknown_key_is_refused() -> None:
    """`replay` compares what it knows; a key that it does not know could hide a difference."""
    with pytest.raises(ValidationError):
        Report.model_validate({**report_of().model_dump(mode="json"), "spare": 1})
