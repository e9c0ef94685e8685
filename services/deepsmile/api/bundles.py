"""Bundles: which models there are, and all that is known of each."""

import logging
from collections.abc import Iterator

from anyio.to_thread import run_sync
from fastapi import APIRouter, Response

from deepsmile import errors
from deepsmile.api.docs import json_example, problems
from deepsmile.api.examples import EXAMPLES
from deepsmile.api.service import Service, ServiceDep
from deepsmile.api.views import bundle_detail, bundle_view
from deepsmile.bundle import Bundle
from deepsmile.errors import BundleError
from deepsmile.shelf import Shelf
from deepsmile.wire import BundleDetail, BundleList

logger = logging.getLogger(__name__)
MARKDOWN = "text/markdown"
router = APIRouter(tags=["bundles"])


@router.get(
    "/v1/bundles",
    operation_id="listBundles",
    summary="List models",
    responses={200: json_example(BundleList, "Those that can be used.", "bundles"), **problems()},
)
async def bundles(service: ServiceDep) -> BundleList:
    """Every bundle of the model repository that is whole; the log names the others."""
    return await run_sync(_list, service)


@router.get(
    "/v1/bundles/{name}",
    operation_id="getBundle",
    summary="One model's contract and card",
    responses={
        200: json_example(BundleDetail, "The bundle.", "bundle"),
        **problems(errors.BundleUnknown, errors.BundleCorrupt),
    },
)
async def bundle(name: str, service: ServiceDep) -> BundleDetail:
    """The contract is everything that can change a score; the card says what the model is for.

    GET /v1/bundles/{name}/card answers the card alone, for people.
    """
    found = await run_sync(service.shelf.get, name)
    return await run_sync(bundle_detail, found, service.settings.default_bundle)


@router.get(
    "/v1/bundles/{name}/card",
    operation_id="getCard",
    summary="One model's card, for people",
    response_class=Response,
    responses={
        200: {
            "description": "The card, as Markdown.",
            "content": {
                MARKDOWN: {"schema": {"type": "string"}, "example": EXAMPLES["bundle"]["card"]}
            },
        },
        **problems(errors.BundleUnknown, errors.BundleCorrupt),
    },
)
async def card(name: str, service: ServiceDep) -> Response:
    """What the model is for, what it was trained on, how well it does, what it is not for."""
    found = await run_sync(service.shelf.get, name)
    return Response(await run_sync(found.card), media_type=f"{MARKDOWN}; charset=utf-8")


def _list(service: Service) -> BundleList:
    default = service.settings.default_bundle
    return BundleList(bundles=tuple(bundle_view(found, default) for found in _whole(service.shelf)))


def _whole(shelf: Shelf) -> Iterator[Bundle]:
    for name in shelf.names():
        try:
            yield shelf.get(name)
        except BundleError as error:
            logger.warning("bundle %s is left out: %s: %s", name, error.code, error.detail)
