"""Errors: stable codes, hints, and a docstring that draws the tree as it is."""

import re

import pytest

from deepsmile import errors
from deepsmile.errors import DeepSmileError, InternalError, all_codes, error_from_code

# Clients match on these: a code may be added, and none may change or go.
CODES = [
    "archive_unsafe",
    "backend_missing",
    "bag_corrupt",
    "body_too_large",
    "broker_unavailable",
    "bundle_corrupt",
    "bundle_mismatch",
    "bundle_unknown",
    "content_type_unsupported",
    "idempotency_conflict",
    "inference_unavailable",
    "internal_error",
    "job_abandoned",
    "job_canceled",
    "job_finished",
    "job_not_finished",
    "job_not_found",
    "lease_lost",
    "mpp_missing",
    "mpp_too_coarse",
    "not_he",
    "out_of_distribution",
    "path_not_allowed",
    "reader_killed",
    "request_invalid",
    "service_unreachable",
    "slide_corrupt",
    "slide_empty",
    "slide_not_found",
    "slide_timeout",
    "slide_too_large",
    "slide_truncated",
    "slide_unreadable",
    "slide_unsupported",
    "storage_full",
    "store_unavailable",
    "too_little_tissue",
    "uncertain",
    "upload_incomplete",
]
RETRYABLE = {
    "broker_unavailable",
    "inference_unavailable",
    "reader_killed",
    "service_unreachable",
    "storage_full",
    "store_unavailable",
}
CLASSES = {
    cls.code: cls
    for cls in vars(errors).values()
    if isinstance(cls, type) and issubclass(cls, DeepSmileError) and "code" in vars(cls)
}


def test_the_codes_are_the_ones_that_clients_know() -> None:
    """HOUSE STYLE 24: a stable code."""
    assert list(all_codes()) == CODES


def test_no_two_errors_share_a_code() -> None:
    assert len(set(all_codes())) == len(all_codes())


@pytest.mark.parametrize("code", CODES)
def test_an_error_comes_back_from_its_code_as_it_was(code: str) -> None:
    """What crosses the pipe or the network is code, detail and hint; the class is found again."""
    original = CLASSES[code]("what happened", hint="what to do")
    again = error_from_code(original.code, original.detail, original.hint)
    assert type(again) is type(original)
    assert (again.code, again.detail, again.hint) == (code, "what happened", "what to do")
    assert str(again) == "what happened"


@pytest.mark.parametrize("code", CODES)
def test_every_error_says_what_to_do_next(code: str) -> None:
    """HOUSE STYLE 24: each class has a hint of its own, a sentence."""
    hint = vars(CLASSES[code])["hint"]
    assert hint.endswith(".")
    assert error_from_code(code, "x").hint == hint


def test_a_code_of_a_newer_version_becomes_an_internal_error_that_names_it() -> None:
    error = error_from_code("code_of_tomorrow", "something")
    assert isinstance(error, InternalError)
    assert error.detail == "code_of_tomorrow: something"


def test_only_lost_processes_full_disks_and_absent_services_are_worth_another_try() -> None:
    assert {code for code in CODES if CLASSES[code].retryable} == RETRYABLE


def test_the_docstring_draws_the_tree_as_it_is() -> None:
    """Every class stands in the module's docstring once, under its base."""
    drawn: dict[str, str] = {}
    above: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"([│├└─ ]*)([A-Z]\w+)(\s|$)", line)
        if match and (match.group(2) in vars(errors)):
            depth = len(match.group(1)) // 4
            above = [*above[:depth], match.group(2)]
            drawn[match.group(2)] = above[-2] if depth else "Exception"
    actual = {
        cls.__name__: cls.__base__.__name__
        for cls in vars(errors).values()
        if isinstance(cls, type) and issubclass(cls, DeepSmileError) and cls.__base__
    }
    assert drawn == actual
