"""Learning: how well a head does that is trained on fewer patients, told once all is chosen.

Each share of fold 0's training patients trains one head; all of them are the fold's member, which
is served. They score the test patients of the sealed look, and only after it, so that nothing
can be chosen by them.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from deepsmile.contract import Head
from deepsmile_training.bundling.development import Development
from deepsmile_training.bundling.heads import MadeHead
from deepsmile_training.bundling.look import Tested
from deepsmile_training.bundling.members import probability, train_one
from deepsmile_training.bundling.source import Source
from deepsmile_training.cohorts.labels import FoldLabels
from deepsmile_training.evidence.learning import LearningPoint, Run, learning_curve
from deepsmile_training.evidence.predictions import Predictions
from deepsmile_training.mil.config import MilConfig
from deepsmile_training.mil.ensemble import Ensemble
from deepsmile_training.mil.heads import Head as MilHead
from deepsmile_training.stage import Stage

PROTOCOL = (
    " The learning curve was drawn after that look, and nothing was chosen by it: its points are"
    " single heads, trained on shares of the first fold's training patients."
)


def trainings_of_curve(development: Development) -> tuple[FoldLabels, ...]:
    """What the curve trains on beside all of fold 0, the smallest share first.

    Shares of one size train once, and those that lack a class never; empty: there is no curve.
    """
    whole = development.served(0)
    some = {len(one.patients("train")): one for one in map(whole.trained_on, whole.shares)}
    some.pop(len(whole.patients("train")), None)  # the fold's member is trained on all
    return tuple(some.values())


def curve_of(
    source: Source, made: MadeHead, tested: Tested, config: MilConfig, stage: Stage
) -> tuple[LearningPoint, ...]:
    """AUROC of each training on the very patients of the look; empty: there are no subsets."""
    trainings = trainings_of_curve(made.development)
    if not trainings:
        return ()
    advance = stage(f"{made.head.name} curve", len(trainings))
    heads = []
    for labels in trainings:
        heads.append(train_one(source, labels, config).head)
        advance()
    served = made.members.served.members[0]
    assert isinstance(served, MilHead), "members of an ensemble are heads"
    ensembles = [Ensemble([head]).eval() for head in (*heads, served)]
    sizes = [len(one.patients("train")) for one in (*trainings, made.development.served(0))]
    table = tested.evaluated.predictions
    p = _predict(source, ensembles, made.head, table)  # (heads, n)
    runs = zip(sizes, p, strict=True)
    return learning_curve([Run(size, table.with_probabilities(row)) for size, row in runs])


def _predict(
    source: Source, heads: Sequence[Ensemble], rule: Head, predictions: Predictions
) -> NDArray[np.float64]:
    """(heads, n) of the patients of `predictions`, each the mean of the slides that are scored."""
    rows = []
    for patient in predictions.patients:
        bags = [bag for bag in source.bags(patient) if len(bag.features) >= rule.min_tiles]
        scores = [[probability(head, bag.features) for bag in bags] for head in heads]
        rows.append(np.mean(scores, axis=1))  # (heads,)
    return np.stack(rows, axis=1)  # (heads, n)
