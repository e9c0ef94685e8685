"""Tables as people have them: commas, semicolons, tabs, workbooks; and what is no table."""

from pathlib import Path

import pandas as pd
import pytest

from deepsmile_training.cohorts.problems import CohortInvalid
from deepsmile_training.cohorts.tables import column_by, number, read_table, rows_of

from .tables import write_lines, write_workbook

ROWS = [{"patient": "007", "label": "a b"}, {"patient": "8"}]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_text_tables_are_read_with_the_separator_of_their_header(tmp_path: Path, separator: str):
    rows = [separator.join(cells) for cells in (("patient", "label"), ("007 ", " a b"), ("8", " "))]
    path = write_lines(tmp_path / "table.csv", *rows)
    assert rows_of(read_table(path, ("patient", "label"))) == ROWS


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path):
    path = tmp_path / "table.csv"
    path.write_bytes("\ufeffpatient,label\n007,a b\n8,NA\n".encode())
    assert rows_of(read_table(path)) == ROWS


def test_a_workbook_keeps_text_and_numbers_as_they_are(tmp_path: Path):
    path = write_workbook(
        tmp_path / "t.xlsx", [{"patient": "007", "n": 1}, {"patient": "8", "n": 0}]
    )
    assert rows_of(read_table(path)) == [{"patient": "007", "n": "1"}, {"patient": "8", "n": "0"}]


@pytest.mark.parametrize("name", ["t.csv", "t.xlsx"])
def test_spaces_around_a_cell_that_says_nothing_make_no_class_of_it(tmp_path: Path, name: str):
    words = ["NA", " NA ", "N/A ", " nan", "None ", " ", "", "NAS", "no"]
    path, rows = tmp_path / name, [{"patient": str(k), "x": word} for k, word in enumerate(words)]
    if name.endswith(".csv"):
        write_lines(path, "patient,x", *(",".join(row.values()) for row in rows))
    else:
        write_workbook(path, rows)
    found = [row["x"] for row in rows_of(read_table(path)) if "x" in row]
    assert found == ["NAS", "no"]


@pytest.mark.parametrize("name", ["t.csv", "t.xlsx"])
@pytest.mark.parametrize("header", [("status", "status"), ("status", " status ")])
def test_a_column_that_stands_there_twice_is_refused(
    tmp_path: Path, name: str, header: tuple[str, str]
):
    path, rows = tmp_path / name, [["a", "b"], ["a", "b"]]
    if name.endswith(".csv"):
        write_lines(path, ",".join(header), *map(",".join, rows))
    else:
        pd.DataFrame(rows, columns=list(header)).to_excel(path, index=False)
    with pytest.raises(CohortInvalid, match=f"{name}: columns that stand there twice: status"):
        read_table(path)


def test_a_missing_column_is_named_with_those_there_are(tmp_path: Path):
    path = write_lines(tmp_path / "t.csv", "patient,label", "1,a")
    with pytest.raises(CohortInvalid, match=r"no column slide; it has patient, label"):
        read_table(path, ("patient", "slide"))


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize(
    ("rows", "where"),
    [
        (["p0 b0 neg no ", "p1 b1 pos no "], "row 1"),
        (["p0 b0 neg no x", "p1 b1 pos no"], "row 1"),
        (["p0 b0 neg no x y"], "row 1"),
        (["p0 b0 neg no", "p1 b1 pos no "], "line 3"),
    ],
)
def test_cells_beyond_the_header_shift_no_column(
    tmp_path: Path, separator: str, rows: list[str], where: str
):
    lines = [row.replace(" ", separator) for row in ("patient biopsy status smoker", *rows)]
    path = write_lines(tmp_path / "table.csv", *lines)
    with pytest.raises(CohortInvalid, match=where):
        read_table(path)


def test_a_separator_at_the_end_of_every_line_shifts_nothing(tmp_path: Path):
    path = write_lines(tmp_path / "table.csv", "patient,label,", "007,a b,", "8,,")
    assert rows_of(read_table(path)) == ROWS


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", b""),
        ("t.csv", b"a,b\n1,2\n1,2,3,4\n"),
        ("t.csv", b"\xff\xfe\x00"),
        ("t.xlsx", b"no workbook"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, name: str, content: bytes):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CohortInvalid, match="not a table that can be read"):
        read_table(tmp_path / name)


def test_an_absent_file_is_named(tmp_path: Path):
    with pytest.raises(CohortInvalid, match="no such file"):
        read_table(tmp_path / "absent.csv")


@pytest.mark.parametrize("name", ["folder", "folder.xlsx"])
def test_a_folder_is_no_table(tmp_path: Path, name: str):
    (tmp_path / name).mkdir()
    with pytest.raises(CohortInvalid, match=rf"{name}: not a table .*Is a directory"):
        read_table(tmp_path / name)


@pytest.mark.parametrize("text", ["many", "nan", "inf", "-inf", "1,5"])
def test_a_cell_that_is_no_finite_number_is_refused(text: str):
    with pytest.raises(CohortInvalid, match="patient 7"):
        number(text, "patient 7")


def test_rows_that_disagree_are_refused():
    rows = [{"p": "1", "x": "a"}, {"p": "2"}, {"p": "1", "x": "a"}]
    assert column_by(rows, "p", "x") == {"1": "a"}
    with pytest.raises(CohortInvalid, match="1 has a and b for x"):
        column_by([*rows, {"p": "1", "x": "b"}], "p", "x")


@pytest.mark.parametrize("coding", ["cp1252", "utf-16"])
def test_a_table_of_another_coding_is_refused_with_the_remedy(tmp_path: Path, coding: str):
    path = tmp_path / "table.csv"
    path.write_bytes("patient,ward\n1,süd\n".encode(coding))
    with pytest.raises(CohortInvalid, match=r"table\.csv: not a table that") as caught:
        read_table(path)
    assert "CSV UTF-8" in caught.value.hint
