"""Demo: the whole road from nothing to the sealed demo bundle.

cohort -> encoder -> bags -> heads -> candidate bundle -> figures -> card -> bundle
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from deepsmile.backends.onnx import OnnxBackend
from deepsmile.bag import FeatureBag
from deepsmile.bundle import Bundle
from deepsmile.contract import Contract, Head
from deepsmile.disk import copy_file
from deepsmile.triton.models import MODEL_FILE
from deepsmile_training.bundling.places import NOVELTY_FILE
from deepsmile_training.demo.card import render_card
from deepsmile_training.demo.cohort import LABELS, Split, draw_cohort, labels_of, split_cohort
from deepsmile_training.demo.fit import fits_needed
from deepsmile_training.demo.heads import MadeHead, make_head
from deepsmile_training.demo.plan import DemoPlan
from deepsmile_training.demo.provenance import cohort_provenance
from deepsmile_training.demo.workshop import Workshop, cohort_bags, contract_of, pretext_encoder
from deepsmile_training.evaluation import evaluate
from deepsmile_training.provenance import TRAINING, software_versions, source_digest
from deepsmile_training.publishing import Title, publish, seal
from deepsmile_training.synthetic.specimen import SlideSpec

TITLE = Title(
    name="demo",
    version="1",
    notice="Synthetic data, no clinical meaning: trained on painted cartoons of H&E, not on"
    " patients.",
)


def make_demo_bundle(plan: DemoPlan, command: str, out: Path, shop: Workshop) -> Bundle:
    """Make everything and seal it as `demo` in the model repository `out`."""
    source = source_digest(TRAINING)  # now: whatever is edited while this runs is not what ran
    specs = draw_cohort(plan.seed, plan.slides, tissue_tiles=plan.tissue_tiles)
    split = split_cohort(specs, plan.seed)
    encoder = pretext_encoder(plan, shop)
    bags = cohort_bags(plan, specs, encoder, shop)
    made = _make_heads(plan, specs, bags, split, shop)
    copy_file(encoder, shop.candidate / _place("encoder"))
    contract = Contract(features=contract_of(encoder), heads=tuple(one.head for one in made))
    provenance = {
        "command": command,
        "plan": asdict(plan),
        "cohort": cohort_provenance(specs, bags, split),
        "out_of_fold_auc": {one.head.name: round(one.out_of_fold_auc, 4) for one in made},
        "software": software_versions(),
        "source_digest": source,
    }
    models = [_place("encoder"), *(place for one in made for place in _places(one.head))]
    candidate = seal(
        shop.candidate, TITLE, contract, models, card="Not yet evaluated.\n", provenance=provenance
    )
    provenance["test"] = _figures(plan, candidate, specs, bags, split)
    card = render_card(contract, provenance, candidate.file.notice)
    return publish(candidate, out, card, provenance)


def _place(model: str) -> Path:
    """Where Triton looks for version 1 of a model of the demo, from the repository's root."""
    return Path(f"{TITLE.name}_{model}", "1", MODEL_FILE)


def _places(head: Head) -> list[Path]:
    """Where a head's files lie."""
    place = _place(head.name)
    return [place, place.with_name(NOVELTY_FILE)] if head.novelty else [place]


def _make_heads(
    plan: DemoPlan,
    specs: Sequence[SlideSpec],
    bags: Sequence[FeatureBag],
    split: Split,
    shop: Workshop,
) -> list[MadeHead]:
    """All heads, exported into the candidate repository."""
    return [
        make_head(
            label,
            [bag.features for bag in bags],
            labels_of(label, specs),
            split,
            seed=plan.seed,
            recipe=plan.recipe,
            path=shop.candidate / _place(label.name),
            advance=shop.stage(label.name, fits_needed(len(split.folds))),
        )
        for label in LABELS
    ]


def _figures(
    plan: DemoPlan,
    candidate: Bundle,
    specs: Sequence[SlideSpec],
    bags: Sequence[FeatureBag],
    split: Split,
) -> dict[str, Any]:
    """The one look at the test slides, through the candidate as it would be served."""
    backend = OnnxBackend(candidate, plan.threads)
    tested = [bags[i] for i in split.test]
    return {
        label.name: evaluate(
            candidate, backend, head, tested, labels_of(label, specs)[split.test], plan.seed
        ).as_json()
        for label, head in zip(LABELS, candidate.contract.heads, strict=True)
    }
