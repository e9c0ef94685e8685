"""`deepsmile-train tiles`: what it says, and how it ends."""

from pathlib import Path
from typing import Literal

import pytest
import typer
from typer.testing import CliRunner, Result

from deepsmile.errors import RequestInvalid
from deepsmile_training.cli.tiles import tiles
from deepsmile_training.cohorts.cohort import Patient, make_cohort
from deepsmile_training.cohorts.splitting import SplitPlan, make_split
from deepsmile_training.cohorts.untouched import hashed_slide, untouched_by
from deepsmile_training.prepared.prepared import Prepared, open_prepared
from deepsmile_training.tilesets.recipe import SlideRules
from deepsmile_training.tilesets.store import open_store
from tests.training.conftest import PaintedSlide
from tests.training.tilesets.conftest import tile_pixels, write_image

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPSMILE_DATA_DIR", str(tmp_path / "data"))


def run(*arguments: object) -> Result:
    app = typer.Typer()
    app.command()(tiles)
    return CliRunner().invoke(app, [str(one) for one in arguments], catch_exceptions=False)


def test_slides_are_packed_and_counted(painted: dict[str, PaintedSlide], tmp_path: Path) -> None:
    folder, out = tmp_path / "slides", tmp_path / "store"
    folder.mkdir()
    (folder / "a.svs").write_bytes(painted["aperio"].path.read_bytes())
    (folder / "b.svs").write_bytes(b"no slide")
    (tmp_path / "slides.csv").write_text("slide,case\na,P1\nb,P1\nc,P2\n")
    given = (folder, "--out", out, "--manifest", tmp_path / "slides.csv", "--max-tiles", 3)
    looked = run(*given, "--dry-run")
    assert looked.exit_code == 0
    assert "left out: c: slide_not_found" in looked.output
    assert "2 slides (1 left out), about 3 tiles, 0.00 GB of" in looked.output
    assert not out.exists()
    result = run(*given)
    assert result.exit_code == 0
    assert "dropped b: slide_unsupported, " in result.output
    assert "1 slides of 1 cases, 3 tiles; dropped 2 (1 slide_not_found, 1 slide_unsup" in (
        result.output
    )
    assert f"store {open_store(out).digest}" in result.output


def test_a_bundle_s_contract_cuts_the_tiles(
    painted: dict[str, PaintedSlide], tmp_path: Path
) -> None:
    """The demo bundle's rules are the project's, so the pixels are equal, whatever its encoder."""
    slide = painted["generic"].path
    given = (slide, "--encoding", "jpeg", "--out")
    assert run(*given, tmp_path / "one").exit_code == 0
    assert run(*given, tmp_path / "two", "--bundle", "demo").exit_code == 0
    assert open_store(tmp_path / "one").digest == open_store(tmp_path / "two").digest


def test_tile_images_take_cases_and_labels_from_the_table_beside_them(
    image_folder: Path, tmp_path: Path
) -> None:
    (image_folder / "slides.csv").write_text("slide,case,organ\nslide0,P1,colon\nslide1,P1,lung\n")
    result = run(image_folder, "--images", "--out", tmp_path / "store")
    assert "2 slides of 1 cases, 5 tiles; dropped 1 (1 not_listed)" in result.output
    store = open_store(tmp_path / "store")
    assert [slide.labels for slide in store.slides] == [{"organ": "colon"}, {"organ": "lung"}]
    assert store.file.recipe.encoding == "files"


def test_a_dry_run_of_images_counts_them(image_folder: Path, tmp_path: Path) -> None:
    write_image(image_folder / "slide0" / "odd.jpg", tile_pixels(0, px=100))
    result = run(image_folder, "--images", "--out", tmp_path / "store", "--dry-run")
    assert "3 slides (0 left out), about 9 tiles, 0.00 GB" in result.output
    assert not (tmp_path / "store").exists()


def test_many_reasons_are_counted_and_the_first_are_shown(
    image_folder: Path, tmp_path: Path
) -> None:
    for number in range(15):
        (image_folder / "slide0" / f"bad{number:02}.jpg").write_bytes(b"bad")
    result = run(image_folder, "--images", "--out", tmp_path / "store")
    assert "dropped slide0/bad09.jpg: tile_unreadable" in result.output
    assert "bad10" not in result.output
    assert "... and 5 more; store.json lists them all" in result.output
    assert "dropped 15 (15 tile_unreadable)" in result.output


