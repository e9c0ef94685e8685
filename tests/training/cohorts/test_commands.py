"""The commands: tables in, one readable file out, counts on the screen."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from deepsmile_training.cli.cohorts import cohort, gdc_manifest, split
from deepsmile_training.cohorts.cohort import load_cohort
from deepsmile_training.cohorts.problems import CohortInvalid
from deepsmile_training.cohorts.splits import load_split

from .tables import slide_name, write_gdc, write_hrd, write_lines

app = typer.Typer()
app.add_typer(cohort, name="cohort")
app.command()(split)
app.command()(gdc_manifest)


def call(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "120"})


@pytest.fixture
def own(tmp_path: Path) -> Path:
    rows = [
        f"p{k:02d},s{k:02d},{'pos' if k % 4 == 0 else 'neg'},{'xy'[k % 2]},{k}" for k in range(40)
    ]
    table = write_lines(tmp_path / "own.csv", "who,slide,status,ward,age", *rows)
    out = tmp_path / "cohort.json"
    roles = ("--column", "patient=who", "--column", "stratum=ward", "--column", "score=age")
    result = call("cohort", "generic", table, "--label", "status=neg,pos", *roles, "--out", out)
    assert result.exit_code == 0, result.output
    assert "1 pos" in result.output
    assert load_cohort(out).digest in result.output
    return out


def test_a_table_becomes_a_cohort_and_a_split(own: Path, tmp_path: Path):
    out = tmp_path / "split.json"
    plan = ("--plan", "strata=ward,age", "--plan", "seed=3", "--plan", "subsets=true")
    result = call("split", own, "--label", "status", *plan, "--out", out)
    assert result.exit_code == 0, result.output
    made = load_split(out, load_cohort(own))
    assert made.digest in result.output
    assert result.output.count("18 neg, 6 pos") == 5
    assert (made.made["seed"], made.made["strata"]) == (3, ["ward", "age"])


def test_patients_of_unknown_slides_are_told(tmp_path: Path):
    """Where the table has slides they are left out; where it has none, nobody can know."""
    rows = [f"p{k:02d},{'' if k % 5 else f's{k:02d}'},{'xy'[k % 2]}" for k in range(60)]
    table = write_lines(tmp_path / "own.csv", "patient,slide,status", *rows)
    out, folds = tmp_path / "cohort.json", tmp_path / "split.json"
    known = call("cohort", "generic", table, "--label", "status", "--out", out)
    assert "48 patients left out: no slide" in known.output
    assert "counted as if" not in known.output
    result = call("split", out, "--label", "status", "--plan", "folds=3", "--out", folds)
    assert result.exit_code == 0, result.output
    assert result.output.count("2 x, 2 y") == 3
    words = ("--label", "status", "--column", "slide=", "--out", out)
    told = "60 patients have no slide here, and are counted as if they had one"
    assert told in call("cohort", "generic", table, *words).output
    assert told in call("split", out, "--label", "status", "--out", folds).output


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--plan", "fold=5"], "--plan fold: Extra inputs"),
        (["--plan", "folds=many"], "--plan folds: Input should be a valid integer"),
        (["--plan", "folds"], "'folds' is not KEY=VALUE"),
        (["--label", "statu"], "no label, score or stratum statu"),
        (["--published", ".", "--plan", "folds=5"], "leave --plan and --keep out"),
    ],
)
def test_a_wrong_option_is_named(own: Path, tmp_path: Path, words: list[str], complaint: str):
    result = call("split", own, *words, "--out", tmp_path / "split.json")
    assert isinstance(result.exception, CohortInvalid)
    assert complaint in result.exception.detail
    assert not (tmp_path / "split.json").exists()


def test_a_wrong_role_is_named(tmp_path: Path):
    table = write_lines(tmp_path / "own.csv", "patient,slide,x", "p,s,1")
    result = call(
        "cohort", "generic", table, "--label", "x", "--column", "who=p", "--out", "c.json"
    )
    assert isinstance(result.exception, CohortInvalid)
    assert "--column who=" in result.exception.detail


@pytest.mark.parametrize("words", [("cohort", "generic", ".", "--label", "x"), ("split", ".")])
def test_a_folder_in_place_of_a_file_is_named(tmp_path: Path, words: tuple[str, ...]):
    result = call(*words, "--out", tmp_path / "out.json")
    assert isinstance(result.exception, CohortInvalid)
    assert "Is a directory" in result.exception.detail


def test_columns_without_their_table_are_not_ignored(tmp_path: Path):
    words = ("--hrd", "h", "--manifest", "m", "--out", "o", "--column", "TP53_driver")
    result = call("cohort", "tcga-bc", *words)
    assert isinstance(result.exception, CohortInvalid)
    assert "give --clinical" in result.exception.detail


def test_breast_cancer_from_tables_to_manifest(tmp_path: Path):
    who = [f"A1-00{k:02d}" for k in range(40)]
    hrd = write_hrd(tmp_path / "hrd.txt", {f"TCGA-{p}-01": k for k, p in enumerate(who)})
    gdc = write_gdc(tmp_path / "gdc.txt", *map(slide_name, who), slide_name("A1-0099"))
    out = tmp_path / "bc.json"
    result = call("cohort", "tcga-bc", "--hrd", hrd, "--manifest", gdc, "--out", out)
    assert result.exit_code == 0, result.output
    assert "1 patients left out: slides, but no HRD score" in result.output
    result = call("split", out, "--label", "mHRD", "--label", "tHRD", "--out", tmp_path / "s.json")
    assert result.exit_code == 0, result.output
    result = call("gdc-manifest", out, "--manifest", gdc, "--out", tmp_path / "mine.txt")
    assert "40 slides" in result.output
    assert (tmp_path / "mine.txt").read_text() == "".join(gdc.read_text().splitlines(True)[:-1])


def test_colorectal_tiles_become_a_cohort(tmp_path: Path):
    for place, patient in (("TRAIN/MSS", "AA-0000"), ("TEST/MSIMUT", "AA-0001")):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / f"blk-AAAA-{slide_name(patient)}.png").touch()
    result = call("cohort", "tcga-crck", tmp_path, "--out", tmp_path / "c.json")
    assert result.exit_code == 0, result.output
    assert "2 patients, of 360 published" in result.output
    content = json.loads((tmp_path / "c.json").read_text())
    assert content["patients"][1]["labels"] == {"MSI": "MSIMUT"}


def test_a_fixed_test_set_is_kept_in_its_own_file(own: Path, tmp_path: Path):
    out, table = tmp_path / "split.json", tmp_path / "own.csv"
    plan = ("--label", "status", "--plan", "kind=fixed-test", "--plan", "folds=3", "--out", out)
    assert call("split", own, *plan).exit_code == 0
    before = load_split(out, load_cohort(own))
    table.write_text(table.read_text().replace("p04,s04,pos", "p04,s04,neg") + "q0,t0,pos,x,9\n")
    lines = [line for line in table.read_text().splitlines() if not line.startswith("p05")]
    write_lines(table, *lines)
    roles = ("--column", "patient=who", "--column", "stratum=ward", "--column", "score=age")
    made = call("cohort", "generic", table, "--label", "status=neg,pos", *roles, "--out", own)
    assert made.exit_code == 0, made.output
    result = call("split", own, *plan, "--keep", out)
    assert result.exit_code == 0, result.output
    assert "1 patients of the former split are gone: p05" in result.output
    kept = load_split(out, load_cohort(own))
    assert set(kept.folds[0].test) - {"q0"} == set(before.folds[0].test) - {"p05"}
    refused = call("split", own, "--published", ".", "--keep", out, "--out", out)
    assert "leave --plan and --keep out" in str(refused.exception)


def test_missing_cells_are_said_by_column_or_of_labels_and_counted(tmp_path: Path):
    rows = ("p1,s1,a,-9", "P1,s2,b,4", "p3,s3,?,5", "p4,s4,b,?")
    table = write_lines(tmp_path / "own.csv", "patient,slide,status,age", *rows)
    words = ("cohort", "generic", table, "--label", "status", "--column", "score=age")
    out = ("--out", tmp_path / "cohort.json")
    alike = call(*words, *out, "--missing", "?", "--missing", "age=-9")
    assert "'p1' and 'P1'" in str(alike.exception)
    number = call(*words, *out, "--distinct", "--missing", "?")
    assert "patient p4, age: '?' is not a number" in str(number.exception)
    said = ("--missing", "?", "--missing", "age=-9", "--missing", "age=?")
    result = call(*words, *out, "--distinct", *said)
    assert result.exit_code == 0, result.output
    assert "1 cells of status taken for missing" in result.output
    assert "2 cells of age taken for missing" in result.output
    of = load_cohort(tmp_path / "cohort.json").by_name
    assert {name: one.scores.get("age") for name, one in of.items()} == {
        "P1": 4.0, "p1": None, "p3": 5.0, "p4": None,
    }  # fmt: skip
