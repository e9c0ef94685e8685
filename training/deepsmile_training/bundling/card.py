"""Card: a bundle's model card, for a person, generated from what the bundle itself says."""

from collections.abc import Iterable
from typing import Any

from deepsmile.contract import Contract, Head
from deepsmile.report import RESEARCH_USE_ONLY
from deepsmile_training.bundling.plan import Plan
from deepsmile_training.bundling.pretraining import tell_seen
from deepsmile_training.bundling.trust_told import Kept, bullet, paragraph, tell_trust
from deepsmile_training.evidence.page import choosing
from deepsmile_training.metrics import COVERAGE, ECE_BINS, RESAMPLES

Record = dict[str, Any]


def render_card(plan: Plan, contract: Contract, record: Record, notice: str) -> str:
    """Markdown; equal inputs give equal bytes."""
    parts = [
        f"# {notice}",
        _use(plan, contract),
        _data(record),
        _protocol(plan, contract, record),
        *(_head(head, record["heads"][head.name]) for head in contract.heads),
        _limits(plan, record),
        _digests(contract, record),
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _use(plan: Plan, contract: Contract) -> str:
    asked = "; ".join(f"{one.negative} or {one.positive}" for one in contract.heads)
    use = (
        "Research on slides like those of the cohort below: H&E, of the same organ and kind of"
        f" specimen. It answers, as calibrated probabilities: {asked}. No decision about a patient"
        " may rest on it."
    )
    return f"""
{RESEARCH_USE_ONLY}

This is the bundle `{plan.name}`, version {plan.version}.

## Intended use

{paragraph(use)}
"""


def _data(record: Record) -> str:
    cohort, features = record["cohort"], record["features"]
    dropped = ", ".join(f"{n} {code}" for code, n in sorted(features["dropped"].items()))
    who = (
        f"Cohort `{cohort['name']}`: {cohort['patients']} patients, {features['slides']} slides"
        f" with features ({dropped or 'none'} left out). Of each label those count who have it:"
    )
    rows = [
        f"| {head['label']} | {part} | {told['patients']} | {told['positives']} |"
        f" {told['slides']} | {told['tiles']:,} |"
        for head in record["heads"].values()
        for part, told in (("development", head["development"]), ("test", head["test"]))
    ]
    return f"""
## Data

{paragraph(who)}

| label | part | patients | positive | slides | tiles |
|---|---|--:|--:|--:|--:|
{_lines(rows)}

{_lines(_definition(head) for head in record["heads"].values())}

Tables, by their SHA-256:

{_lines(f"- {name}: `{sha256}`" for name, sha256 in sorted(cohort["sources"].items())) or "- none"}

What to know of them: {_notes(cohort["notes"])}.
"""


def _notes(notes: dict[str, int]) -> str:
    return "; ".join(f"{count} {note}" for note, count in sorted(notes.items())) or "nothing noted"


def _definition(head: Record) -> str:
    told, label = head["definition"], head["label"]
    negative, positive = told["classes"]
    if "cuts" not in told:
        return bullet(f"**{label}**: {positive} (positive) or {negative}, as the tables have it.")
    cuts, rule = told["cuts"], told["rule"]
    sign = ">" if cuts["strict"] else ">="
    between = " Patients between the two are left out." if _leaves_a_gap(told) else ""
    return bullet(
        f"**{label}**: {positive} (positive) where {rule['column']} {sign} {cuts['upper']:g}, the"
        f" quantile {rule['upper']:g} of {cuts['patients']} development patients; {negative} where"
        f" it is <= {cuts['lower']:g}, the quantile {rule['lower']:g}.{between}"
    )


def _leaves_a_gap(definition: Record) -> bool:
    cuts = definition.get("cuts")
    return cuts is not None and cuts["lower"] < cuts["upper"]


def _protocol(plan: Plan, contract: Contract, record: Record) -> str:
    encoder, recipe, folds = contract.features.encoder, plan.config.recipe, record["split"]["folds"]
    tiles = "all tiles" if recipe.tiles is None else f"at most {recipe.tiles} tiles of a bag"
    bags = "patients" if plan.config.by_patient else "slides"
    standardised = (
        " Deviation from the paper: features are standardised inside the graph."
        if recipe.standardise
        else ""
    )
    spec = ", ".join(f"{key} {value}" for key, value in plan.config.head.model_dump().items())
    return "\n".join(
        [
            "## Protocol",
            "",
            bullet(
                f"**Encoder**: `{encoder.name}`, {encoder.feature_dim} features, frozen. Its own"
                " card says what it was trained on."
            ),
            bullet(
                "**Features**: by `deepsmile.pipeline.extract` with the exported ONNX encoder, as"
                " in serving."
            ),
            bullet(
                f"**Heads** ({spec}): {recipe.optimiser}, learning rate {recipe.learning_rate:g},"
                f" betas {recipe.betas[0]:g} and {recipe.betas[1]:g}, weight decay"
                f" {recipe.weight_decay:g}, batch {recipe.batch}, {recipe.epochs} epochs,"
                f" {'balanced' if recipe.balanced else 'plain'} cross-entropy, seed"
                f" {plan.config.seed}; bags of {bags}, {tiles}.{standardised}"
            ),
            bullet(
                f"**Ensemble**: {folds} members, one per fold, trained on the other folds; the step"
                " with the best AUROC on the fold is kept, as in the paper (Algorithm 1). A slide's"
                " raw probability is the mean of theirs."
            ),
            bullet(
                "**Calibration, thresholds, prediction sets, novelty**: on development patients,"
                f" each predicted by {folds - 1} members that left out its fold and, each, one fold"
                " more, which chose the step. So nobody was predicted by what it had trained or"
                " chosen. The calibration is the one of temperature, Platt, beta and isotonic with"
                " the least cross-fitted log-loss."
            ),
            bullet(
                "**Test**: patients held out from all of the above, scored by the sealed bundle"
                " through `deepsmile.pipeline.score_bag`, whole slides; a patient's probability is"
                f" the mean of the slides'. Intervals: {COVERAGE:.0%}; of AUROC by DeLong, of"
                " sensitivity and specificity by Wilson, of the rest by bootstrap over patients,"
                f" {RESAMPLES} resamples. The ECE has none: noise alone raises it."
            ),
        ]
    )


def _head(head: Head, record: Record) -> str:
    test = record["test"]
    rows = [
        f"| {point.name}{' (decides)' if point.name == head.decision else ''} |"
        f" {point.threshold:.3f} | {_interval(test['points'][point.name]['sensitivity'])} |"
        f" {_interval(test['points'][point.name]['specificity'])} | {point.basis} |"
        for point in head.operating_points
    ]
    kept = Kept(
        unit="patients",
        negatives=test["patients"] - test["positives"],
        positives=test["positives"],
        covered=test["covered"],
        uncertain=test["uncertain"],
        slides=test["slides"],
        declined=test["declined"],
    )
    inner = paragraph(
        f"AUROC out of fold, for comparison: {record['out_of_fold_auc']:.3f}. Calibration:"
        f" {head.calibration.method}. {choosing(record['log_losses'])}"
    )
    return f"""
## Head `{head.name}`: {head.negative} or {head.positive}

{head.members} members. On {test["patients"]} test patients ({test["positives"]} {head.positive}),
{test["slides"]} slides:

| figure | value ({COVERAGE:.0%} interval) |
|---|---|
| AUROC | {_interval(test["auroc"])} |
| AUPRC | {_interval(test["auprc"])} |
| Brier score, raw | {_interval(test["brier_raw"])} |
| Brier score, calibrated | {_interval(test["brier"])} |
| ECE ({ECE_BINS} bins), raw | {test["ece_raw"]:.3f} |
| ECE ({ECE_BINS} bins), calibrated | {test["ece"]:.3f} |

{inner}

| operating point | threshold | sensitivity on test | specificity on test | how it was chosen |
|---|--:|--:|--:|---|
{_lines(rows)}

{tell_trust(head, kept)}
{_lines(bullet(note) for note in (*_declined(head, record), *record["notes"], _looked(test)))}

All curves and subgroups: `{record["evidence"]["page"]}`.
"""


def _declined(head: Head, record: Record) -> tuple[str]:
    test, development = record["test"], record["development"]
    return (
        f"**Tissue**: slides with fewer than {head.min_tiles} tissue tiles are declined:"
        f" {test['too_small']} of the test, {development['too_small']} of the development. No"
        " figure counts them.",
    )


def _looked(test: Record) -> str:
    before = test["look"] - 1
    if not before:
        return "**Test set**: no other model for this label had been tested on it before."
    return (
        f"**Test set**: {before} other {'model' if before == 1 else 'models'} for this label had"
        " been tested on it before, for bundles or tables. The more there were, the less the"
        " figures say of the next cohort."
    )


def _interval(estimate: dict[str, float] | None) -> str:
    if estimate is None:
        return "-"
    return f"{estimate['value']:.3f} ({estimate['low']:.3f} to {estimate['high']:.3f})"


def _limits(plan: Plan, record: Record) -> str:
    fewest = min(
        min(one["test"]["positives"], one["test"]["patients"] - one["test"]["positives"])
        for one in record["heads"].values()
    )
    limits = [
        f"One cohort, `{record['cohort']['name']}`. Nothing was tested on patients, scanners or"
        " laboratories of elsewhere.",
        "Probabilities hold for the prevalence of the cohort, and no other.",
        "A report is of one slide. Calibration and figures are of patients, whose slides are"
        " averaged; they are the same where a patient has one slide.",
        tell_seen(record["encoder"].get("test_patients_seen")),
        "Calibrated on ensembles of one member fewer, each trained on a fold less, than what is"
        " served. Promises of prediction sets and novelty are averages over slides like those of"
        " the cohort.",
        f"The rarest class has {fewest} test patients; the ECE of few patients is mostly noise, and"
        " an interval without width means that nobody was ranked wrong here, not that nobody will.",
    ]
    if any(_leaves_a_gap(one["definition"]) for one in record["heads"].values()):
        limits.append(
            "Where a label is cut at two thresholds, the patients between them are in no figure,"
            " and a new patient may be one of them."
        )
    if plan.config.by_patient:
        limits.append("Members were trained on all of a patient's slides as one bag.")
    return "## Limits\n\n" + _lines(bullet(limit) for limit in limits)


def _digests(contract: Contract, record: Record) -> str:
    heads = _lines(f"- head `{head.name}`: `{head.sha256}`" for head in contract.heads)
    evidence = _lines(
        f"- evidence of `{name}` (JSON): `{one['evidence']['json_sha256']}`"
        for name, one in record["heads"].items()
    )
    software = ", ".join(
        f"{name} {version}" for name, version in sorted(record["software"].items())
    )
    return f"""
## Digests

- made by: `{record["command"]}`
- contract: `{contract.digest}`
- feature contract: `{contract.features.digest}`
- encoder: `{contract.features.encoder.sha256}`
{heads}
{evidence}
- cohort: `{record["cohort"]["digest"]}`
- split: `{record["split"]["digest"]}`
- features: `{record["features"]["digest"]}`
- training source: `{record["source_digest"]}`

{paragraph(f"Software: {software}.")}
"""


def _lines(lines: Iterable[str]) -> str:
    return "\n".join(lines)
