"""Settings: what makes no sense is told at the start, by the name of its variable."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from deepsmile.errors import RequestInvalid
from deepsmile.settings import Settings
from tests.shell import ERROR, Run

WRONG = [
    ("TRITON_IN_FLIGHT", "-1", "Input should be greater than or equal to 0"),
    ("ENCODER_THREADS", "-1", "Input should be greater than or equal to 0"),
    ("ENCODER_BATCH", "-3", "Input should be greater than or equal to 0"),
    ("ENCODER_BATCH", "1000000", "Input should be less than or equal to 1024"),
    ("TRITON_TRANSPORT", "foo", "Input should be 'auto', 'shm' or 'grpc'"),
    ("TRITON_TIMEOUT_S", "0", "Input should be greater than 0"),
    ("PORT", "70000", "Input should be less than or equal to 65535"),
    ("LEASE_S", "nan", "Input should be a finite number"),
    ("HEARTBEAT_S", "30", "should be less than DEEPSMILE_LEASE_S"),
    ("MAX_ATTEMPTS", "three", "Input should be a valid integer"),
    ("ALLOWED_ROOTS", "/slides", 'should be a JSON list, such as ["/slides"]'),
    ("ALLOWED_ROOTS", '"/slides"', "Input should be a valid tuple"),
]


@pytest.mark.parametrize(("name", "given", "allowed"), WRONG)
def test_a_wrong_value_is_told_by_its_variable(
    name: str, given: str, allowed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"DEEPSMILE_{name}", given)
    with pytest.raises(RequestInvalid) as caught:
        Settings()
    assert caught.value.detail.startswith(f"DEEPSMILE_{name}=")
    assert given.strip('"') in caught.value.detail
    assert allowed in caught.value.detail
    assert "docs/operations.md" in caught.value.hint


NUMBERS = [
    name for name, field in Settings.model_fields.items() if field.annotation in (int, float)
]


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("given", ["-1", "1e300", "inf", "nan"])
def test_every_number_has_bounds(name: str, given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"DEEPSMILE_{name.upper()}", given)
    with pytest.raises(RequestInvalid, match=f"DEEPSMILE_{name.upper()}={given}"):
        Settings()


def test_several_wrong_values_are_told_at_once() -> None:
    with pytest.raises(RequestInvalid, match=r"DEEPSMILE_PORT=0: .*; DEEPSMILE_SWEEP_S=0: "):
        Settings(port=0, sweep_s=0)


def test_a_url_is_never_shown() -> None:
    """It may hold a password."""
    with pytest.raises(RequestInvalid) as caught:
        Settings(database_url=b"\xffsecret")  # type: ignore[arg-type]
    assert caught.value.detail.startswith("DEEPSMILE_DATABASE_URL: ")
    assert "secret" not in caught.value.detail


def test_settings_come_back_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = Settings(allowed_roots=(tmp_path, Path("/b")), inference_wait_s=5, encoder_batch=1024)
    for name, text in given.environment().items():
        monkeypatch.setenv(name, text)
    assert Settings() == given


@pytest.mark.parametrize("command", ["bench", "score", "inspect", "doctor", "export", "up", "demo"])
def test_every_command_tells_it_in_a_line(
    run: Run, command: str, slide_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEEPSMILE_ENCODER_THREADS", "-1")
    slides = [slide_path] if command in ("bench", "score", "inspect") else []
    code, out, err = run(command, *slides)
    assert (code, out) == (ERROR, "")
    assert err.startswith("request_invalid: DEEPSMILE_ENCODER_THREADS=-1: Input should be greater")


@pytest.mark.slow
@pytest.mark.parametrize("program", ["deepsmile.worker", "deepsmile.api"])
def test_every_program_tells_it_in_a_line(program: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", program],
        env={**os.environ, "DEEPSMILE_TRITON_IN_FLIGHT": "-1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith("request_invalid: DEEPSMILE_TRITON_IN_FLIGHT=-1: ")
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    "url",
    ["secret", "secret://host/db", "mysql://u:secret@host/db", "sqlite+aiosqlite:///secret",
     "postgresql://host:secret/db"],
)  # fmt: skip
def test_a_database_that_we_cannot_use_is_told_with_an_example(url: str) -> None:
    with pytest.raises(RequestInvalid, match=r"^DEEPSMILE_DATABASE_URL: should be a URL") as caught:
        Settings(database_url=url)
    assert "postgresql+psycopg://" in caught.value.detail
    assert "secret" not in caught.value.detail


def test_a_driver_that_is_missing_is_named_with_what_to_install() -> None:
    if importlib.util.find_spec("pg8000"):
        pytest.skip("it is installed")
    told = r"pg8000 is missing: pip install 'deepsmile\[postgres\]'"
    with pytest.raises(RequestInvalid, match=told):
        Settings(database_url="postgresql+pg8000://user:secret@host/db")
