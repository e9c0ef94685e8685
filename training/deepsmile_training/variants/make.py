"""Variant: a bundle once more with its encoder in another precision, if the gate lets it pass.

slides -> calibration tiles -> encoder -> candidate bundle -> gate -> card -> bundle

No slide both calibrates and judges.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from deepsmile.backends.onnx import CUDA, OnnxBackend, execution_providers
from deepsmile.bundle import Bundle
from deepsmile.digest import digest_of
from deepsmile.errors import BackendMissing, RequestInvalid
from deepsmile.pipeline import SlideSource
from deepsmile.precision import (
    CPU_FACTS,
    KEY,
    Attempt,
    Bounds,
    Calibration,
    Kind,
    Precision,
    precision_of,
    saturates,
)
from deepsmile.reading import Reader
from deepsmile_training.provenance import TRAINING, software_versions, source_digest
from deepsmile_training.publishing import publish
from deepsmile_training.stage import Stage
from deepsmile_training.variants.bundle import (
    check_heads,
    encoder_place,
    put_heads,
    seal_variant,
)
from deepsmile_training.variants.card import render_variant_card
from deepsmile_training.variants.gate import BOUNDS, FEWEST, Evidence, Served, measure
from deepsmile_training.variants.precision import SPARED_BITS, WEIGHT_BITS, write_fp16, write_int8
from deepsmile_training.variants.selection import calibration_tiles, split_slides

NO_JUDGE = "a CPU computes fp16 graphs in fp32, so it cannot tell what they do to scores"


@dataclass(frozen=True)
class Wish:
    """What somebody asks for."""

    parent: Bundle
    kind: Kind
    slides: Sequence[Path]
    """Slides, or folders of slides."""
    out: Path
    """Model repository to write into."""
    threads: int
    command: str
    bounds: Bounds = BOUNDS
    fewest: Evidence = FEWEST


@dataclass(frozen=True)
class Outcome:
    """Every way that was tried; `bundle` holds the last one, or nothing when all were refused."""

    attempts: tuple[Attempt, ...]
    complaint: str
    """What was out of bounds in the last one."""
    bundle: Bundle | None


@dataclass(frozen=True)
class Way:
    """One way of making the variant."""

    how: str
    write: Callable[[Path, Path], None]
    """From the encoder's file to the variant's."""
    needs_vnni: bool


@dataclass(frozen=True)
class Material:
    """What the slides are there for."""

    judges: Sequence[SlideSource]
    ways: Sequence[Way]
    """Those worth trying, in order."""
    calibration: Calibration | None


def make_variant(wish: Wish, reader: Reader, stage: Stage) -> Outcome:
    """Make it, measure it, and write its bundle if it stays within bounds; otherwise nothing.

    Raises:
        RequestInvalid: the parent is a variant itself, slides or their tiles are too few, or
            files in the way.
        BackendMissing: fp16 without a GPU.
        SlideError, Abstention: naming the slide.
    """
    if precision_of(wish.parent):
        raise RequestInvalid(f"{wish.parent.name} is a variant itself", hint="Name its parent.")
    check_heads(wish.parent, wish.out)
    material = _half(wish) if wish.kind is Kind.FP16 else _bytes(wish, reader, stage)
    parent = Served(wish.parent, OnnxBackend(wish.parent, wish.threads))
    attempts: list[Attempt] = []
    complaint = ""
    for way in material.ways:
        with TemporaryDirectory() as folder:
            variant = _candidate(wish, way, Path(folder))
            told = stage(way.how, len(material.judges))
            shift = measure(material.judges, parent, variant, reader, told)
            _check_tiles(shift.tiles, wish.fewest.tiles)
            attempts.append(Attempt(how=way.how, shift=shift))
            complaint = "; ".join(shift.excesses(wish.bounds))
            if not complaint:
                precision = _record(wish, material, way, attempts, variant)
                bundle = _publish(wish, precision, variant.bundle)
                return Outcome(tuple(attempts), complaint, bundle)
    return Outcome(tuple(attempts), complaint, None)


def _check_tiles(found: int, needed: int) -> None:
    if found < needed:
        raise RequestInvalid(
            f"tiles: the slides that judge have {found} of tissue, {needed} are needed",
            hint="Give more slides, or larger ones.",
        )


def _half(wish: Wish) -> Material:
    if CUDA not in execution_providers():
        hint = "Make it where it will be used, with deepsmile[gpu]."
        raise BackendMissing(NO_JUDGE, hint=hint)
    _, judges = split_slides(wish.slides, calibrate=False, judges=wish.fewest.slides)
    return Material(judges, [Way("weights and activations in 16 bits", write_fp16, False)], None)


def _bytes(wish: Wish, reader: Reader, stage: Stage) -> Material:
    calibrating, judges = split_slides(wish.slides, calibrate=True, judges=wish.fewest.slides)
    told = stage("calibration", len(calibrating))
    tiles = calibration_tiles(calibrating, wish.parent.contract.features, reader, told)
    sha256 = hashlib.sha256(tiles.tobytes()).hexdigest()
    calibration = Calibration(slides=len(calibrating), tiles=len(tiles), tiles_sha256=sha256)
    unharmed = not saturates(CPU_FACTS.read_text())
    recipes = [(f"{bits}-bit weights", bits, False) for bits in WEIGHT_BITS]
    recipes.append((f"{SPARED_BITS}-bit weights, first layer in fp32", SPARED_BITS, True))
    ways = [
        Way(
            how,
            partial(write_int8, tiles=tiles, weight_bits=bits, spare_first=spare),
            needs_vnni=bits == 8 and unharmed,
        )
        for how, bits, spare in recipes
    ]
    return Material(judges, ways, calibration)


def _candidate(wish: Wish, way: Way, root: Path) -> Served:
    """A bundle that can be run, in a repository of its own."""
    put_heads(wish.parent, root)
    way.write(wish.parent.encoder_path, root / encoder_place(wish.parent, wish.kind))
    bundle = seal_variant(root, wish.parent, wish.kind)
    return Served(bundle, OnnxBackend(bundle, wish.threads))


def _record(
    wish: Wish, material: Material, way: Way, attempts: Sequence[Attempt], variant: Served
) -> Precision:
    *refused, accepted = attempts
    return Precision(
        kind=wish.kind,
        how=way.how,
        parent=wish.parent.name,
        parent_digest=wish.parent.digest,
        bounds=wish.bounds,
        shift=accepted.shift,
        refused=tuple(refused),
        calibration=material.calibration,
        judges_digest=digest_of([judge.sha256 for judge in material.judges]),
        measured_on=variant.backend.name,
        needs_vnni=way.needs_vnni,
    )


def _publish(wish: Wish, precision: Precision, candidate: Bundle) -> Bundle:
    provenance: dict[str, Any] = {
        "command": wish.command,
        KEY: precision.model_dump(mode="json"),
        "parent": wish.parent.file.provenance,
        "software": software_versions(),
        "source_digest": source_digest(TRAINING),
    }
    card = render_variant_card(candidate.contract, wish.parent, precision, wish.command)
    return publish(candidate, wish.out, card, provenance)
