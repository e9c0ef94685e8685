"""An encoder in a model repository: what is written is what was measured."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from deepsmile.backends.onnx import OnnxEncoder
from deepsmile.digest import digest_of_file
from deepsmile.errors import BundleCorrupt, BundleUnknown, RequestInvalid
from deepsmile.pipeline import SlideSource, extract
from deepsmile.reading import Reader
from deepsmile.slides.slide import RGB
from deepsmile.triton.config import CONFIG_FILE
from deepsmile_training.contracts import feature_contract
from deepsmile_training.encoders.checkpoint import load_checkpoint, save_checkpoint
from deepsmile_training.encoders.encoder_file import load_encoder, pretrained_on
from deepsmile_training.encoders.history import history_of
from deepsmile_training.encoders.real_tiles import contract_of, tiles_of_folder
from deepsmile_training.encoders.release import candidate_of, put_model, release
from deepsmile_training.encoders.tile_encoder import TileEncoder, make_encoder
from deepsmile_training.encoders.weights import digest_of_weights
from deepsmile_training.tilesets.recipe import ImageRules, TileRecipe, slide_rules
from deepsmile_training.tilesets.store import StoreFile, TileStore
from tests.training.conftest import PaintedSlide
from tests.training.encoders.conftest import SOURCE, Released, run
from tests.training.tilesets.hostile_images import png_of

pytestmark = pytest.mark.slow

REAL_TILES = Path(__file__).parents[4] / "shared/data/ssl_tiles/tiles"


class InTorch:
    """The same encoder as serving would call it, without an export."""

    name, concurrency = "torch", 1

    def __init__(self, encoder: TileEncoder) -> None:
        self._encoder = encoder.eval()

    def encode(self, pixels: RGB) -> np.ndarray:
        with torch.no_grad():
            return self._encoder(torch.from_numpy(pixels)).numpy()


def test_the_graph_is_torchs_equal(released: Released) -> None:
    """Measured again: features of all tiles within 1e-4, one by one and all at once."""
    graph = OnnxEncoder(released.encoder.path, threads=1)
    expected = InTorch(released.candidate.encoder).encode(released.tiles)
    ones = np.concatenate([graph.encode(released.tiles[i : i + 1]) for i in range(64)])
    for found in (ones, graph.encode(released.tiles)):
        np.testing.assert_allclose(found, expected, atol=1e-4, rtol=0)
    agreement = released.encoder.file.provenance["export"]["agreement"]
    difference = max(
        np.abs(ones - expected).max(), np.abs(graph.encode(released.tiles) - expected).max()
    )
    assert agreement["difference"] >= float(difference) > 0
    assert agreement["largest"] == pytest.approx(np.abs(expected).max())
    assert 0.999 < agreement["cosine_fp16"] < 1


def test_features_of_a_slide_are_torchs(
    released: Released, painted: dict[str, PaintedSlide], reader: Reader
) -> None:
    """Through `deepsmile.pipeline.extract`, as a slide is served."""
    contract, slide = released.encoder.file.features, SlideSource(painted["aperio"].path)
    graph = OnnxEncoder(released.encoder.path, threads=1)
    served = extract(slide, contract, graph, reader).need_bag()
    expected = extract(slide, contract, InTorch(released.candidate.encoder), reader).need_bag()
    assert len(served.features) >= 9
    assert np.array_equal(served.cells, expected.cells)
    np.testing.assert_allclose(served.features, expected.features, atol=1e-4, rtol=0)


def test_all_that_decides_features_is_recorded(released: Released) -> None:
    file = released.encoder.file
    assert file.backbone == "timm:test_vit"
    done = file.preprocessing
    assert (done.mean, done.deviation, done.input_px) == ((0.5,) * 3, (0.5,) * 3, 160)
    encoder = file.features.encoder
    assert encoder.model_dump() == {
        "name": "vit",
        "sha256": digest_of_file(released.encoder.path),
        "feature_dim": 64,
    }
    assert file.features == feature_contract(encoder)
    config = (released.encoder.root / "vit_encoder/config.pbtxt").read_text()
    assert f'key: "deepsmile.sha256.1" value {{ string_value: "{encoder.sha256}" }}' in config
    assert '{ name: "features" data_type: TYPE_FP32 dims: [ 64 ] }' in config


def test_the_card_says_what_it_is_and_how_it_was_measured(released: Released) -> None:
    card = (released.encoder.root / released.encoder.file.card).read_text()
    agreement = released.encoder.file.provenance["export"]["agreement"]
    for said in (
        "Research use only.",
        "resized bilinearly to 160 px",
        "kind: random",
        "Not trained by this project",
        f"differ by at most {agreement['difference']:.1e} in fp32",
        released.encoder.file.features.digest,
        f"torch {torch.__version__.partition('+')[0]}",
    ):
        assert said in card


@pytest.mark.parametrize("place", ["vit_encoder/1/model.onnx", "vit.encoder.card.md"])
def test_a_changed_byte_is_found(released: Released, place: str, tmp_path: Path) -> None:
    root = shutil.copytree(released.encoder.root, tmp_path / "copy")
    with (root / place).open("ab") as file:
        file.write(b" ")
    with pytest.raises(
        BundleCorrupt, match=f"{place}: SHA-256 is [0-9a-f]{{64}}, the encoder says"
    ):
        load_encoder(root, "vit")


def test_changed_words_are_found(released: Released, tmp_path: Path) -> None:
    root = shutil.copytree(released.encoder.root, tmp_path / "copy")
    path = root / "vit.encoder.json"
    path.write_text(path.read_text().replace('"input_px": 160', '"input_px": 224'))
    with pytest.raises(BundleCorrupt, match="does not match its digest"):
        load_encoder(root, "vit")


def test_an_unknown_encoder_is_told_the_known_ones(released: Released) -> None:
    with pytest.raises(BundleUnknown, match="no encoder named 'other'; this repository has: vit"):
        load_encoder(released.encoder.root, "other")


def test_another_encoder_of_that_name_is_never_overwritten(
    released: Released, tmp_path: Path
) -> None:
    """The same one may be put again."""
    model = tmp_path / "vit_encoder/1/model.onnx"
    put_model(released.encoder.path, model)
    put_model(released.encoder.path, model)
    assert digest_of_file(model) == digest_of_file(released.encoder.path)
    model.write_bytes(b"another")
    with pytest.raises(RequestInvalid, match="exists, and is another encoder"):
        put_model(released.encoder.path, model)
    assert model.read_bytes() == b"another"


def test_a_name_that_no_contract_takes_is_refused_before_the_export(some_tiles: RGB) -> None:
    with pytest.raises(RequestInvalid, match="name 'My encoder': String should match"):
        candidate_of("My encoder", SOURCE, some_tiles)


def test_commands_go_from_tiles_to_a_card_with_a_probe(
    tile_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`tiles`, `probe`, `export-encoder` of a run's checkpoint with its history."""
    store, figures, out = (tile_folder / name for name in ("store", "probe.json", "out"))
    monkeypatch.chdir(tile_folder)
    monkeypatch.setenv("DEEPSMILE_MODEL_REPOSITORY", str(out))
    manifest = tile_folder / "slides.csv"
    run("tiles", tile_folder / "tiles", "--images", "--manifest", manifest, "--out", store)
    checkpoint = tile_folder / "encoder.pt"
    save_checkpoint(make_encoder("timm:test_vit", 1), checkpoint)
    told = {"encoder": {"sha256": digest_of_file(checkpoint)}, "method": "simclr", "steps": 30}
    told |= {"tiles": {"number": 64, "slides": [["a" * 16, "b" * 16]]}}
    (tile_folder / "encoder.json").write_text(json.dumps(told))
    log = [json.dumps({"step": step, "loss": 5 - step / 10}) for step in range(31)]
    (tile_folder / "metrics.jsonl").write_text("\n".join(log) + "\n")
    sources = [SOURCE, checkpoint]
    table = run("probe", *sources, "--store", store, "--size", 96, "--out", figures, "--threads", 1)
    assert "64 tiles, shown at 96 px" in table
    assert f"| {SOURCE} seed 0 | slide: 4 values; 64 tiles, 2 cases |" in table
    assert "organ: organ0, organ1; 64 tiles, 2 cases" in table
    neighbour = out / "neighbour" / CONFIG_FILE
    neighbour.parent.mkdir(parents=True)
    neighbour.write_text("# Written by `deepsmile export --target cpu`; export again\n")
    run("export-encoder", checkpoint, "--name", "mine", "--store", store, "--probe", figures,
        "--data", "64 painted tiles, nobody's.", "--threads", 1)  # fmt: skip
    encoder = load_encoder(out, "mine")
    assert "--target cpu`" in (out / "mine_encoder" / CONFIG_FILE).read_text()  # as before
    assert encoder.file.provenance["training"]["method"] == "simclr"
    assert pretrained_on(out, "mine") == [["a" * 16, "b" * 16]]
    card = (out / encoder.file.card).read_text()
    assert "## Training\n\n64 painted tiles, nobody's.\n\n- encoder: " in card
    assert '- method: simclr\n- steps: 30\n- tiles: `{"number": 64}`\n\n| step | loss |' in card
    assert "|--:|--:|\n| 0 | 5 |" in card
    assert "| 30 | 2 |" in card
    assert f"| **{tile_folder.name}/encoder.pt** | slide: 4 values; 64 tiles, 2 cases |" in card
    assert f"| {SOURCE} seed 0 | slide: 4 values; 64 tiles, 2 cases |" in card
    assert card.replace("**", "").count(json.loads(figures.read_text())["table"]) == 1
    weights = encoder.file.provenance["export"]["weights_sha256"]
    assert weights == digest_of_weights(load_checkpoint(checkpoint))
    assert f"- weights: `{weights}`" in card
    assert "64 tiles of store `" in card
    assert "`, shown to the encoder at 96 px." in card
    assert str(tile_folder) not in card


