"""Intake: from a request's body, in any of its three forms, to a job to accept."""

from collections.abc import AsyncIterator
from uuid import uuid4

from anyio.to_thread import run_sync
from fastapi import Request
from pydantic import ValidationError
from starlette.requests import ClientDisconnect

from deepsmile.api.problems import invalid
from deepsmile.api.service import Service
from deepsmile.bundle import Bundle
from deepsmile.errors import (
    BodyTooLarge,
    ContentTypeUnsupported,
    RequestInvalid,
    UploadIncomplete,
)
from deepsmile.forms import MAX_OVERHEAD_BYTES, SlideForm
from deepsmile.roots import identity_of, resolve_path
from deepsmile.settings import Settings
from deepsmile.store.jobs import NewJob
from deepsmile.uploads import Received, Upload, UploadLimits, unbroken
from deepsmile.wire import Options, PathRequest

JSON = "application/json"
FORM = "multipart/form-data"
RAW = ("application/octet-stream", "application/dicom", "application/zip", "image/")
"""Content types, or their beginnings, of a slide that is the whole body."""
MAX_JSON_BYTES = 64 * 1024


async def take_in(request: Request, service: Service, options: Options) -> NewJob:
    """Read the request to its end; a slide that came along is on the disk then.

    Raises:
        DeepSmileError: and nothing of it is left on the disk.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type in (JSON, FORM) and request.query_params:
        raise RequestInvalid("put the options into the body, beside the slide")
    if content_type == JSON:
        return await _by_path(request, service)
    if content_type == FORM:
        return await _by_form(request, service)
    if content_type.startswith(RAW):
        return await _by_body(request, service, options)
    raise ContentTypeUnsupported(f"a slide does not come as {content_type or 'nothing'!r}")


async def _by_path(request: Request, service: Service) -> NewJob:
    body = b""
    async for chunk in _chunks(request, service.settings):
        body += chunk
        if len(body) > MAX_JSON_BYTES:
            raise BodyTooLarge(f"JSON beyond {MAX_JSON_BYTES} bytes names no slide")
    try:
        wanted = PathRequest.model_validate_json(body)
    except ValidationError as error:
        raise invalid(error) from error
    bundle = await _bundle(service, wanted)
    path = await run_sync(resolve_path, wanted.path, service.settings.allowed_roots)
    return NewJob(
        id=uuid4().hex,
        source="path",
        path=str(path),
        slide_sha256=None,
        slide_bytes=None,
        bundle_name=bundle.name,
        bundle_digest=bundle.digest,
        mpp=wanted.mpp,
        fresh=wanted.fresh,
        identity=await run_sync(identity_of, path),
    )


async def _by_body(request: Request, service: Service, options: Options) -> NewJob:
    bundle = await _bundle(service, options)  # before 1 GiB travels in vain
    async with _upload(service.settings, job_id := uuid4().hex) as upload:
        upload.expect(_length(request))
        async for chunk in _chunks(request, service.settings):
            upload.put(chunk)
            await upload.settle()
        return _uploaded(job_id, await upload.land(), bundle, options)


async def _by_form(request: Request, service: Service) -> NewJob:
    async with _upload(service.settings, job_id := uuid4().hex) as upload:
        upload.expect(max(_length(request) - MAX_OVERHEAD_BYTES, 0))
        form = SlideForm(request.headers["content-type"], upload, tuple(Options.model_fields))
        async for chunk in _chunks(request, service.settings):
            form.feed(chunk)
            await upload.settle()
        try:
            options = Options.model_validate(form.finish())
        except ValidationError as error:
            raise invalid(error) from error
        bundle = await _bundle(service, options)
        return _uploaded(job_id, await upload.land(), bundle, options)


def _uploaded(job_id: str, slide: Received, bundle: Bundle, options: Options) -> NewJob:
    return NewJob(
        id=job_id,
        source="upload",
        path=None,
        slide_sha256=slide.sha256,
        slide_bytes=slide.bytes,
        bundle_name=bundle.name,
        bundle_digest=bundle.digest,
        mpp=options.mpp,
        fresh=options.fresh,
        identity=slide.sha256,
    )


async def _bundle(service: Service, options: Options) -> Bundle:
    """The bundle asked for, which says how coarse or fine a slide may be."""
    bundle = await run_sync(service.shelf.get, options.bundle or service.settings.default_bundle)
    rule = bundle.contract.features.mpp
    if options.mpp is not None and not rule.min <= options.mpp <= rule.max:
        raise RequestInvalid(f"mpp: {options.mpp:g} is outside {rule.min:g} to {rule.max:g} um")
    return bundle


def _upload(settings: Settings, job_id: str) -> Upload:
    limits = UploadLimits(settings.max_upload_bytes, settings.disk_reserve_bytes)
    return Upload(settings.uploads, job_id, limits)


def _length(request: Request) -> int:
    """Size of the body as announced; 0: not announced."""
    return int(request.headers.get("content-length", 0))


def _chunks(request: Request, settings: Settings) -> AsyncIterator[bytes]:
    return unbroken(_stream(request), settings.upload_idle_s)


async def _stream(request: Request) -> AsyncIterator[bytes]:
    try:
        async for chunk in request.stream():
            yield chunk
    except ClientDisconnect as error:
        raise UploadIncomplete("the connection closed before the last byte") from error
