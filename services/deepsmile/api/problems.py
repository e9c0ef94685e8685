"""Problems: the only table from error to HTTP status, and RFC 9457 documents made with it."""

import logging
import traceback
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from deepsmile import errors
from deepsmile.errors import DeepSmileError, InternalError, RequestInvalid
from deepsmile.wire import PROBLEM_TYPE, Problem

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"

STATUS: dict[type[DeepSmileError], int] = {
    errors.SlideError: 422,
    errors.ReaderKilled: 503,
    errors.Abstention: 422,
    errors.BundleUnknown: 404,
    errors.BackendMissing: 503,
    errors.RequestError: 422,
    errors.ContentTypeUnsupported: 415,
    errors.BodyTooLarge: 413,
    errors.UploadIncomplete: 400,
    errors.PathNotAllowed: 403,
    errors.IdempotencyConflict: 409,
    errors.JobNotFound: 404,
    errors.JobNotFinished: 409,
    errors.JobFinished: 409,
    errors.JobCanceled: 409,
    errors.StorageFull: 507,
    errors.StoreUnavailable: 503,
    errors.BrokerUnavailable: 503,
    errors.InferenceUnavailable: 503,
    errors.DeepSmileError: 500,
}
"""An error that is not here has the status of its nearest ancestor."""

SCHEMA_HINT = f"{RequestInvalid.hint} /openapi.json has every field."
"""Of a request for which nothing better is known; a command line has no schema to look at."""

CODE_OF_STATUS = {404: "route_not_found", 405: "method_not_allowed"}
"""What the router refuses before any of our code runs."""


def status_of(error: type[DeepSmileError]) -> int:
    """HTTP status of an error."""
    return next(STATUS[cls] for cls in error.__mro__ if cls in STATUS)


def problem_of(error: DeepSmileError, instance: str) -> Problem:
    """The document for an error."""
    return Problem(
        type=f"{PROBLEM_TYPE}{error.code}",
        title=_title(error.code),
        status=status_of(type(error)),
        detail=error.detail,
        code=error.code,
        hint=SCHEMA_HINT if error.hint == RequestInvalid.hint else error.hint,
        retryable=error.retryable,
        instance=instance,
    )


def install(app: FastAPI) -> None:
    """Answer every error that reaches the app with a problem document."""
    app.add_exception_handler(DeepSmileError, _on_ours)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)


def invalid(error: ValidationError | RequestValidationError) -> RequestInvalid:
    """Which fields are wrong and why; never their values, which may name a patient."""
    found = error.errors() if isinstance(error, ValidationError) else list(error.errors())
    return RequestInvalid("; ".join(_complaint(item["loc"], item["msg"]) for item in found))


def on_unexpected(path: str, error: Exception) -> JSONResponse:
    """The answer to a fault of ours: the log has where it was, the answer says nothing of it."""
    kind, frames = type(error).__name__, traceback.format_tb(error.__traceback__)
    # Not its message: that may name a file.
    logger.error("%s while answering\n%s", kind, "".join(frames))
    return _respond(problem_of(InternalError("the service failed to answer"), path))


def _on_ours(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, DeepSmileError)
    return _respond(problem_of(error, request.url.path))


def _on_invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return _respond(problem_of(invalid(error), request.url.path))


def _on_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code = CODE_OF_STATUS.get(error.status_code, "http_error")
    problem = Problem(
        type=f"{PROBLEM_TYPE}{code}",
        title=_title(code),
        status=error.status_code,
        detail=str(error.detail),
        code=code,
        hint="/openapi.json has every route and method.",
        retryable=False,
        instance=request.url.path,
    )
    return _respond(problem, error.headers)


def _respond(problem: Problem, headers: Any = None) -> JSONResponse:  # noqa: ANN401
    return JSONResponse(
        problem.model_dump(), problem.status, headers=headers, media_type=MEDIA_TYPE
    )


def _title(code: str) -> str:
    return code.replace("_", " ").capitalize()


def _complaint(place: Sequence[Any], message: str) -> str:
    name = ".".join(str(part) for part in place if part not in ("query", "body", "header", "path"))
    return f"{name}: {message}" if name else message
