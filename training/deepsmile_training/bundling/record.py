"""Record: everything that a bundle was made of and came to, as its file keeps it."""

from collections import Counter
from pathlib import Path
from typing import Any

from deepsmile.bundle import load_bundle
from deepsmile.digest import digest_of
from deepsmile.triton.models import ENCODER_SUFFIX
from deepsmile_training.bundling.development import Development
from deepsmile_training.bundling.heads import MadeHead
from deepsmile_training.bundling.look import Tested
from deepsmile_training.bundling.plan import Plan
from deepsmile_training.bundling.source import Source
from deepsmile_training.encoders.encoder_file import load_encoder
from deepsmile_training.evaluation import count_covered, rounded
from deepsmile_training.evidence.report import EvidenceReport
from deepsmile_training.metrics import Estimate, auc


def record_of(source: Source, plan: Plan, command: str, encoder: dict[str, Any]) -> dict[str, Any]:
    """What it is made of: with the installed software this is enough to make it again."""
    cohort, split, known = source.prepared.cohort, source.prepared.split, source.known
    return {
        "command": command,
        "plan": plan.model_dump(mode="json"),
        "cohort": {
            "name": cohort.name,
            "digest": cohort.digest,
            "sources": cohort.sources,
            "notes": cohort.notes,
            "patients": len(cohort.patients),
        },
        "split": {"digest": split.digest, "made": split.made, "folds": len(split.folds)},
        "features": {
            "digest": known.digest,
            "slides": len(known.slides),
            "dropped": _reasons(known.dropped),
        },
        "encoder": encoder,
    }


def _reasons(dropped: dict[str, str]) -> dict[str, int]:
    """Why slides have no features, counted; their names may be patients'."""
    return dict(sorted(Counter(why.partition(":")[0] for why in dropped.values()).items()))


def encoder_record(repository: Path, name: str) -> dict[str, Any]:
    """What the repository knows of an encoder: its own file, or the bundle whose it is."""
    if (repository / f"{name}{ENCODER_SUFFIX}").exists():
        file = load_encoder(repository, name).file
        origin = {key: file.provenance.get(key) for key in ("origin", "training")}
        return {"name": name, "file": digest_of(file.model_dump(mode="json")), **origin}
    return {"name": name, "bundle": load_bundle(repository, name).digest}


def head_record(made: MadeHead, source: Source) -> dict[str, Any]:
    """How a head came about, before any test."""
    development, held_out = made.development, made.held_out
    validation = held_out.validation
    return {
        "label": development.label,
        "definition": _definition(source, development),
        "development": {
            "patients": len(validation.y),
            "positives": int(validation.y.sum()),
            "slides": len(held_out.folds),
            "tiles": held_out.tiles,
            "too_small": held_out.too_small,
        },
        "fold_patients": [len(fold) for fold in development.folds],
        "members": [
            rounded({"step": one.step, "validation_auc": one.auc}) for one in made.members.best
        ],
        "out_of_fold_auc": rounded(auc(validation.p, validation.y)),
        "log_losses": rounded(made.choice.log_losses),
        "validation": validation.digest,
        "choice": made.choice.digest,
        "notes": list(made.notes),
    }


def _definition(source: Source, development: Development) -> dict[str, Any]:
    """The two classes, and by a rule where they were cut."""
    rule, cuts = source.prepared.cohort.rules.get(development.label), development.thresholds
    classes = list(development.classes)
    if rule is None or cuts is None:
        return {"classes": classes}
    return {"classes": classes, "rule": rule.model_dump(mode="json"), "cuts": cuts.model_dump()}


def tested_record(made: MadeHead, tested: Tested, report: EvidenceReport) -> dict[str, Any]:
    """What a head came to on the test patients; figures are rounded, the evidence has them all."""
    y = tested.evaluated.predictions.y
    scored = [slide for slide in tested.slides if slide.raw is not None]
    figures = report.discrimination, report.calibration
    found: dict[str, Any] = rounded(
        {
            "patients": len(y),
            "positives": int(y.sum()),
            "slides": len(scored),
            "tiles": sum(slide.tiles for slide in scored),
            "too_small": len(tested.slides) - len(scored),
            "declined": sum(slide.novel for slide in scored),
            "covered": count_covered(tested.answers, made.head, y),
            "uncertain": sum(one.label is None for one in tested.answers),
            "look": tested.evaluated.look,
            "predictions": tested.evaluated.predictions.digest,
            "auroc": _plain(figures[0].auroc),
            "auprc": _plain(figures[0].auprc),
            "brier_raw": _plain(figures[1].raw.brier),
            "brier": _plain(figures[1].calibrated.brier),
            "ece_raw": figures[1].raw.ece,
            "ece": figures[1].calibrated.ece,
            "points": {
                one.point.name: {
                    "sensitivity": _plain(one.sensitivity),
                    "specificity": _plain(one.specificity),
                    "ppv": _plain(one.ppv),
                    "npv": _plain(one.npv),
                }
                for one in report.points
            },
        }
    )
    return found


def _plain(estimate: Estimate | None) -> dict[str, float] | None:
    return None if estimate is None else vars(estimate)
