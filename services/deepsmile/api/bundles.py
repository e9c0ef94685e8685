"""Bundles: which models there are, and all that is known of each."""

from anyio.to_thread import run_sync
from fastapi import APIRouter

from deepsmile import errors
from deepsmile.api.docs import json_example, problems
from deepsmile.api.service import Service, ServiceDep
from deepsmile.api.views import bundle_detail, bundle_view
from deepsmile.wire import BundleDetail, BundleList

router = APIRouter(tags=["bundles"])


@router.get(
    "/v1/bundles",
    operation_id="listBundles",
    summary="List models",
    responses={
        200: json_example(BundleList, "All of them, verified.", "bundles"),
        **problems(errors.BundleCorrupt),
    },
)
async def bundles(service: ServiceDep) -> BundleList:
    """Every bundle of the model repository."""
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
    found = (service.shelf.get(name) for name in service.shelf.names())
    return BundleList(bundles=tuple(bundle_view(bundle, default) for bundle in found))
