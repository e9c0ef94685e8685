"""Workshop: what a run keeps under its work folder and uses again: slides, encoder, bags.

Each lies under a digest of all that decides it, so that a changed plan, library or line of the
code that makes it starts afresh, and an interrupted run goes on where it stopped.
"""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deepsmile.backends.onnx import OnnxEncoder
from deepsmile.bag import FeatureBag
from deepsmile.contract import Encoder, FeatureContract
from deepsmile.digest import digest_of, digest_of_file
from deepsmile.reading import Reader, ReaderLimits
from deepsmile_training.contracts import feature_contract
from deepsmile_training.demo.cohort import PRETEXT, draw_cohort, recipe_digest
from deepsmile_training.demo.plan import DemoPlan
from deepsmile_training.demo.pretext import (
    FEATURE_DIM,
    UNTRAINED,
    read_pretext_tiles,
    train_encoder,
)
from deepsmile_training.encoders.tile_encoder import export_encoder
from deepsmile_training.extraction import extract_bags
from deepsmile_training.provenance import SERVING, TRAINING, software_versions, source_digest
from deepsmile_training.stage import Stage
from deepsmile_training.synthetic.files import make_slides
from deepsmile_training.synthetic.specimen import SlideSpec

BATCH = 4
"""Tiles per call of the encoder."""


@dataclass(frozen=True)
class Workshop:
    """Where a bundle is made, and who is told; nothing here can change it."""

    work: Path
    stage: Stage

    @property
    def candidate(self) -> Path:
        """The model repository of the bundle that is not yet evaluated."""
        return self.work / "candidate"

    @property
    def reader(self) -> Reader:
        """A new reader of slides; the caller closes it."""
        scratch = self.work / "scratch"
        return Reader(ReaderLimits(scratch, memory_bytes=8 << 30, cpu_s=3600, stall_s=120.0), BATCH)


def cohort_bags(
    plan: DemoPlan, specs: Sequence[SlideSpec], encoder: Path, shop: Workshop
) -> list[FeatureBag]:
    """The cohort's features, in its order."""
    slides = _slides(plan, specs, "slides", shop)
    with closing(shop.reader) as reader:
        return extract_bags(
            slides,
            contract_of(encoder),
            OnnxEncoder(encoder, plan.threads),
            reader,
            folder=shop.work / "bags" / _key(recipe_digest(specs), source_digest(SERVING)),
            advance=shop.stage("features", len(slides)),
        )


def pretext_encoder(plan: DemoPlan, shop: Workshop) -> Path:
    """The exported encoder, trained on slides of its own."""
    tiles = plan.tissue_tiles
    specs = draw_cohort(plan.seed, plan.pretext_slides, stream=PRETEXT, tissue_tiles=tiles)
    path = shop.work / "encoders" / _encoder_key(plan, specs) / "model.onnx"
    if not path.exists():
        slides = _slides(plan, specs, "encoder's slides", shop)
        with closing(shop.reader) as reader:
            known = read_pretext_tiles(slides, specs, reader)
        advance = shop.stage("encoder", plan.pretext.epochs)
        encoder = train_encoder(known, plan.pretext, plan.seed, advance)
        export_encoder(encoder, path.with_suffix(".tmp"))
        path.with_suffix(".tmp").replace(path)
    return path


def contract_of(encoder: Path) -> FeatureContract:
    """The demo's rules with an exported encoder."""
    digest = digest_of_file(encoder)
    return feature_contract(
        Encoder(name="shufflenetv2-synthetic", sha256=digest, feature_dim=FEATURE_DIM)
    )


def _slides(plan: DemoPlan, specs: Sequence[SlideSpec], what: str, shop: Workshop) -> list[Path]:
    folder = shop.work / "slides" / _key(recipe_digest(specs))
    return make_slides(specs, folder, plan.threads, shop.stage(what, len(specs)))


def _encoder_key(plan: DemoPlan, specs: Sequence[SlideSpec]) -> str:
    encoder = ("encoders/backbones.py", "encoders/tile_encoder.py")
    trainer = source_digest(TRAINING, *encoder, "export.py", "demo/pretext.py")
    cutter, rules = source_digest(SERVING), feature_contract(UNTRAINED).digest
    numbers = [asdict(plan.pretext), plan.seed, plan.threads]
    return _key(recipe_digest(specs), trainer, cutter, rules, *numbers)


def _key(*parts: Any) -> str:  # noqa: ANN401 - any JSON values
    """The name of a folder for what `parts` and the installed libraries decide."""
    return digest_of([*parts, software_versions()])[:16]
