"""Settings: what makes no sense is told at the start, by the name of its variable."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from deepsmile.errors import RequestInvalid
from deepsmile.settings import Settings
from tests.making import make_bundle
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


@pytest.mark.parametrize(
    "url",
    ["secret", "secret:6379", "redos://:secret@host", "redis://:secret@host:65536",
     "redis://:secret@host:0", "redis://:secret@host:port", "redis://:secret@:6379",
     "redis://:secret@host/name", "redis://:secret@host/0/1", "redis://:secret@[::1",
     "redis+socket://secret", "redis+socket://secret/sock", "redis+socket:///",
     "amqp://u:secret@host"],
)  # fmt: skip
def test_a_broker_that_we_cannot_use_is_told_with_an_example_and_nothing_else(url: str) -> None:
    with pytest.raises(RequestInvalid) as told:
        Settings(broker_url=url)
    assert told.value.detail == (
        "DEEPSMILE_BROKER_URL: should be a URL of Redis or Valkey,"
        " such as redis://:PASSWORD@HOST:6379/0"
    )


@pytest.mark.parametrize(
    "url",
    ["", "redis://host", "redis://host/", "redis://host:6379//", "rediss://u:p@valkey.svc:6380/15", "redis://[::1]:6379/0",
     "redis+socket:///run/valkey.sock", "redis+socket:///run/valkey.sock?virtual_host=1"],
)  # fmt: skip
def test_a_broker_is_a_host_or_a_socket(url: str) -> None:
    assert Settings(broker_url=url).broker_url == url


@pytest.mark.parametrize(
    "url",
    ["http://secret:8001", "secret", "secret:", ":8001", "secret:0", "secret:65536", "secret:http",
     "secret:8001/", "u@secret:8001", "grpc://secret:8001", "secret :8001", "::1:8001"],
)  # fmt: skip
def test_a_server_that_is_no_host_and_port_is_told_with_an_example(url: str) -> None:
    with pytest.raises(RequestInvalid, match=r"^DEEPSMILE_TRITON_URL: should be HOST:PORT") as told:
        Settings(triton_url=url)
    assert "127.0.0.1:8001" in told.value.detail
    assert "secret" not in told.value.detail


@pytest.mark.parametrize("url", ["", "127.0.0.1:8001", "triton.models.svc:1", "[::1]:65535"])
def test_a_server_is_given_by_host_and_port(url: str) -> None:
    assert Settings(triton_url=url).triton_url == url


def test_a_driver_that_is_missing_is_named_with_what_to_install() -> None:
    if importlib.util.find_spec("pg8000"):
        pytest.skip("it is installed")
    told = r"pg8000 is missing: pip install 'deepsmile\[postgres\]'"
    with pytest.raises(RequestInvalid, match=told):
        Settings(database_url="postgresql+pg8000://user:secret@host/db")


def test_the_only_bundle_of_a_repository_is_meant_where_none_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of none or several it is the demo's name, and the error says which there are."""
    monkeypatch.delenv("DEEPSMILE_DEFAULT_BUNDLE", raising=False)
    monkeypatch.setenv("DEEPSMILE_MODEL_REPOSITORY", str(tmp_path))
    assert Settings().default_bundle == "demo"
    make_bundle(tmp_path, "mine")
    assert Settings().default_bundle == "mine"
    make_bundle(tmp_path, "another")
    assert Settings().default_bundle == "demo"
    assert Settings(default_bundle="another").default_bundle == "another"
    monkeypatch.setenv("DEEPSMILE_DEFAULT_BUNDLE", "mine")
    assert Settings().default_bundle == "mine"
