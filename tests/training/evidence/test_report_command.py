"""`deepsmile-train evidence`: a table in, page, JSON and seal out."""

import shutil
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from deepsmile.errors import RequestInvalid
from deepsmile_training.cli.evidence import evidence
from deepsmile_training.evidence.delong import auc_with_interval
from deepsmile_training.evidence.predictions import Predictions
from deepsmile_training.evidence.report import EvidenceReport
from deepsmile_training.evidence.sealed import read_seal
from tests.training.evidence.cases import drawn_test, drawn_validation

pytestmark = pytest.mark.slow


def write_csv(path: Path, table: Predictions) -> Path:
    rows = [
        f"{a},{b},{c!r}" for a, b, c in zip(table.patients, table.y, table.p.tolist(), strict=True)
    ]
    path.write_text("patient,y,p\n" + "\n".join(rows) + "\n")
    return path


def run(*arguments: object) -> str:
    app = typer.Typer()
    app.command()(evidence)
    result = CliRunner().invoke(app, [str(one) for one in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_the_command_writes_page_and_json_and_seals_the_test(tmp_path: Path) -> None:
    test = write_csv(tmp_path / "test.csv", drawn_test())
    validation = write_csv(tmp_path / "validation.csv", drawn_validation())
    out = tmp_path / "reports" / "run.html"
    base = (test, "--validation", validation, "--out", out)
    output = run(*base, "--compare", test, "--run", f"40={test}", "--title", "Mine")
    assert "sealed test set, look 1" in output
    found = EvidenceReport.model_validate_json(out.with_suffix(".json").read_text())
    assert found.title == "Mine"
    assert found.comparisons[0].comparison.p_value == 1
    assert found.learning[0].trained_on == 40
    assert "<h1>Mine</h1>" in out.read_text()
    (opening,) = read_seal(tmp_path).openings
    assert opening.choice == found.digests["choice"]
    with pytest.raises(RequestInvalid, match="in knowledge of the test"):
        run(*base, "--sensitivity", 0.9)
    assert found.cohort.look == 1


def test_no_road_of_the_command_chooses_on_the_sealed_test(tmp_path: Path) -> None:
    """Alone, as validation, as another model, and under another name."""
    test = write_csv(tmp_path / "test.csv", drawn_test())
    first = write_csv(tmp_path / "first.csv", drawn_validation())
    second = write_csv(tmp_path / "second.csv", drawn_validation(seed=7))
    out = ("--out", tmp_path / "report.html")
    run(test, "--validation", first, *out)
    copy = shutil.copy(test, tmp_path / "copy.csv")
    seal = read_seal(tmp_path)
    for words in (
        (test,),
        (first, "--validation", test),
        (second, "--compare", f"other={test}"),
        (test, "--validation", second),
        (copy, "--validation", second),
        (copy,),
    ):
        with pytest.raises(RequestInvalid, match="in knowledge of the test"):
            run(*words, *out)
    assert read_seal(tmp_path) == seal


def test_the_second_model_on_the_same_patients_says_so(tmp_path: Path) -> None:
    test = drawn_test()
    for name, seed, p in (("a", 1, test.p), ("b", 7, test.p / 2)):
        predictions = write_csv(tmp_path / f"{name}.csv", test.with_probabilities(p))
        validation = write_csv(tmp_path / f"{name}_validation.csv", drawn_validation(seed=seed))
        output = run(predictions, "--validation", validation, "--out", tmp_path / f"{name}.html")
    assert "sealed test set, look 2" in output
    said = "1 other model had been tested on these patients before"
    assert [said in (tmp_path / f"{name}.html").read_text() for name in "ab"] == [False, True]


def test_models_of_one_file_name_are_told_apart(tmp_path: Path) -> None:
    """Every cell of a table calls its predictions test.csv."""
    test, tables = drawn_test(), []
    for name, decimals in (("one", 9), ("two", 2), ("three", 1)):
        (tmp_path / name).mkdir()
        rounded = test.with_probabilities(test.p.round(decimals))
        tables.append(write_csv(tmp_path / name / "test.csv", rounded))
    validation = write_csv(tmp_path / "validation.csv", drawn_validation())
    base = (tables[0], "--validation", validation, "--out", tmp_path / "report.html")
    run(*base, "--compare", f"second={tables[1]}", "--compare", tables[2])
    found = EvidenceReport.model_validate_json((tmp_path / "report.json").read_text())
    areas = {one.name: one.auroc for one in found.comparisons}
    assert areas == {
        "second": auc_with_interval(test.p.round(2), test.y),
        "test": auc_with_interval(test.p.round(1), test.y),
    }
    with pytest.raises(RequestInvalid, match="two models are called 'test'") as caught:
        run(*base, "--compare", tables[1], "--compare", tables[2])
    assert "--compare first=A/test.csv" in caught.value.hint


def test_the_command_refuses_a_run_without_its_size(tmp_path: Path) -> None:
    table = write_csv(tmp_path / "test.csv", drawn_test())
    with pytest.raises(RequestInvalid, match="is not PATIENTS=CSV"):
        run(table, "--out", tmp_path / "r.html", "--run", table)