def test_a_card_that_cannot_be_written_leaves_no_model(released: Released, tmp_path: Path) -> None:
    """What it says is put together before the first file is."""
    candidate = replace(
        released.candidate, provenance={"training": {"loss_curve": [["no number"]]}}
    )
    with pytest.raises(ValueError, match="not enough values"):
        release(candidate, released.tiles, tmp_path / "out", "export")
    assert not (tmp_path / "out").exists()


def test_a_history_of_another_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "encoder.pt").write_bytes(b"one")
    (tmp_path / "encoder.json").write_text(json.dumps({"encoder": {"sha256": "0" * 64}}))
    with pytest.raises(RequestInvalid, match="beside it tells of 0000"):
        history_of(tmp_path / "encoder.pt")


def test_too_few_tiles_are_refused(tile_folder: Path) -> None:
    with pytest.raises(RequestInvalid, match="has 16 tiles; 64 are needed"):
        tiles_of_folder(tile_folder / "tiles/slide0")


@pytest.mark.parametrize("data", [b"no image", png_of(900_000, 900_000)], ids=["text", "huge"])
def test_an_image_that_is_no_tile_is_named(data: bytes, tile_folder: Path) -> None:
    (tile_folder / "tiles/slide0/00.png").write_bytes(data)
    with pytest.raises(RequestInvalid, match=r"00.png: no image; a tile is 224 x 224 px"):
        tiles_of_folder(tile_folder / "tiles")


