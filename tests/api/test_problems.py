"""Problems: every error has a status, and a fault of ours says nothing of our insides."""

import logging

import httpx
import pytest
from fastapi import FastAPI

from deepsmile import errors
from deepsmile.api.problems import STATUS, problem_of, status_of
from deepsmile.errors import DeepSmileError
from tests.api.conftest import converse


def every_error(cls: type[DeepSmileError] = DeepSmileError) -> list[type[DeepSmileError]]:
    """All error classes."""
    return [cls, *(sub for child in cls.__subclasses__() for sub in every_error(child))]


@pytest.mark.parametrize("error", every_error())
def test_every_error_becomes_a_problem(error: type[DeepSmileError]) -> None:
    problem = problem_of(error("What happened.", hint="Do this."), "/v1/jobs")
    assert 400 <= problem.status < 600
    assert problem.type == f"urn:deepsmile:error:{error.code}"
    assert (problem.detail, problem.hint) == ("What happened.", "Do this.")
    assert problem.retryable is error.retryable


def test_what_the_caller_can_change_is_4xx_and_what_he_cannot_is_5xx() -> None:
    for error in every_error(errors.RequestError):
        assert status_of(error) < 500
    for retry_later in (errors.StorageFull, errors.StoreUnavailable, errors.InternalError):
        assert status_of(retry_later) >= 500


def test_a_request_is_shown_the_schema_where_nothing_better_is_known() -> None:
    """A command line, which has the same error, has no schema to look at."""
    hint = problem_of(errors.RequestInvalid("What happened."), "/v1/jobs").hint
    assert hint == "Correct what the detail names. /openapi.json has every field."
    assert errors.RequestInvalid("What happened.").hint == "Correct what the detail names."


def test_no_error_is_in_the_table_for_nothing() -> None:
    for error in STATUS:
        parents = [cls for cls in error.__mro__[1:] if cls in STATUS]
        assert error is DeepSmileError or STATUS[error] != STATUS[parents[0]]


def test_a_fault_of_ours_is_500_without_its_message(
    app: FastAPI, caplog: pytest.LogCaptureFixture
) -> None:
    said = "/slides/JANE_DOE.svs"

    @app.get("/boom")
    async def boom() -> None:
        raise RuntimeError(said)

    with caplog.at_level(logging.ERROR):
        answer = converse(app, lambda client: client.get("/boom"))
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert answer.headers["content-type"] == "application/problem+json"
    assert "JANE" not in answer.text + caplog.text
    assert "RuntimeError" in caplog.text
    assert "in boom" in caplog.text


def test_a_wrong_method_says_which_are_right(http: httpx.Client) -> None:
    assert http.put("/healthz").headers["allow"] == "GET"
