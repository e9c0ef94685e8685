"""Card: a bundle's model card, for a person, generated from what the bundle itself says."""

from typing import Any

from deepsmile.contract import Contract, Head
from deepsmile.report import RESEARCH_USE_ONLY
from deepsmile_training.bundling.trust_told import Kept, tell_trust
from deepsmile_training.metrics import COVERAGE, ECE_BINS, RESAMPLES
from deepsmile_training.synthetic.specimen import BORDER_PER_MM2


def render_card(contract: Contract, provenance: dict[str, Any], notice: str) -> str:
    """Markdown; equal inputs give equal bytes."""
    parts = [
        f"# {notice}",
        _use(),
        _data(provenance),
        _protocol(provenance),
        *(_head(head, provenance) for head in contract.heads),
        _limits(),
        _digests(contract, provenance),
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _use() -> str:
    return f"""
{RESEARCH_USE_ONLY} This is the demo bundle of DeepSMILE.

## Intended use

Trying the software: installing it, connecting it, watching a slide go from upload to report. It
must not be used on slides of patients. It answers them if they look enough like H&E, and the
answer means nothing.
"""


def _data(provenance: dict[str, Any]) -> str:
    cohort, plan = provenance["cohort"], provenance["plan"]
    return f"""
## Data

{cohort["slides"]} procedural slides ({cohort["tiles"]:,} tissue tiles of 256 um), painted by
`deepsmile_training.synthetic` from seed {plan["seed"]}: stroma of eosin-pink fibres, nests of
violet nuclei, glands, glass with scanner noise; stain, scanner, tissue area, nuclear size and
density vary from slide to slide. No pixel comes from a patient or a public data set.

Two labels are drawn independently of each other and of everything else:

- **heterogeneity**, after the toy example of the DeepSMILE paper (Appendix A). Every slide has
  small and large nuclei, in the same proportions and sizes in both classes. In a heterogeneous
  slide each kind keeps to its regions; in a homogeneous one they mix in every tile. The mean
  nuclear size of a slide does not tell the classes apart. Its variance between tiles does, and so
  does a single tile, which shows one kind or both: no proof that a variance is needed.
- **cellularity**: more or fewer nuclei per mm2 than {BORDER_PER_MM2:g}; the signal is in the mean.

Half of the slides are positive for each label, so the calibrated probabilities hold for a
prevalence of one half.
"""


def _protocol(provenance: dict[str, Any]) -> str:
    cohort, plan = provenance["cohort"], provenance["plan"]
    pretext, recipe = plan["pretext"], plan["recipe"]
    folds = ", ".join(str(n) for n in cohort["fold_slides"])
    return f"""
## Protocol

- **Encoder**: ShuffleNetV2 x1.0, He-initialised, trained for {pretext["epochs"]} epochs to tell
  the mean size and the number of nuclei in crops of {plan["pretext_slides"]} further synthetic
  slides, and to say the same of two views of a crop (restained, blurred, noisy). That is supervised
  by the painter's own knowledge, and it replaces the paper's SimCLR pre-training; it makes the task
  easier than any real one. No slide-level label is used.
- **Features**: by `deepsmile.pipeline.extract` with the exported ONNX encoder, as in serving.
- **Heads**: VarMIL (paper eqs 5-10), Adam, learning rate {recipe["learning_rate"]:g}, betas
  {recipe["betas"][0]:g} and {recipe["betas"][1]:g}, weight decay {recipe["weight_decay"]:g}, batch
  {recipe["batch"]}, {recipe["epochs"]} epochs, balanced cross-entropy. Deviations from the paper:
  features are standardised inside the graph, and the last epoch is used, not the best one.
- **Ensemble**: one member per fold of {folds} slides, trained on the other folds.
- **Calibration and thresholds**: on out-of-fold probabilities of ensembles made the same way
  with the slide left out; Platt scaling with Platt's own targets.
- **Prediction sets and novelty**: on the same out-of-fold probabilities, and on held-out distances
  of the slides' mean features.
- **Test**: {cohort["test_slides"]} slides held out from all of the above, scored through
  `deepsmile.pipeline.score_bag`. Intervals: {COVERAGE:.0%}, percentile bootstrap over slides,
  {RESAMPLES} resamples. The ECE has none: noise alone raises it.
"""


def _head(head: Head, provenance: dict[str, Any]) -> str:
    figures, inner = provenance["test"][head.name], provenance["out_of_fold_auc"][head.name]
    rows = [
        f"| {point.name}{' (decides)' if point.name == head.decision else ''} | "
        f"{point.threshold:.3f} | {figures['points'][point.name]['sensitivity']:.3f} | "
        f"{figures['points'][point.name]['specificity']:.3f} | {point.basis} |"
        for point in head.operating_points
    ]
    return f"""
## Head `{head.name}`: {head.negative} or {head.positive}

{head.members} members; declines slides with fewer than {head.min_tiles} tissue tiles. On
{figures["slides"]} test slides ({figures["positives"]} {head.positive}):

| figure | value ({COVERAGE:.0%} interval) |
|---|---|
| AUROC | {_interval(figures["auc"])} |
| Brier score, raw | {_interval(figures["brier_raw"])} |
| Brier score, calibrated | {_interval(figures["brier"])} |
| ECE ({ECE_BINS} bins), raw | {figures["ece_raw"]:.3f} |
| ECE ({ECE_BINS} bins), calibrated | {figures["ece"]:.3f} |

AUROC out of fold, for comparison: {inner:.3f}.

| operating point | threshold | sensitivity on test | specificity on test | how it was chosen |
|---|--:|--:|--:|---|
{chr(10).join(rows)}

{describe_trust(head, figures)}
"""


def describe_trust(head: Head, figures: dict[str, Any]) -> str:
    """Two bullets: what a head promises where it may abstain, and what it came to on test."""
    kept = Kept(
        unit="slides",
        negatives=figures["slides"] - figures["positives"],
        positives=figures["positives"],
        covered=figures["covered"],
        uncertain=figures["uncertain"],
        slides=figures["slides"],
        declined=figures["declined"],
    )
    return tell_trust(head, kept)


def _interval(estimate: dict[str, float]) -> str:
    return f"{estimate['value']:.3f} ({estimate['low']:.3f} to {estimate['high']:.3f})"


def _limits() -> str:
    return """
## Limits

- Synthetic data only. The figures say that the software works, not that the method does.
- Train and test slides come from one painter; nothing was tested on another source.
- With so few test slides the ECE is mostly noise, and it is biased upwards; an interval without
  width means that no test slide was ranked wrong, not that none ever will be.
- The tissue and stain checks decline what does not look like H&E, the novelty rule what does not
  look like the training slides; neither was tested on patients' tissue.
- The promises of prediction sets and novelty are averages over slides like those of the cohort.
  The members that calibrated leave out a fold more than those that are served.
"""


def _digests(contract: Contract, provenance: dict[str, Any]) -> str:
    heads = "\n".join(f"- head `{head.name}`: `{head.sha256}`" for head in contract.heads)
    software = ", ".join(
        f"{name} {version}" for name, version in sorted(provenance["software"].items())
    )
    return f"""
## Digests

- made by: `{provenance["command"]}`
- contract: `{contract.digest}`
- feature contract: `{contract.features.digest}`
- encoder: `{contract.features.encoder.sha256}`
{heads}
- slides (over their SHA-256s): `{provenance["cohort"]["slides_digest"]}`
- training source: `{provenance["source_digest"]}`

Software: {software}.
"""
