"""The command line: what `score` shows, and the exit codes that scripts go by."""

import json
import os
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from deepsmile import __version__
from deepsmile.cli.render import show_report
from deepsmile.report import Reason, Report, Scored
from tests.making import tissue_image, write_svs
from tests.shell import ABSTAINED as EXIT_ABSTAINED
from tests.shell import ERROR, OK, USAGE, Run
from tests.unit.test_report import ABSTAINED, SCORED, report_of


def test_the_version_is_told(run: Run) -> None:
    assert run("--version") == (OK, f"deepsmile {__version__}\n", "")


@pytest.mark.slow
def test_score_shows_warnings_answer_and_facts(run: Run, slide_path: Path) -> None:
    code, out, _ = run("score", slide_path)
    assert code == OK
    assert out.startswith("Research use only. Not for diagnosis or treatment decisions.\n")
    for text in ("Test bundle, no meaning.", "redness", "half >= 0.500", "12 seen", "aperio"):
        assert text in out


def test_score_as_json_is_the_report_and_nothing_else(run: Run, slide_path: Path) -> None:
    """Progress and warnings go to stderr; stdout can be piped."""
    code, out, _ = run("score", slide_path, "--json")
    report = Report.model_validate_json(out)
    assert code == OK
    assert isinstance(report.heads[0], Scored)
    assert report.run.job_id is None


@pytest.mark.slow
def test_score_writes_the_report_it_shows(run: Run, slide_path: Path, tmp_path: Path) -> None:
    code, out, _ = run("score", slide_path, "--out", tmp_path / "report.json", "--json")
    assert code == OK
    assert (tmp_path / "report.json").read_text() == out


@pytest.mark.slow
def test_a_slide_without_tissue_is_abstained_from_with_the_next_step(
    run: Run, empty_slide: Path
) -> None:
    code, out, _ = run("score", empty_slide)
    assert code == EXIT_ABSTAINED
    assert "too_little_tissue" in out
    assert "0 tissue tiles; the head redness needs 2" in out
    assert "Check the tissue preview" in out


@pytest.mark.slow
def test_a_slide_without_scale_is_scored_when_it_is_given(run: Run, tmp_path: Path) -> None:
    path = write_svs(tmp_path / "slide.svs", tissue_image(1100, 1100, tissue=0.95), mpp="")
    assert run("score", path)[0] == EXIT_ABSTAINED
    code, out, _ = run("score", path, "--mpp", 0.5, "--json")
    assert (code, json.loads(out)["slide"]["mpp_source"]) == (OK, "request")


@pytest.mark.slow
@pytest.mark.parametrize("mpp", ["nan", "inf", "0", "-1", "352"])
def test_an_absurd_mpp_is_an_error(run: Run, slide_path: Path, mpp: str) -> None:
    code, _, err = run("score", slide_path, f"--mpp={mpp}")
    assert code == ERROR
    assert err.startswith("request_invalid: mpp ")


def test_an_error_is_a_line_of_what_and_a_line_of_what_next(run: Run, tmp_path: Path) -> None:
    """HOUSE STYLE 24; no traceback."""
    code, out, err = run("score", tmp_path / "absent.svs")
    assert (code, out) == (ERROR, "")
    assert err == (
        "slide_not_found: no such file\nCheck the path, and that the service may read it.\n"
    )


@pytest.mark.parametrize("command", ["score", "inspect"])
def test_a_path_that_is_not_utf_8_is_an_error_of_ours(
    run: Run, slide_path: Path, tmp_path: Path, command: str
) -> None:
    """Old archives have Latin-1 names; Python hands them over as lone surrogates."""
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.svs"))
    path.symlink_to(slide_path)
    code, _, err = run(command, path)
    assert code == ERROR
    assert err.startswith("request_invalid: the path is not UTF-8\nRename the file")


def test_an_unknown_bundle_is_answered_with_the_known_ones(run: Run, slide_path: Path) -> None:
    code, _, err = run("score", slide_path, "--bundle", "huge")
    assert code == ERROR
    assert "bundle_unknown: no bundle named 'huge'; this repository has: tiny" in err


def test_a_missing_argument_is_a_matter_of_usage(run: Run) -> None:
    code, _, err = run("score")
    assert code == USAGE
    assert "SLIDE" in err


