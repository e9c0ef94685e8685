"""Provenance of the demo: the synthetic cohort in numbers."""

from collections.abc import Sequence
from typing import Any

from deepsmile.bag import FeatureBag
from deepsmile.digest import digest_of
from deepsmile_training.demo.cohort import LABELS, Split, labels_of, recipe_digest
from deepsmile_training.synthetic.specimen import SlideSpec


def cohort_provenance(
    specs: Sequence[SlideSpec], bags: Sequence[FeatureBag], split: Split
) -> dict[str, Any]:
    """The cohort in numbers, and a digest over the digests of its slides, in their order."""
    return {
        "slides": len(specs),
        "tiles": sum(len(bag.features) for bag in bags),
        "positives": {label.name: int(labels_of(label, specs).sum()) for label in LABELS},
        "test_slides": len(split.test),
        "fold_slides": [len(fold) for fold in split.folds],
        "slides_digest": digest_of([bag.slide_sha256 for bag in bags]),
        "recipe_digest": recipe_digest(specs),
    }