def test_wrong_wishes_are_refused(image_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestInvalid, match="no source"):
        run("--out", tmp_path / "store")
    with pytest.raises(RequestInvalid, match="files is for tile images only"):
        run(image_folder, "--out", tmp_path / "store", "--encoding", "files")
    with pytest.raises(RequestInvalid, match="no tile to pack: no slide and no tile image"):
        run(image_folder, "--out", tmp_path / "store")
    with pytest.raises(RequestInvalid, match="no tile to pack: no slide and no tile image"):
        run(image_folder, "--out", tmp_path / "store", "--dry-run")
    with pytest.raises(RequestInvalid, match="tissue: only for slides"):
        run(image_folder, "--images", "--out", tmp_path / "store", "--tissue", "none")
    with pytest.raises(RequestInvalid, match="tissue: only for slides"):
        run(image_folder, "--bundle", "demo", "--out", tmp_path / "store", "--tissue", "none")
    with pytest.raises(RequestInvalid, match="fold: of no split"):
        run(image_folder, "--images", "--out", tmp_path / "store", "--fold", 0)


def test_a_named_rule_for_background_cuts_the_tiles(
    painted: dict[str, PaintedSlide], tmp_path: Path
) -> None:
    """Without any, every tile of the grid is one; the store keeps the rule for the export."""
    slide = painted["generic"].path
    for name in ("default", "none"):
        assert run(slide, "--out", tmp_path / name, "--tissue", name).exit_code == 0
    rules = [open_store(tmp_path / name).file.recipe.rules for name in ("default", "none")]
    assert [rule.contract.tissue.rule for rule in rules if isinstance(rule, SlideRules)] == [
        "grey_sobel",
        "none",
    ]
    assert len(open_store(tmp_path / "default")) < len(open_store(tmp_path / "none"))


def cohort_with(root: Path, *, kind: Literal["nested", "fixed-test"]) -> Prepared:
    """Twelve patients of two slides, s0 to s23."""
    patients = [
        Patient(name=f"p{i:02}", slides=(f"s{2 * i}", f"s{2 * i + 1}"), labels={"y": "ab"[i % 2]})
        for i in range(12)
    ]
    cohort = make_cohort("drawn", patients, classes={"y": ("a", "b")})
    cohort.write(root / "cohort.json")
    make_split(cohort, SplitPlan(kind=kind, folds=3, labels=("y",))).write(root / "split.json")
    return open_prepared(root)


@pytest.mark.parametrize(("kind", "fold"), [("fixed-test", None), ("nested", 1), ("nested", 2)])
def test_slides_of_test_patients_are_left_out(
    kind: Literal["nested", "fixed-test"], fold: int | None, tmp_path: Path
) -> None:
    """Paper, Algorithm 1: an encoder learns from training and validation patients only."""
    prepared = cohort_with(tmp_path / "prepared", kind=kind)
    images = tmp_path / "images"
    for i in range(24):
        write_image(images / f"s{i}" / "a.png", tile_pixels(i))
    write_image(images / "stranger" / "a.png", tile_pixels(30))
    given = (images, "--images", "--out", tmp_path / "store")
    assert run(*given).exit_code == 0
    assert len(open_store(tmp_path / "store")) == 25
    chosen = () if fold is None else ("--fold", fold)
    result = run(*given, "--prepared", prepared.root, *chosen)
    tested = prepared.split.folds[fold or 0].test
    slides = {slide for name in tested for slide in prepared.cohort.by_name[name].slides}
    everything = {"stranger", *prepared.cohort.patient_of_slide}
    store = open_store(tmp_path / "store")
    assert {slide.name for slide in store.slides} == everything - slides
    assert f"({len(slides)} test_patient)" in result.output
    untouched = untouched_by(prepared.cohort, prepared.split, fold)
    hashed = [hashed_slide(name, name) for name in everything]
    assert untouched.count(hashed) == len(tested)
    assert untouched.count(hashed_slide(slide.name, slide.case) for slide in store.slides) == 0


def test_a_slide_is_a_test_patient_s_by_its_barcode_or_its_other_spelling(tmp_path: Path) -> None:
    """The cohort lists another slide of that patient; another file has the GDC's UUID."""
    prepared = cohort_with(tmp_path, kind="fixed-test")
    untouched = untouched_by(prepared.cohort, prepared.split)
    name = prepared.split.folds[0].test[0]
    slide = prepared.cohort.by_name[name].slides[0]
    uuid = "0a1b2c3d-0000-1111-2222-333344445555"
    assert untouched.has(hashed_slide("unlisted", name))
    assert untouched.has(hashed_slide(f"{slide}.{uuid}.svs", "unknown"))
    assert not untouched.has(hashed_slide("unlisted", "unknown"))
    with pytest.raises(RequestInvalid, match="no fold 3: the split has 3"):
        untouched_by(prepared.cohort, prepared.split, 3)
