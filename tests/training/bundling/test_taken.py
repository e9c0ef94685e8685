"""A name and version is one bundle: made again it is the same, and nothing else takes its place."""

import shutil
from pathlib import Path

import pytest

from deepsmile.bundle import load_bundle, write_bundle
from deepsmile.errors import RequestInvalid
from deepsmile_training.bundling.places import check_name
from deepsmile_training.bundling.plan import Plan
from deepsmile_training.encoders.encoder_file import RepositoryEncoder
from tests.training.bundling.conftest import Made, call

pytestmark = pytest.mark.slow


def test_the_very_same_command_again_makes_the_very_same_bundle(
    made: Made, encoder: RepositoryEncoder, config: Path, tmp_path: Path
) -> None:
    """So it may be given again, and jobs of the bundle that is there lose nothing."""
    out = Path(shutil.copytree(made.bundle.root, tmp_path / "repository"))
    options = ["--extractor", "SimCLR", "--label", "MSI", "--label", "mHRD", "--name", "crc-msi"]
    options += ["--config", config, "--out", out, "--evidence", tmp_path / "evidence"]
    options += ["--slides", made.prepared.parent / "slides", "--novelty-rate", 0.05]
    result = call(encoder, made.prepared, *options)
    assert result.exit_code == 0, result.output
    assert load_bundle(out, "crc-msi").digest == made.bundle.digest


def test_a_version_that_is_taken_is_not_replaced_by_another_bundle(
    made: Made, encoder: RepositoryEncoder, config: Path, tmp_path: Path
) -> None:
    """Its waiting jobs and its reports are of its digest; nothing is trained, nothing written."""
    out = Path(shutil.copytree(made.bundle.root, tmp_path / "repository"))
    words = ["--extractor", "SimCLR", "--label", "MSI", "--label", "mHRD", "--name", "crc-msi"]
    words += ["--config", config, "--out", out, "--novelty-rate", 0.05, "--coverage", 0.85]
    with pytest.raises(RequestInvalid, match="crc-msi 1 is there, made with another command, plan"):
        call(encoder, made.prepared, *words)
    assert load_bundle(out, "crc-msi").digest == made.bundle.digest


def test_a_version_is_taken_for_good_once_another_has_replaced_it(
    made: Made, tmp_path: Path
) -> None:
    """Under its own name and version a superseded bundle still answers for its jobs."""
    out = Path(shutil.copytree(made.bundle.root, tmp_path / "repository"))
    record = {key: made.record[key] for key in ("plan", "split")}
    plan = Plan.model_validate(made.record["plan"])
    content = made.bundle.file.model_dump(mode="json", exclude={"digest"})
    write_bundle(out, {**content, "version": "2"})
    other = record | {"split": {"digest": "another"}}
    check_name(out, plan, record)
    with pytest.raises(RequestInvalid, match="crc-msi 1 is there, made with another split") as it:
        check_name(out, plan, other)
    assert "--version 2" in it.value.hint
    check_name(out, plan.model_copy(update={"version": "3"}), other)
    check_name(out, plan.model_copy(update={"name": "free"}), other)
