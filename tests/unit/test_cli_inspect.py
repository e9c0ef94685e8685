"""`deepsmile inspect` and `deepsmile doctor`."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from deepsmile.backends.onnx import CPU, CUDA, execution_providers
from deepsmile.broker import Broker
from deepsmile.cli.doctor import Finding, examine, execution_provider
from deepsmile.settings import Settings
from tests.making import make_bundle, tissue_image, write_svs
from tests.shell import ABSTAINED, ERROR, OK, Run


@pytest.mark.slow
def test_inspect_shows_the_plan_and_draws_the_tissue(
    run: Run, slide_path: Path, tmp_path: Path
) -> None:
    code, out, _ = run("inspect", slide_path, "--preview", tmp_path / "tissue.png")
    assert code == OK
    for text in ("cucim 26.10", "2100 x 1600, 525 x 400", "0.5 x 0.5 um (aperio)", "4 x 3 = 12"):
        assert text in out
    assert "cost here: reading" in out
    image = cv2.imread(str(tmp_path / "tissue.png"))
    assert image is not None
    assert image.shape == (3 * 32, 4 * 32, 3)


@pytest.mark.slow
def test_inspect_of_bare_glass_counts_no_tissue(
    run: Run, empty_slide: Path, tmp_path: Path
) -> None:
    code, out, _ = run("inspect", empty_slide, "--preview", tmp_path / "tissue.png")
    assert code == OK
    assert "2 x 2 = 4, 0 candidates" in out
    assert (tmp_path / "tissue.png").exists()


@pytest.mark.slow
def test_inspect_of_a_slide_smaller_than_a_tile_draws_nothing(run: Run, tmp_path: Path) -> None:
    path = write_svs(tmp_path / "slide.svs", tissue_image(300, 300), levels=1)
    code, out, _ = run("inspect", path, "--preview", tmp_path / "tissue.png")
    assert code == OK
    assert "0 x 0 = 0, 0 candidates" in out
    assert not (tmp_path / "tissue.png").exists()


@pytest.mark.slow
def test_inspect_of_another_stain_says_so(run: Run, tmp_path: Path) -> None:
    brown = np.full((1100, 1100, 3), (150, 105, 70), np.uint8)
    code, out, _ = run("inspect", write_svs(tmp_path / "slide.svs", brown))
    assert code == ABSTAINED
    assert "not_he: only 0% of the stained pixels have a hue of H&E" in out
    assert "send the H&E slide of the block" in out


def test_doctor_finds_a_whole_installation(run: Run) -> None:
    code, out, _ = run("doctor")
    assert code == OK
    for text in ("deepsmile", "cucim", "openslide", "onnxruntime", "bundle tiny", "disk"):
        assert text in out
    assert "broken" not in out


def test_a_narrow_terminal_cuts_nothing_that_doctor_found(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("DEEPSMILE_DEFAULT_BUNDLE", "a-bundle-of-a-long-name-that-is-not-there")
    _, out, _ = run("doctor")
    rows = [line.split("│") for line in out.splitlines() if line.startswith("│")]
    found = "".join(row[3].strip() for row in rows)
    assert "a-bundle-of-a-long-name-that-is-not-there" in found
    assert "…" not in out


def test_doctor_says_why_a_bundle_is_in_fp32(tmp_path: Path) -> None:
    """No variant was made, or none was accepted; nothing tells the two apart afterwards."""
    kind = "fp16" if CUDA in execution_providers() else "int8"

    def advice() -> str:
        settings = Settings(model_repository=tmp_path, default_bundle="tiny")
        (found,) = (one for one in examine(settings) if one.what == "bundle tiny")
        assert (found.state, found.found.rpartition("; ")[2]) == ("ok", "fp32")
        return found.advice

    make_bundle(tmp_path)
    told = f"fp32: no accepted {kind} variant here; `deepsmile-train precision` tries one"
    assert advice() == told
    make_bundle(tmp_path, f"tiny-{kind}")
    assert advice() == ""


@pytest.mark.parametrize(
    ("installed", "loaded", "state", "told"),
    [
        ([CUDA, CPU], [CUDA, CPU], "ok", f"{CUDA} will be used"),
        ([CUDA, CPU], [CPU], "broken", f"{CUDA} does not load; {CPU} will be used"),
        ([CPU], [CPU], "ok", f"{CPU} will be used"),
        ([], [], "broken", "not installed"),
    ],
)
def test_doctor_tells_what_loads_from_what_is_installed(
    installed: list[str], loaded: list[str], state: str, told: str
) -> None:
    found = execution_provider(installed, loaded)
    assert (found.state, found.found) == (state, told)


def test_doctor_finds_a_broken_bundle(
    run: Run, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = Path(shutil.copytree(repository, tmp_path / "copied"))
    (copied / "tiny.card.md").unlink()
    monkeypatch.setenv("DEEPSMILE_MODEL_REPOSITORY", str(copied))
    code, out, _ = run("doctor")
    assert code == ERROR
    assert "tiny.card.md is missing" in out


def test_doctor_asks_the_broker_that_was_named(tmp_path: Path) -> None:
    socket = tmp_path / "valkey.sock"
    settings = Settings(broker_url=f"redis+socket://{socket}")

    def found() -> Finding:
        return next(one for one in examine(settings) if one.what.endswith("broker"))

    broker = Broker(socket)
    broker.start()
    try:
        assert (found().what, found().state) == ("broker", "ok")
        assert found().found == "answers; 0 messages wait"
    finally:
        broker.stop()
    assert found().state == "broken"
    assert found().found.startswith("the broker does not answer: ")
    assert "DEEPSMILE_BROKER_URL" in found().advice


def test_doctor_misses_the_default_bundle(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPSMILE_DEFAULT_BUNDLE", "[/red]")
    code, out, _ = run("doctor")
    assert code == ERROR
    assert "no '[/red]'" in out


def test_a_preview_that_cannot_be_written_is_told_before_the_work(run: Run, tmp_path: Path) -> None:
    code, _, err = run("inspect", "absent.svs", "--preview", tmp_path / "no" / "tissue.png")
    assert code == ERROR
    assert "tissue.png cannot be written" in err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_preview_that_is_not_written_after_all_comes_after_the_plan(
    run: Run, slide_path: Path
) -> None:
    code, out, err = run("inspect", slide_path, "--preview", "/dev/full")
    assert code == ERROR
    assert "cost here: reading" in out
    assert "/dev/full was not written: No space left on device" in err
