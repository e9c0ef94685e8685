"""Docs: what the schema says beyond what FastAPI finds out by itself."""

from typing import Any

from pydantic import BaseModel

from deepsmile.api.examples import EVENT, EXAMPLES
from deepsmile.api.problems import MEDIA_TYPE, problem_of, status_of
from deepsmile.errors import DeepSmileError, InternalError
from deepsmile.report import RESEARCH_USE_ONLY
from deepsmile.wire import JobEvent, Options, PathRequest, Problem

Responses = dict[int | str, dict[str, Any]]

DESCRIPTION = f"""Calibrated slide-level scores from H&E whole-slide images.

**{RESEARCH_USE_ONLY}**

Send a slide, get a job, follow it, read its report. A job that was accepted (202) is never
lost: it ends with a score, with a reason why there is none, or with an error that says what to
do next. Errors are RFC 9457 problem documents; programs go by their `code`, which never changes.
"""
TAGS = [
    {"name": "jobs", "description": "Slides in, reports out."},
    {"name": "bundles", "description": "The models."},
    {"name": "health", "description": "For those who run the service."},
]
SCHEMA = "#/components/schemas/"


def example(name: str) -> dict[str, Any]:
    """A reference to one of the examples."""
    return {name: {"$ref": f"#/components/examples/{name}"}}


def json_example(model: type[BaseModel], description: str, name: str) -> dict[str, Any]:
    """A response of that model."""
    content = {"application/json": {"examples": example(name)}}
    return {"description": description, "model": model, "content": content}


def problems(*errors: type[DeepSmileError]) -> Responses:
    """Responses for these errors, by status; and one for whatever else may go wrong."""
    by_status: dict[int, list[type[DeepSmileError]]] = {}
    for error in errors:
        by_status.setdefault(status_of(error), []).append(error)
    found: Responses = {status: _problem(same) for status, same in sorted(by_status.items())}
    return {**found, "default": _problem([InternalError])}


def _problem(errors: list[type[DeepSmileError]]) -> dict[str, Any]:
    shown = {
        error.code: {"value": problem_of(error("What happened."), "/v1/jobs").model_dump()}
        for error in errors
    }
    content = {"schema": {"$ref": f"{SCHEMA}Problem"}, "examples": shown}
    return {"description": " or ".join(shown), "content": {MEDIA_TYPE: content}}


SSE: dict[str, Any] = {
    "description": "A stream; each event's data is a JobEvent.",
    "content": {
        "text/event-stream": {
            "schema": {"type": "string"},
            "example": f"event: progress\ndata: {EVENT}\nid: 17\n\n",
        }
    },
}

_RAW: dict[str, Any] = {
    "schema": {"type": "string", "format": "binary", "description": "The slide itself."},
    "example": "(the bytes of slide.svs)",
}
PREDICT_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "With the slide as the body, options go into the query.",
        "content": {
            "application/octet-stream": _RAW,
            "image/*": _RAW,
            "application/dicom": _RAW,
            "application/zip": _RAW,
            "multipart/form-data": {
                "schema": {"$ref": f"{SCHEMA}SlideForm"},
                "examples": example("form"),
            },
            "application/json": {
                "schema": {"$ref": f"{SCHEMA}PathRequest"},
                "examples": example("path"),
            },
        },
    }
}


def describe(schema: dict[str, Any]) -> dict[str, Any]:
    """Complete FastAPI's schema, in a stable order."""
    schemas = schema["components"]["schemas"]
    for model in (JobEvent, PathRequest, Problem):
        found = model.model_json_schema(ref_template=SCHEMA + "{model}")
        schemas.update(found.pop("$defs", {}))
        schemas[model.__name__] = found
    schemas["SlideForm"] = _form_schema()
    # FastAPI adds what OpenAPI 3.2 knows and 3.1 does not.
    stream = schema["paths"]["/v1/jobs/{job_id}/events"]["get"]["responses"]["200"]["content"]
    stream["text/event-stream"].pop("itemSchema", None)
    # Put in here because FastAPI drops every null from what passes through it.
    schema["components"]["examples"] = {name: {"value": EXAMPLES[name]} for name in EXAMPLES}
    schema["components"]["schemas"] = dict(sorted(schemas.items()))
    schema["info"]["license"] = {"name": "Apache-2.0", "identifier": "Apache-2.0"}
    return schema


def _form_schema() -> dict[str, Any]:
    form = Options.model_json_schema()
    file = {"type": "string", "format": "binary", "description": "The slide itself."}
    return {
        **form,
        "title": "SlideForm",
        "description": "A slide with its options.",
        "properties": {"file": file, **form["properties"]},
        "required": ["file"],
    }
