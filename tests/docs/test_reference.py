"""Reference pages list what the code has: every error and every setting, in its own words."""

import re
from pathlib import Path

import pytest
from pydantic_core import PydanticUndefined

from deepsmile import errors
from deepsmile.api.problems import CODE_OF_STATUS, status_of
from deepsmile.errors import DeepSmileError, all_codes, error_from_code
from deepsmile.settings import Settings

DOCS = Path(__file__).parents[2] / "docs"
ROW = re.compile(r"^\| `([^`]+)` \| (.*?) \| (.*?) \|$", re.MULTILINE)


def rows(page: str) -> dict[str, tuple[str, str]]:
    """First cell -> the two others, of every table of a page."""
    found = ROW.findall((DOCS / page).read_text())
    assert len({name for name, *_ in found}) == len(found), "a row twice"
    return {name: (second, third) for name, second, third in found}


def test_every_error_has_its_row() -> None:
    assert set(rows("errors.md")) == {*all_codes(), *CODE_OF_STATUS.values()}


@pytest.mark.parametrize("code", all_codes())
def test_a_row_has_the_error_s_status_and_hint(code: str) -> None:
    error: type[DeepSmileError] = type(error_from_code(code, ""))
    status, hint = rows("errors.md")[code]
    assert hint == error.hint
    assert status.startswith("-" if error is errors.LeaseLost else str(status_of(error)))
    assert status.endswith("again") is error.retryable


def test_every_setting_has_its_row() -> None:
    names = {f"DEEPSMILE_{name.upper()}" for name in Settings.model_fields}
    assert set(rows("operations.md")) == names


@pytest.mark.parametrize("name", Settings.model_fields)
def test_a_row_has_the_setting_s_default_and_words(name: str) -> None:
    field = Settings.model_fields[name]
    default, words = rows("operations.md")[f"DEEPSMILE_{name.upper()}"]
    if field.default is not PydanticUndefined:
        shown = str(field.default) if field.default not in ("", ()) else ""
        assert default.strip("`") == shown
    assert field.description is not None
    assert words == " ".join(field.description.split())