@pytest.mark.skipif(not REAL_TILES.is_dir(), reason="no real tiles beside this checkout")
def test_the_graph_is_torchs_equal_on_real_tissue(released: Released) -> None:
    real = tiles_of_folder(REAL_TILES)
    found = OnnxEncoder(released.encoder.path, threads=1).encode(real)
    expected = InTorch(released.candidate.encoder).encode(real)
    np.testing.assert_allclose(found, expected, atol=1e-4, rtol=0)
    assert len(np.unique(expected.round(3), axis=0)) == len(real)


def test_the_rules_of_the_store_are_the_encoders(tmp_path: Path) -> None:
    """All but the budget, which is how many tiles of a slide training used."""
    rules = slide_rules(max_tiles=5)
    wide = rules.model_copy(update={"mpp": rules.mpp.model_copy(update={"max": 9.0})})
    recipe = TileRecipe(encoding="raw", rules=wide)
    found = contract_of(TileStore(tmp_path, StoreFile(complete=True, recipe=recipe)))
    assert found is not None
    assert (found.mpp.max, found.budget.max_tiles) == (9.0, None)
    assert found.model_dump(exclude={"mpp"}) == feature_contract(found.encoder).model_dump(
        exclude={"mpp"}
    )
    images = TileRecipe(encoding="files", rules=ImageRules())
    assert contract_of(TileStore(tmp_path, StoreFile(complete=True, recipe=images))) is None