@pytest.mark.slow
def test_brackets_in_a_report_are_shown_as_they_are(
    run: Run, slide_path: Path, tmp_path: Path
) -> None:
    """rich would take the "[/Error]" of a decoder's words for markup, and fail on it."""
    run("score", slide_path, "--out", tmp_path / "report.json")
    report = json.loads((tmp_path / "report.json").read_text())
    report["heads"][0] |= {"label": "[/red] cell"}
    report["slide"] |= {"format": "[Error] of a decoder"}
    shown = Console(record=True, width=200)
    show_report(Report.model_validate(report), shown)
    text = shown.export_text()
    assert "[/red] cell" in text
    assert "[Error] of a decoder" in text


def shown(report: Report, width: int) -> str:
    console = Console(record=True, width=width, file=StringIO())
    show_report(report, console)
    return console.export_text()


@pytest.mark.parametrize("width", [80, 60, 40])
def test_a_narrow_terminal_cuts_neither_code_nor_hint(width: int) -> None:
    """Programs and people look the code up; a hint that two heads share is told once."""
    first, second = ABSTAINED, ABSTAINED.model_copy(update={"head": "tp53"})
    text = shown(report_of(first, second), width)
    assert "thrd: abstained, too_little_tissue: 7 tiles" in " ".join(text.split())
    assert "tp53: abstained, too_little_tissue: 7 tiles" in " ".join(text.split())
    assert text.count("next step") == 1
    assert "probability" not in text, "a table without a score"


@pytest.mark.parametrize("width", [80, 60])
def test_a_narrow_terminal_folds_long_names(width: int) -> None:
    names = {"head": "microsatellite_instability_of_the_colon", "label": "deficient" * 4}
    text = shown(report_of(SCORED.model_copy(update=names)), width)
    rows = [line.split("│")[1:-1] for line in text.splitlines() if line.startswith("│")]
    columns = zip(*rows, strict=True)
    head, *_, label, _ = ("".join(cell.strip() for cell in column) for column in columns)
    assert (head, label) == (names["head"], names["label"])
    assert "…" not in text


def test_a_doubt_is_told_with_its_code_beside_the_score() -> None:
    reason = Reason(code="uncertain", detail="both in the set", hint="Ask a pathologist.")
    text = shown(report_of(SCORED.model_copy(update={"label": None, "reason": reason})), 80)
    assert "mhrd: no label, uncertain: both in the set\n" in text
    assert "next step  Ask a pathologist." in text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["score", "SLIDE"], OK), (["score", "EMPTY"], EXIT_ABSTAINED), (["score", "ABSENT"], ERROR)],
)
def test_the_installed_command_ends_with_the_code_that_it_promises(
    repository: Path,
    slide_path: Path,
    empty_slide: Path,
    tmp_path: Path,
    arguments: list[str],
    code: int,
) -> None:
    """A real process: its own start, its own end, nothing left running."""
    names = {"SLIDE": str(slide_path), "EMPTY": str(empty_slide), "ABSENT": "absent"}
    done = subprocess.run(
        [Path(sys.executable).parent / "deepsmile", *(names.get(a, a) for a in arguments)],
        env={
            "DEEPSMILE_MODEL_REPOSITORY": str(repository),
            "DEEPSMILE_DEFAULT_BUNDLE": "tiny",
            "DEEPSMILE_DATA_DIR": str(tmp_path),
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_report_that_cannot_be_written_is_told_before_the_work(run: Run, tmp_path: Path) -> None:
    """The slide is absent, which nobody came to see."""
    (tmp_path / "file").touch()
    for out in (tmp_path / "no" / "report.json", tmp_path, tmp_path / "file" / "report.json"):
        for command in ("score", "predict"):
            code, _, err = run(command, "absent.svs", "--out", out)
            assert code == ERROR
            assert err.startswith(f"request_invalid: {out} cannot be written\nName a file in")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_report_that_is_not_written_after_all_was_shown(run: Run, slide_path: Path) -> None:
    code, out, err = run("score", slide_path, "--out", "/dev/full", "--json")
    assert code == ERROR
    assert Report.model_validate_json(out).tiles.used == 8
    assert "request_invalid: /dev/full was not written: No space left on device" in err


def test_a_folder_is_sent_as_a_zip(run: Run, tmp_path: Path) -> None:
    code, _, err = run("predict", tmp_path)
    assert code == ERROR
    assert err.startswith("request_invalid: a folder cannot be sent\nSend it as a zip")
