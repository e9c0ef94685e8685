"""A probe's figures on the card of the encoder that they are of, and of no other."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import pytest

from deepsmile.digest import digest_of_file
from deepsmile.errors import RequestInvalid
from deepsmile.slides.slide import RGB
from deepsmile_training.encoders.probe_report import Probed, ProbeReport
from deepsmile_training.encoders.release import release
from deepsmile_training.encoders.tile_encoder import make_encoder
from deepsmile_training.encoders.weights import digest_of_weights
from deepsmile_training.metrics import Estimate
from tests.training.encoders.conftest import SOURCE, Released, run

pytestmark = pytest.mark.slow


def report_of(sha256: str) -> ProbeReport:
    """A probe of one encoder."""
    share = Estimate(0.5, 0.25, 0.75)
    figure = Probed(
        "some", sha256, "slide", ("a", "b"), 64, 2,
        nearest=share, neighbours=share, linear=share, gain=share,
    )  # fmt: skip
    return ProbeReport(
        store="0" * 64, tiles=64, size_px=224, neighbours=20, table="", figures=(figure,),
        software={},
    )  # fmt: skip


def test_a_probe_of_other_encoders_is_on_no_card(released: Released, tmp_path: Path) -> None:
    """And nothing is written."""
    candidate = replace(released.candidate, probe=report_of("0" * 64))
    with pytest.raises(RequestInvalid, match="the probe is of other encoders: some") as told:
        release(candidate, released.tiles, tmp_path / "out", "export")
    assert "Probe the very encoder" in told.value.hint
    assert not (tmp_path / "out").exists()


def test_a_probe_of_the_exported_graph_is_the_encoders(released: Released, tmp_path: Path) -> None:
    """Exported, probed as it is served, exported again with the figures."""
    probe = report_of(digest_of_file(released.encoder.path))
    again = release(
        replace(released.candidate, probe=probe), released.tiles, tmp_path / "out", "export"
    )
    assert again.file.features == released.encoder.file.features
    card = (again.root / again.file.card).read_text()
    assert "| **some** | slide: a, b; 64 tiles, 2 cases | 0.500 (0.250 to 0.750) |" in card


def test_a_probe_knows_an_encoder_by_all_its_weights() -> None:
    """The normalisation is one; the seed decides them all."""
    encoder, other = make_encoder("timm:test_vit", 1), make_encoder("timm:test_vit", 1)
    assert digest_of_weights(encoder) == digest_of_weights(other)
    assert digest_of_weights(encoder) != digest_of_weights(make_encoder("timm:test_vit", 2))
    other.normalise_by((0.5, 0.5, 0.25), (0.5, 0.5, 0.5))
    assert digest_of_weights(encoder) != digest_of_weights(other)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{}", "store: Field required"),
        ("no json", "Invalid JSON"),
        (None, "No such file"),
        ("a report without digests", "figures.0.sha256: Field required"),
    ],
)
def test_a_malformed_probe_is_refused_before_anything_is_written(
    content: str | None, said: str, tmp_path: Path
) -> None:
    """Nor is anything read: there is no store either."""
    figures = tmp_path / "probe.json"
    if content == "a report without digests":
        old = report_of("0" * 64).model_dump(mode="json")
        del old["figures"][0]["sha256"]
        content = json.dumps(old)
    if content is not None:
        figures.write_text(content)
    arguments = ["export-encoder", SOURCE, "--name", "mine", "--store", tmp_path / "nowhere",
                 "--probe", figures, "--out", tmp_path / "out", "--threads", 1]  # fmt: skip
    with pytest.raises(RequestInvalid, match=f"probe.json: no report of a probe: .*{said}") as told:
        run(*arguments)
    assert "probe --out` again" in told.value.hint
    assert not (tmp_path / "out").exists()


def test_figures_have_a_place_before_they_are_made(tmp_path: Path) -> None:
    for place in (tmp_path / "nowhere" / "probe.json", tmp_path):
        with pytest.raises(RequestInvalid, match="--out"):
            run("probe", SOURCE, "--store", tmp_path / "none", "--out", place, "--threads", 1)


def test_the_classes_of_kathers_layout_are_asked(some_tiles: RGB, tmp_path: Path) -> None:
    """TCGA-CRCk: SPLIT/CLASS/blk-CODE-BARCODE.png; the class by other patients."""
    for number, tile in enumerate(some_tiles[:24]):
        patient, kind = number // 4, ("MSS", "MSIMUT")[number // 4 % 2]
        folder = tmp_path / "images" / "CRC_DX_TRAIN" / kind
        folder.mkdir(parents=True, exist_ok=True)
        name = f"blk-{number:04}-TCGA-AA-{3400 + patient}-01Z-00-DX1.png"
        cv2.imwrite(str(folder / name), tile)
    run("tiles", tmp_path / "images", "--images", "--out", tmp_path / "store")
    said = "class: MSIMUT, MSS; 24 tiles, 6 cases"
    for label in ([], ["--label", "class"]):
        table = run("probe", SOURCE, "--store", tmp_path / "store", "--threads", 1, *label)
        assert said in table
        assert ("slide: 6 values" in table) is (not label)
        assert "split:" not in table
