"""Bundle: the road from a prepared cohort to a sealed bundle in a model repository.

prepared cohort -> heads -> candidate bundle -> one look at the test -> evidence, card -> bundle
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepsmile.backends.onnx import OnnxBackend
from deepsmile.bundle import Bundle
from deepsmile.contract import Contract, FeatureContract
from deepsmile.digest import digest_of_file
from deepsmile.disk import copy_file
from deepsmile_training.bundling import examples, learning
from deepsmile_training.bundling.card import render_card
from deepsmile_training.bundling.development import Development, development_of
from deepsmile_training.bundling.heads import MadeHead, make_head
from deepsmile_training.bundling.look import Candidate, Tested, look_at_test
from deepsmile_training.bundling.members import trainings_needed
from deepsmile_training.bundling.places import check_name, free_folder
from deepsmile_training.bundling.plan import Plan, head_name
from deepsmile_training.bundling.pretraining import seen_by
from deepsmile_training.bundling.record import (
    encoder_record,
    head_record,
    record_of,
    tested_record,
)
from deepsmile_training.bundling.source import Source, open_source
from deepsmile_training.encoders.encoder_file import find_encoder
from deepsmile_training.evidence.attention import Strip
from deepsmile_training.evidence.page import write_report
from deepsmile_training.evidence.report import Extras, Setting, make_report
from deepsmile_training.prepared.prepared import Prepared
from deepsmile_training.provenance import TRAINING, software_versions, source_digest
from deepsmile_training.publishing import Title, publish, seal
from deepsmile_training.stage import Stage

PROTOCOL = (
    "Patients of a test set that took no part in training, calibration or thresholds, scored by"
    " the sealed bundle as it is served; a patient's probability is the mean of the slides'."
)


@dataclass(frozen=True)
class Workbench:
    """Where a bundle is made, and who is told; nothing here can change it."""

    repository: Path
    """Where its encoder is."""
    out: Path
    """Model repository to write into."""
    evidence: Path
    """Folder of the reports."""
    work: Path
    """For what nobody needs afterwards."""
    command: str
    threads: int
    stage: Stage
    originals: examples.Originals | None = None
    """Slides for the report to show; None: it shows none."""


@dataclass(frozen=True)
class Material:
    """All that a bundle is made of, checked."""

    encoder: Path
    contract: FeatureContract
    source: Source
    labels: tuple[Development, ...]
    record: dict[str, Any]
    """The same as its provenance will have it."""


def gather(prepared: Prepared, plan: Plan, bench: Workbench) -> Material:
    """What the plan names; whatever is wrong with it is said now, and not after an hour.

    Raises:
        RequestInvalid: a label, a split, or a name that is taken.
        BundleUnknown, BundleMismatch: no such encoder, or features of another one.
    """
    encoder, contract = find_encoder(bench.repository, plan.encoder)
    source = open_source(prepared, plan.extractor, contract)
    known = encoder_record(bench.repository, plan.encoder)
    known["test_patients_seen"] = seen_by(prepared, bench.repository, plan.encoder)
    record = record_of(source, plan, bench.command, known)
    record |= {"software": software_versions(), "source_digest": source_digest(TRAINING)}
    check_name(bench.out, plan, record)
    labels = tuple(development_of(source, label, plan.min_tiles) for label in plan.labels)
    return Material(encoder, contract, source, labels, record)


def make_bundle(prepared: Prepared, plan: Plan, bench: Workbench) -> Bundle:
    """Train, calibrate, seal, test once, tell what more there is to tell, and publish.

    Raises:
        RequestInvalid: the material is not fit for it, or predictions rank nobody.
    """
    material = gather(prepared, plan, bench)
    heads = [_make_head(material.source, one, plan, bench) for one in material.labels]
    told = {one.head.name: head_record(one, material.source) for one in heads}
    record = {**material.record, "heads": told}
    sealed = _seal(material, heads, plan, bench, record)
    candidate = Candidate(sealed, OnnxBackend(sealed, bench.threads))
    for made in heads:
        record["heads"][made.head.name] |= _test(candidate, made, material.source, plan, bench)
    file = sealed.file
    card = render_card(plan, file.contract, record, file.notice)
    bench.out.mkdir(parents=True, exist_ok=True)
    return publish(sealed, bench.out, card, record)


def _make_head(source: Source, development: Development, plan: Plan, bench: Workbench) -> MadeHead:
    advance = bench.stage(development.label, trainings_needed(len(development.split)))
    return make_head(source, development, plan, bench.work / head_name(development.label), advance)


def _seal(
    material: Material,
    heads: Sequence[MadeHead],
    plan: Plan,
    bench: Workbench,
    record: dict[str, Any],
) -> Bundle:
    """The bundle in a repository of its own, where it can be run and nobody is served by it."""
    root = bench.work / "candidate"
    encoder = {material.encoder.name: material.encoder}
    model = material.encoder.relative_to(bench.repository).parts[0]
    placed = [(model, encoder), *((f"{plan.name}_{one.head.name}", one.files) for one in heads)]
    places = []
    for name, files in placed:
        folder = free_folder(bench.out, name, files)
        for file, path in files.items():
            copy_file(path, root / folder / file)
            places.append(folder / file)
    contract = Contract(features=material.contract, heads=tuple(one.head for one in heads))
    title = Title(plan.name, plan.version, plan.notice or _notice(material))
    return seal(root, title, contract, places, card="Not yet tested.\n", provenance=record)


def _notice(material: Material) -> str:
    cohort = material.source.prepared.cohort.name
    return f"Research model trained on {cohort}; not tested on any other cohort."


def _test(
    candidate: Candidate, made: MadeHead, source: Source, plan: Plan, bench: Workbench
) -> dict[str, Any]:
    """One head on the test patients: its figures, and its evidence as files."""
    label, name = made.development.label, made.head.name
    tested = look_at_test(candidate, made.head, source, made.choice, label)
    curve = learning.curve_of(source, made, tested, plan.config, bench.stage)
    strips = _strips(candidate, made, source, tested, bench)
    told = PROTOCOL + (learning.PROTOCOL if curve else "") + (examples.PROTOCOL if strips else "")
    title = f"{plan.name} {plan.version}: {label}"
    setting = Setting(title, told, candidate.bundle.file.notice, plan.config.seed)
    report = make_report(tested.evaluated, made.choice, setting, Extras({}, curve, strips))
    page = bench.evidence / f"{plan.name}.{name}.evidence.html"
    beside = write_report(report, page, strips)
    evidence = {"page": page.name, "json_sha256": digest_of_file(beside)}
    return {"test": tested_record(made, tested, report), "evidence": evidence}


def _strips(
    candidate: Candidate, made: MadeHead, source: Source, tested: Tested, bench: Workbench
) -> tuple[Strip, ...]:
    if bench.originals is None:
        return ()
    return examples.examples_of(
        candidate, made.head, source, tested.slides, bench.originals, bench.stage
    )
