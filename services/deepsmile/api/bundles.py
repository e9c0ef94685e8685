"""Bundles: which models there are, and all that is known of each."""

import logging
from collections.abc import Iterator

from anyio.to_thread import run_sync
from fastapi import APIRouter

from deepsmile import errors
from deepsmile.api.docs import json_example, problems
from deepsmile.api.service import Service, ServiceDep
from deepsmile.api.views import bundle_detail, bundle_view
from deepsmile.bundle import Bundle
from deepsmile.errors import BundleError
from deepsmile.shelf import Shelf
from deepsmile.wire import BundleDetail, BundleList

logger = logging.getLogger(__name__)
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
    """The contract is everything that can change a score; the card says what the model is for."""
    found = await run_sync(service.shelf.get, name)
    return await run_sync(bundle_detail, found, service.settings.default_bundle)


def _list(service: Service) -> BundleList:
    default = service.settings.default_bundle
    return BundleList(bundles=tuple(bundle_view(found, default) for found in _whole(service.shelf)))


def _whole(shelf: Shelf) -> Iterator[Bundle]:
    for name in shelf.names():
        try:
            yield shelf.get(name)
        except BundleError as error:
            logger.warning("bundle %s is left out: %s: %s", name, error.code, error.detail)
