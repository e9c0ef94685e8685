"""`deepsmile replay`: a report is had again from its slide, or the differences are named."""

import json
import shutil
from pathlib import Path

import pytest

from deepsmile.api.examples import EXAMPLES
from tests.shell import DIFFERENT, ERROR, OK, Run

NOTICE = "Research use only. Not for diagnosis or treatment decisions.\nTest bundle, no meaning.\n"


@pytest.fixture
def report_path(run: Run, slide_path: Path, tmp_path: Path) -> Path:
    path = tmp_path / "report.json"
    run("score", slide_path, "--out", path)
    return path


@pytest.mark.slow
def test_a_report_is_replayed_from_its_slide(
    run: Run, report_path: Path, slide_path: Path, tmp_path: Path
) -> None:
    """Also from a copy under another name: the bytes count."""
    copy = Path(shutil.copy(slide_path, tmp_path / "copy"))
    for path in (slide_path, copy):
        code, out, _ = run("replay", report_path, path)
        assert code == OK
        assert out == f"{NOTICE}The report is reproduced, byte for byte but for times and ids.\n"


def test_a_changed_report_is_told_from_its_slide(
    run: Run, report_path: Path, slide_path: Path
) -> None:
    report = json.loads(report_path.read_text())
    true = report["heads"][0]["probability"]
    report["heads"][0]["probability"] = 0.999
    report_path.write_text(json.dumps(report))
    code, out, _ = run("replay", report_path, slide_path)
    assert code == DIFFERENT
    assert out == (
        f"{NOTICE}\nreport != now\nheads[0].probability: 0.999 != {true}\n"
        "\nThe report is not reproduced: 1 difference.\n"
    )


@pytest.mark.slow
def test_times_and_ids_are_no_change(run: Run, report_path: Path, slide_path: Path) -> None:
    report = json.loads(report_path.read_text())
    report["run"] |= {"job_id": "another", "timings_s": {}, "backend": "other"}
    report_path.write_text(json.dumps(report))
    assert run("replay", report_path, slide_path)[0] == OK


@pytest.mark.slow
def test_another_slide_does_not_reproduce_a_report(
    run: Run, report_path: Path, empty_slide: Path
) -> None:
    code, out, _ = run("replay", report_path, empty_slide)
    assert code == DIFFERENT
    assert out.startswith(
        f"{NOTICE}This is another slide than the report's: their SHA-256 differ.\n\nreport != now\n"
    )
    assert "slide.sha256: " in out
    assert "heads[0].outcome: 'scored' != 'abstained'" in out
    count = sum(" != " in line for line in out.split("report != now")[1].splitlines())
    assert out.endswith(f"\nThe report is not reproduced: {count} differences.\n")


@pytest.mark.slow
def test_a_report_of_another_bundle_is_an_error(
    run: Run, report_path: Path, slide_path: Path
) -> None:
    report = json.loads(report_path.read_text())
    report["bundle"]["digest"] = "0" * 64
    report_path.write_text(json.dumps(report))
    code, _, err = run("replay", report_path, slide_path)
    assert code == ERROR
    assert err.startswith("bundle_mismatch: bundle tiny is now ")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "Invalid JSON: EOF while parsing a value at line 1 column 0"),
        ("{}", "notice: Field required"),
        ("[]", "Input should be an object"),
        ("\x00", "Invalid JSON: expected value at line 1 column 1"),
        (json.dumps(EXAMPLES["accepted"]), "notice: Field required"),
    ],
    ids=["empty", "{}", "[]", "zero", "job"],
)
def test_what_is_no_report_is_an_error_of_one_line_and_a_hint(
    run: Run, slide_path: Path, tmp_path: Path, text: str, why: str
) -> None:
    (tmp_path / "report.json").write_text(text)
    code, out, err = run("replay", tmp_path / "report.json", slide_path)
    assert (code, out) == (ERROR, "")
    said, hint = err.splitlines()
    assert said == f"request_invalid: report.json is no report of ours: {why}"
    assert "not a job: the report of a job is what GET /v1/jobs/ID/result answers." in hint


def test_a_report_that_is_not_there_is_an_error(run: Run, slide_path: Path, tmp_path: Path) -> None:
    code, _, err = run("replay", tmp_path / "absent.json", slide_path)
    assert code == ERROR
    assert "absent.json is no report of ours: No such file or directory\n" in err
