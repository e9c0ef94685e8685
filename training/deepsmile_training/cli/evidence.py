"""Command that writes the evidence on a run's predictions."""

from pathlib import Path
from typing import Annotated

import typer


def evidence(
    predictions: Annotated[
        Path,
        typer.Argument(help="CSV: patient, y, p or logit; slide, part; others make subgroups."),
    ],
    out: Annotated[Path, typer.Option(help="HTML to write; the JSON goes beside it.")],
    validation: Annotated[
        Path | None,
        typer.Option(help="CSV that choices are made on; without it, PREDICTIONS, cross-fitted."),
    ] = None,
    compare: Annotated[
        list[str] | None,
        typer.Option(help="NAME=CSV, or CSV, of another model, for DeLong's test; repeatable."),
    ] = None,
    run: Annotated[
        list[str] | None,
        typer.Option(help="PATIENTS=CSV of a run trained on so many, for the learning curve."),
    ] = None,
    of: Annotated[
        str | None,
        typer.Option("--class", help="Of several (columns p_NAME), the one told from the rest."),
    ] = None,
    sensitivity: Annotated[float, typer.Option(help="That rule-out holds.")] = 0.95,
    specificity: Annotated[float, typer.Option(help="That rule-in holds.")] = 0.95,
    title: Annotated[str, typer.Option()] = "Evidence",
    protocol: Annotated[str, typer.Option(help="How the predictions came about.")] = "",
    notice: Annotated[str, typer.Option(help="A banner, such as: Synthetic data.")] = "",
    seed: Annotated[int, typer.Option(min=0, help="Of folds and bootstrap.")] = 0,
) -> None:
    """Write figures with intervals, curves and tables: REPORT.html, and REPORT.json beside it."""
    from deepsmile_training.evidence.making import Tables, evaluate_tables, extras_from
    from deepsmile_training.evidence.page import write_report
    from deepsmile_training.evidence.points import Targets
    from deepsmile_training.evidence.report import Setting, make_report

    targets = Targets(sensitivity, specificity)
    evaluated, choice = evaluate_tables(Tables(predictions, validation, of), targets, seed)
    extras = extras_from(compare or [], run or [], type(evaluated.predictions), of)
    report = make_report(evaluated, choice, Setting(title, protocol, notice, seed), extras)
    beside = write_report(report, out)
    area, scale = report.discrimination.auroc, report.calibration
    look = f", look {report.cohort.look}" if report.cohort.look else ""
    typer.echo(
        f"AUROC {area.value:.3f} ({area.low:.3f} to {area.high:.3f}), ECE"
        f" {scale.raw.ece:.3f}, calibrated ({scale.chosen.method})"
        f" {scale.calibrated.ece:.3f}; {report.cohort.how}{look}"
    )
    typer.echo(f"{out}\n{beside}")
