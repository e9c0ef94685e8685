"""`deepsmile doctor` on Triton: the server that is asked, or the one that could be started."""

import re
from pathlib import Path

import pytest

from deepsmile.bundle import Bundle
from deepsmile.cli.doctor import Finding, examine
from deepsmile.settings import Settings
from deepsmile.triton.install import Installation
from deepsmile.triton.server import Ports, TritonServer
from tests.making import make_bundle
from tests.shell import ERROR, command_of


def finding(what: str = "triton", **settings: object) -> Finding:
    """What it says of that."""
    found = examine(Settings(**settings))  # type: ignore[arg-type]
    return next(finding for finding in found if finding.what == what)


@pytest.mark.slow
def test_a_server_that_answers_is_named(triton: TritonServer) -> None:
    found = finding(triton_url=triton.url)
    assert (found.state, found.found) == ("ok", f"triton 2.51.0 at {triton.url}")


@pytest.mark.slow
def test_the_default_bundle_is_proven_on_the_server(triton: TritonServer, bundle: Bundle) -> None:
    settings = {"triton_url": triton.url, "default_bundle": "tiny", "model_repository": bundle.root}
    found = finding("tiny on triton", **settings)
    assert found.state == "ok"
    assert found.found.startswith("proven: triton 2.51.0 over ")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("members", "name", "complaint"),
    [
        (2, "other", "other_encoder version 1 is not ready on the server"),
        (3, "tiny", r"tiny_head version 1 is [0-9a-f]{12} on the server, [0-9a-f]{12} in the bund"),
    ],
)
def test_a_server_without_the_default_bundle_s_models_is_broken(
    triton: TritonServer, tmp_path: Path, members: int, name: str, complaint: str
) -> None:
    """None of that name, or others under it: workers would score nothing."""
    make_bundle(tmp_path, name, members=members)
    settings = {"triton_url": triton.url, "default_bundle": name, "model_repository": tmp_path}
    assert finding(**settings).state == "ok"
    found = finding(f"{name} on triton", **settings)
    assert found.state == "broken"
    assert re.search(complaint, found.found)
    assert found.advice


@pytest.mark.slow
def test_the_command_ends_with_an_error_when_nothing_would_be_scored(
    triton: TritonServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The server has the tiny bundle; the settings ask for the demo's."""
    monkeypatch.setenv("DEEPSMILE_TRITON_URL", triton.url)
    code, out, _ = command_of(monkeypatch, capsys)("doctor")
    assert code == ERROR
    assert "demo_encoder version 1 is not ready on the server" in out


def test_a_server_that_does_not_answer_is_broken() -> None:
    found = finding(triton_url=f"127.0.0.1:{Ports.free().grpc}")
    assert found.state == "broken"
    assert "DEEPSMILE_TRITON_URL" in found.advice


def test_a_server_that_could_be_started_is_named(installation: Installation) -> None:
    found = finding()
    assert (found.state, found.found) == ("ok", str(installation.program))


def test_none_is_missing_and_no_harm(tmp_path: Path) -> None:
    found = finding(triton_server=str(tmp_path))
    assert found.state == "missing"
    assert "make triton" in found.advice
