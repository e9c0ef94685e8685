"""The schema: complete, valid, made from the code, and true."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from openapi_spec_validator import OpenAPIV31SpecValidator
from pydantic import BaseModel

from deepsmile import wire
from deepsmile.api.examples import EXAMPLES
from deepsmile.api.openapi import write_schema
from deepsmile.report import RESEARCH_USE_ONLY, Report

COMMITTED = Path(__file__).parents[2] / "openapi.yaml"
MODELS: dict[str, type[BaseModel]] = {
    "accepted": wire.Job,
    "running": wire.Job,
    "done": wire.Job,
    "canceled": wire.Job,
    "page": wire.JobPage,
    "report": Report,
    "bundles": wire.BundleList,
    "bundle": wire.BundleDetail,
    "alive": wire.Alive,
    "ready": wire.Readiness,
    "down": wire.Readiness,
    "path": wire.PathRequest,
}


@pytest.fixture(scope="module")
def text() -> str:
    """What the code says."""
    sink = io.StringIO()
    write_schema(sink)
    return sink.getvalue()


@pytest.fixture(scope="module")
def schema(text: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text)
    return found


def operations(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in schema["paths"].values():
        yield from path.values()


def test_the_committed_file_is_what_the_code_says(text: str) -> None:
    """Otherwise: python -m deepsmile.api.openapi > openapi.yaml"""
    assert COMMITTED.read_text() == text


def test_the_schema_is_valid_openapi_3_1(schema: dict[str, Any]) -> None:
    assert schema["openapi"] == "3.1.0"
    OpenAPIV31SpecValidator(schema).validate()


def test_the_service_serves_the_same_schema(schema: dict[str, Any], http: httpx.Client) -> None:
    assert http.get("/openapi.json").json() == schema


def test_every_operation_has_an_example_and_its_problems(schema: dict[str, Any]) -> None:
    for operation in operations(schema):
        for status, response in operation["responses"].items():
            for kind, content in response.get("content", {}).items():
                assert "example" in content or "examples" in content, operation["operationId"]
                assert (kind == "application/problem+json") is (
                    content["schema"].get("$ref", "").endswith("/Problem")
                )
            assert status.startswith(("2", "3")) or "content" in response
        assert "default" in operation["responses"]


def test_every_way_to_send_a_slide_has_an_example(schema: dict[str, Any]) -> None:
    for path in ("/predict", "/v1/jobs"):
        contents = schema["paths"][path]["post"]["requestBody"]["content"]
        assert {"multipart/form-data", "application/json", "application/octet-stream"} <= set(
            contents
        )
        assert all("example" in content or "examples" in content for content in contents.values())


@pytest.mark.parametrize("name", sorted(MODELS))
def test_an_example_is_what_its_model_says(name: str) -> None:
    model = MODELS[name].model_validate(EXAMPLES[name])
    dumped = model.model_dump(mode="json", exclude_unset=True)
    assert dumped == EXAMPLES[name]


def test_every_example_is_checked() -> None:
    assert set(EXAMPLES) == {*MODELS, "form"}


def test_research_use_only_is_said(schema: dict[str, Any]) -> None:
    assert RESEARCH_USE_ONLY in schema["info"]["description"]
    assert EXAMPLES["report"]["research_use_only"] == RESEARCH_USE_ONLY


def test_operation_ids_are_unique(schema: dict[str, Any]) -> None:
    ids = [operation["operationId"] for operation in operations(schema)]
    assert len(ids) == len(set(ids)) == 13
