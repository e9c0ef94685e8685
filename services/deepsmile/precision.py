"""Precision: what a bundle's encoder computes in, and the shift of scores it was accepted with.

An encoder as it was exported computes in fp32. A variant (`deepsmile-train precision`) is a bundle
of its own, whose provenance holds one `Precision`: what was compared with what, on how many
slides, how far scores and features moved, and how far they might have.
"""

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

from pydantic import ValidationError

from deepsmile.backends.onnx import CUDA, OnnxBackend
from deepsmile.bundle import Bundle
from deepsmile.errors import BundleCorrupt, BundleMismatch
from deepsmile.frozen import Frozen, Name, Sha256

KEY = "precision"
"""Of a bundle's provenance."""
CPU_FACTS = Path("/proc/cpuinfo")


class Kind(StrEnum):
    """A precision that an encoder can be remade in."""

    INT8 = "int8"
    FP16 = "fp16"


class Bounds(Frozen):
    """What a variant must keep on slides that took no part in making it."""

    cosine_mean: float
    """Least mean cosine between a tile's features and those in fp32."""
    cosine_min: float
    """Least cosine of any one tile."""
    score: float
    """Largest change of any slide's raw or calibrated probability, for any head."""

    def __str__(self) -> str:
        return (
            f"no score may move by more than {self.score:g}, cosine of features at least"
            f" {self.cosine_mean:g} on average and {self.cosine_min:g} for every tile"
        )


class HeadShift(Frozen):
    """How far one head's answers moved, the largest over all slides."""

    raw: float
    calibrated: float
    labels_changed: int
    """Slides that fell on the other side of the head's threshold."""


class Shift(Frozen):
    """How far a variant is from its parent."""

    slides: int
    tiles: int
    cosine_mean: float
    cosine_min: float
    heads: dict[Name, HeadShift]

    @property
    def score(self) -> float:
        """The largest change of any probability."""
        return max(max(head.raw, head.calibrated) for head in self.heads.values())

    def excesses(self, bounds: Bounds) -> Iterator[str]:
        """What is out of bounds, in words; nothing if the variant may be used."""
        # Written so that a figure that is not a number is out of bounds.
        if not self.cosine_mean >= bounds.cosine_mean:
            yield f"mean cosine {self.cosine_mean:.5f}, at least {bounds.cosine_mean:g} is needed"
        if not self.cosine_min >= bounds.cosine_min:
            yield f"least cosine {self.cosine_min:.5f}, at least {bounds.cosine_min:g} is needed"
        if not self.score <= bounds.score:
            yield f"a score moved by {self.score:.4f}, at most {bounds.score:g} is allowed"

    def __str__(self) -> str:
        return (
            f"on {self.slides} slides ({self.tiles} tiles) no score moved by more than"
            f" {self.score:.4f}, cosine of features {self.cosine_mean:.5f} on average and"
            f" {self.cosine_min:.5f} at least"
        )


class Attempt(Frozen):
    """One way of making the variant, and what came of it."""

    how: str
    shift: Shift


class Calibration(Frozen):
    """The tiles whose activations set the ranges of int8."""

    slides: int
    tiles: int
    tiles_sha256: Sha256
    """Over their pixels, in order."""


class Precision(Frozen):
    """Why a variant may stand in for its parent."""

    kind: Kind
    how: str
    parent: Name
    parent_digest: Sha256
    bounds: Bounds
    shift: Shift
    refused: tuple[Attempt, ...]
    """Ways that were tried before and went out of bounds."""
    calibration: Calibration | None
    """None: fp16 needs none."""
    judges_digest: Sha256
    """Over the digests of the slides that the shift was measured on."""
    measured_on: str
    """Runtime and execution provider."""
    needs_vnni: bool
    """8-bit weights that were judged where their sums do not saturate."""

    def objection(self, facts: str) -> str:
        """Why its figures do not hold on the CPU of these facts; empty where they do."""
        if self.needs_vnni and saturates(facts):
            return f"this CPU has no VNNI, so scores may be off: use {self.parent}, or remake it"
        return ""

    def advice(self, providers: list[str]) -> str:
        """What to use instead where it brings nothing; empty where it fits."""
        if self.kind is Kind.FP16 and CUDA not in providers:
            return f"use {self.parent}: without a GPU fp16 is slower than fp32"
        if self.kind is Kind.INT8 and CUDA in providers:
            return f"use {self.parent}: int8 is for hosts without a GPU"
        return ""

    def __str__(self) -> str:
        return (
            f"{self.kind} ({self.how}) in place of {self.parent}: {self.shift}"
            f" (bounds {self.bounds.score:g}, {self.bounds.cosine_mean:g},"
            f" {self.bounds.cosine_min:g})"
        )


def saturates(facts: str) -> bool:
    """Whether the CPU of these facts adds pairs of 8-bit products in 16 bits: x86 without VNNI.

    Sums of full 8-bit weights may saturate there; with 7 bits they cannot.
    """
    return "avx2" in facts and "vnni" not in facts


def precision_of(bundle: Bundle) -> Precision | None:
    """The precision of a bundle's encoder; None: fp32, as exported.

    Raises:
        BundleCorrupt: the provenance has a record that is none of ours.
    """
    record = bundle.file.provenance.get(KEY)
    if record is None:
        return None
    try:
        return Precision.model_validate(record)
    except ValidationError as error:
        what = f"{bundle.name}: its record of precision is not one: {error.error_count()} faults"
        raise BundleCorrupt(what) from error


def local_backend(bundle: Bundle, threads: int, facts: Path = CPU_FACTS) -> OnnxBackend:
    """The bundle's models in this process, if what was measured of them holds on this CPU.

    Raises:
        BundleMismatch: it does not, or a graph is not the contract's.
        BackendMissing: no onnxruntime is installed.
    """
    check_cpu(bundle, facts)
    return OnnxBackend(bundle, threads)


def check_cpu(bundle: Bundle, facts: Path = CPU_FACTS) -> None:
    """Raises BundleMismatch if what was measured of a bundle does not hold on this CPU."""
    precision = precision_of(bundle)
    if precision and (objection := precision.objection(facts.read_text())):
        raise BundleMismatch(f"{bundle.name}: {objection}")
