"""`deepsmile doctor` on Triton: the server that is asked, or the one that could be started."""

from pathlib import Path

import pytest

from deepsmile.cli.doctor import Finding, examine
from deepsmile.settings import Settings
from deepsmile.triton.install import Installation
from deepsmile.triton.server import Ports, TritonServer


def finding(**settings: object) -> Finding:
    """What it says of Triton."""
    found = examine(Settings(**settings))  # type: ignore[arg-type]
    return next(finding for finding in found if finding.what == "triton")


@pytest.mark.slow
def test_a_server_that_answers_is_named(triton: TritonServer) -> None:
    found = finding(triton_url=triton.url)
    assert (found.state, found.found) == ("ok", f"triton 2.51.0 at {triton.url}")


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
