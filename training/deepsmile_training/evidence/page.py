"""Page: a report as one HTML file that loads nothing from elsewhere."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from deepsmile.disk import write_file
from deepsmile_training.evidence.attention import Strip
from deepsmile_training.evidence.learning import LearningPoint
from deepsmile_training.evidence.plots import plots
from deepsmile_training.evidence.report import EvidenceReport
from deepsmile_training.metrics import COVERAGE, ECE_BINS, RESAMPLES, Estimate

CAPTIONS = {
    "ROC curve": "Raw probabilities. Dots: the operating points, as they turned out.",
    "Precision and recall": "Dashed: the prevalence, which useless scores reach.",
    "Reliability": "Dashed: every probability is a frequency. Bars: Wilson intervals.",
    "Decision curve": "What acting at a threshold gains, in true positives per patient.",
}


def render(report: EvidenceReport, strips: Sequence[Strip] = ()) -> str:
    """HTML; equal reports give equal bytes."""
    environment = Environment(
        loader=PackageLoader("deepsmile_training.evidence", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = {"interval": interval, "figure": figure, "bounds": bounds, "choosing": choosing}
    environment.filters |= filters
    drawn = {name: Markup(svg) for name, svg in plots(report).items()}  # noqa: S704 - drawn by us
    return environment.get_template("page.html.j2").render(
        report=report,
        plots=drawn,
        captions=CAPTIONS | {"Learning curve": _of_learning(report.learning)},
        strips=strips,
        coverage=f"{COVERAGE:.0%}",
        resamples=f"{RESAMPLES:,}",
        ece_bins=ECE_BINS,
    )


def write_report(report: EvidenceReport, path: Path, strips: Sequence[Strip] = ()) -> Path:
    """Write the HTML to `path` and the JSON beside it; the latter's path."""
    beside = path.with_suffix(".json")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(beside, report.model_dump_json(indent=1) + "\n")
    write_file(path, render(report, strips))
    return beside


def _of_learning(points: Sequence[LearningPoint]) -> str:
    """What the dots and the line are."""
    sizes = [point.trained_on for point in points]
    once = len(set(sizes)) == len(sizes)
    what = "One training per size." if once else "The line joins the means of each size."
    return f"{what} Bars: DeLong intervals over the patients, not over training's own chance."


def interval(estimate: Estimate | None) -> str:
    """A figure with its interval; a dash where there is none."""
    return "-" if estimate is None else f"{figure(estimate.value)} ({bounds(estimate)})"


def choosing(log_losses: Mapping[str, float]) -> str:
    """What a calibration was chosen among; the raw probabilities ("none") are no candidate."""
    candidates = {name: loss for name, loss in log_losses.items() if name != "none"}
    raw, least = log_losses["none"], min(candidates.values())
    told = ", ".join(f"{name} {loss:.4f}" for name, loss in candidates.items())
    note = " Theirs is the least: here calibrating was not seen to help." if raw < least else ""
    return (
        f"Chosen by cross-fitted log-loss among {told}."
        f" The uncalibrated probabilities, for comparison: {raw:.4f}.{note}"
    )


def bounds(estimate: Estimate) -> str:
    """The interval alone."""
    return f"{figure(estimate.low)} to {figure(estimate.high)}"


def figure(value: float) -> str:
    """Three decimals, and no minus before a zero."""
    return f"{round(value, 3) + 0.0:.3f}"
