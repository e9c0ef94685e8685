"""Variants of a bundle: accepted within bounds and scored like their parent, or not written."""

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from deepsmile.backends.onnx import CUDA, OnnxBackend, execution_providers
from deepsmile.bundle import Bundle, load_bundle
from deepsmile.digest import digest_of, digest_of_file, digest_of_slide
from deepsmile.errors import (
    BackendMissing,
    BundleMismatch,
    RequestInvalid,
    SlideUnsupported,
)
from deepsmile.pipeline import SlideSource, extract, score_bag
from deepsmile.precision import CPU_FACTS, Bounds, Kind, precision_of, saturates
from deepsmile.reading import Reader
from deepsmile.triton.config import Target, write_configs
from deepsmile_training.cli.main import commands
from deepsmile_training.variants.gate import BOUNDS, FEWEST, Evidence
from deepsmile_training.variants.make import Outcome, Wish, make_variant
from deepsmile_training.variants.selection import split_slides
from tests.convolving import conv_bundle
from tests.making import make_bundle, tissue_image, write_svs

pytestmark = pytest.mark.slow

SLIDES, TILES = 5, 8
FEW = Evidence(slides=SLIDES - 1, tiles=TILES * (SLIDES - 1))
"""Enough to see how it works."""
HAS_GPU = CUDA in execution_providers()
KINDS = list(Kind) if HAS_GPU else [Kind.INT8]


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of five slides of eight tissue tiles."""
    folder = tmp_path_factory.mktemp("slides")
    for seed in range(SLIDES):
        write_svs(folder / f"{seed}.svs", tissue_image(2100, 1600, seed=seed, tissue=0.8))
    return folder


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of slides that are just enough to judge an encoder by."""
    folder, image = tmp_path_factory.mktemp("many"), tissue_image(1900, 1650, tissue=0.95)
    for number in range(15):
        write_svs(folder / f"{number}.svs", np.roll(image, 8 * number, axis=1), mpp="1.0")
    return folder


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return conv_bundle(tmp_path_factory.mktemp("parent"))


def make(
    parent: Bundle, kind: Kind, slides: Path, out: Path, reader: Reader, **changes: Any
) -> Outcome:
    changes = {"fewest": FEW, **changes}
    wish = Wish(parent, kind, [slides], out, threads=1, command="as a test", **changes)
    return make_variant(wish, reader, lambda what, total: lambda: None)


@pytest.fixture(scope="module")
def variants(
    parent: Bundle, slides: Path, reader: Reader, tmp_path_factory: pytest.TempPathFactory
) -> dict[Kind, Bundle]:
    """All that this machine can judge, beside each other in one repository."""
    out = tmp_path_factory.mktemp("variants")
    made = {kind: make(parent, kind, slides, out, reader).bundle for kind in KINDS}
    return {kind: bundle for kind, bundle in made.items() if bundle is not None}


@pytest.mark.parametrize("kind", KINDS)
def test_an_accepted_variant_is_a_whole_bundle_beside_the_others(
    kind: Kind, parent: Bundle, variants: dict[Kind, Bundle]
) -> None:
    """Its own encoder and card, its parent's heads; the feature contract differs by the encoder."""
    found = load_bundle(variants[kind].root, f"tiny-{kind}")
    assert sorted(found.file.files) == [
        f"tiny-{kind}.card.md",
        f"tiny_encoder_{kind}/1/model.onnx",
        "tiny_head/1/model.onnx",
    ]
    encoder = found.contract.features.encoder
    assert encoder.name == f"tiny-encoder-{kind}"
    assert encoder.sha256 == digest_of_file(found.encoder_path)
    assert found.contract.heads == parent.contract.heads
    same = found.contract.features.model_copy(update={"encoder": parent.contract.features.encoder})
    assert same == parent.contract.features
    assert found.file.notice == parent.file.notice


@pytest.mark.parametrize("kind", KINDS)
def test_a_variant_scores_like_its_parent(
    kind: Kind, parent: Bundle, variants: dict[Kind, Bundle], slides: Path, reader: Reader
) -> None:
    """Through `extract` and `score_bag`, as served; the figures on record are the largest moves."""
    record = precision_of(variants[kind])
    assert record is not None
    moves = []
    judges = split_slides([slides], calibrate=kind is Kind.INT8, judges=FEW.slides)[1]
    for judge in judges:
        scores = []
        for bundle in (parent, variants[kind]):
            backend = OnnxBackend(bundle, threads=1)
            bag = extract(judge, bundle.contract.features, backend, reader).bag
            assert bag is not None
            scores.append(score_bag(bag, bundle.contract.heads[0], bundle, backend))
        raw, calibrated = (
            abs(getattr(scores[0], name) - getattr(scores[1], name))
            for name in ("probability_raw", "probability")
        )
        moves.append((raw, calibrated))
    assert record.shift.heads["redness"].raw == max(raw for raw, _ in moves)
    assert record.shift.heads["redness"].calibrated == max(calibrated for _, calibrated in moves)
    assert 0 < record.shift.score <= 0.005


def test_a_bag_of_the_parent_is_none_of_the_variant(
    parent: Bundle, variants: dict[Kind, Bundle], slide_path: Path, reader: Reader
) -> None:
    backend = OnnxBackend(parent, threads=1)
    bag = extract(SlideSource(slide_path), parent.contract.features, backend, reader).bag
    assert bag is not None
    with pytest.raises(BundleMismatch, match="made under contract"):
        score_bag(bag, parent.contract.heads[0], variants[Kind.INT8], backend)


def test_provenance_has_the_figures_the_bounds_and_the_slides(
    parent: Bundle, variants: dict[Kind, Bundle], slides: Path
) -> None:
    int8 = precision_of(variants[Kind.INT8])
    assert int8 is not None
    digests = sorted(digest_of_slide(path) for path in slides.iterdir())
    assert (int8.kind, int8.how, int8.parent_digest) == ("int8", "7-bit weights", parent.digest)
    assert int8.bounds == BOUNDS
    assert int8.shift.slides == SLIDES - 1
    assert int8.shift.tiles == TILES * (SLIDES - 1)
    assert 0.999 <= int8.shift.cosine_mean < 1
    assert 0.99 <= int8.shift.cosine_min <= int8.shift.cosine_mean
    assert int8.calibration is not None
    assert (int8.calibration.slides, int8.calibration.tiles) == (1, TILES)
    assert int8.judges_digest == digest_of(digests[1:])
    assert int8.refused == ()
    assert variants[Kind.INT8].file.provenance["parent"] == parent.file.provenance


def test_the_card_says_which_precision_and_how_much_it_moved(
    parent: Bundle, variants: dict[Kind, Bundle]
) -> None:
    card, record = variants[Kind.INT8].card(), precision_of(variants[Kind.INT8])
    assert record is not None
    assert card.startswith("# Test bundle, no meaning.\n")
    assert "encoder in int8\n(7-bit weights)" in card
    assert f"| mean cosine of features | {record.shift.cosine_mean:.5f} | >= 0.999 |" in card
    raw = record.shift.heads["redness"].raw
    assert f"| redness: largest change of the raw probability | {raw:.4f} | <= 0.005 |" in card
    assert variants[Kind.INT8].contract.digest in card
    assert card.endswith(parent.card())


def test_made_again_it_has_the_same_digest(
    parent: Bundle, variants: dict[Kind, Bundle], slides: Path, reader: Reader, tmp_path: Path
) -> None:
    """From slides under other names, in another order."""
    renamed = tmp_path / "renamed"
    renamed.mkdir()
    for path in slides.iterdir():
        (renamed / f"{9 - int(path.stem)}.svs").write_bytes(path.read_bytes())
    for kind in KINDS:
        again = make(parent, kind, renamed, tmp_path / "out", reader).bundle
        assert again is not None
        assert again.digest == variants[kind].digest
        assert again.file.files == variants[kind].file.files


def test_a_variant_that_is_too_far_off_is_refused_and_not_written(
    slides: Path, reader: Reader, tmp_path: Path
) -> None:
    """One loud channel takes all of the 256 steps, and the others are rounded away."""
    parent = conv_bundle(tmp_path / "repository", loud=3e3)
    before = sorted(parent.root.rglob("*"))
    outcome = make(parent, Kind.INT8, slides, parent.root, reader)
    assert outcome.bundle is None
    assert re.search(r"mean cosine 0\.\d+, at least 0\.999 is needed", outcome.complaint)
    assert sorted(parent.root.rglob("*")) == before


def test_full_weights_are_tried_where_seven_bits_are_refused(
    slides: Path, reader: Reader, tmp_path: Path
) -> None:
    """Bounds between what the two ways reach; the one refused stays on record."""
    parent = conv_bundle(tmp_path, loud=2)
    out_of_reach = Bounds(cosine_mean=1.1, cosine_min=0, score=1)
    attempts = make(parent, Kind.INT8, slides, tmp_path, reader, bounds=out_of_reach).attempts
    seven, eight, spared = attempts
    assert (seven.how, eight.how) == ("7-bit weights", "8-bit weights")
    assert spared.how == "8-bit weights, first layer in fp32"
    assert seven.shift.cosine_mean < eight.shift.cosine_mean
    between = (seven.shift.cosine_mean + eight.shift.cosine_mean) / 2
    bounds = Bounds(cosine_mean=between, cosine_min=0, score=1)
    made = make(parent, Kind.INT8, slides, tmp_path, reader, bounds=bounds).bundle
    assert made is not None
    record = precision_of(made)
    assert record is not None
    assert (record.how, record.shift, record.refused) == (eight.how, eight.shift, (seven,))
    assert record.needs_vnni is not saturates(CPU_FACTS.read_text())
    assert ("Use it only on CPUs with VNNI" in made.card()) is record.needs_vnni
    assert f"Refused before: 7-bit weights; {seven.shift}." in made.card()


def test_a_server_is_told_of_an_accepted_variant(
    parent: Bundle, slides: Path, reader: Reader, tmp_path: Path
) -> None:
    """Each model has its configuration, for the target that the repository had."""
    root = Path(shutil.copytree(parent.root, tmp_path / "repository"))
    write_configs(root, Target.CPU)
    made = make(load_bundle(root, "tiny"), Kind.INT8, slides, root, reader).bundle
    assert made is not None
    configs = {path.parent.name: path.read_text() for path in root.glob("*/config.pbtxt")}
    assert sorted(configs) == ["tiny_encoder", "tiny_encoder_int8", "tiny_head"]
    assert all("--target cpu`" in text for text in configs.values())
    assert made.contract.features.encoder.sha256 in configs["tiny_encoder_int8"]


def test_too_few_slides_or_tiles_are_no_evidence(
    parent: Bundle, slides: Path, reader: Reader, tmp_path: Path
) -> None:
    with pytest.raises(RequestInvalid, match="5 different ones found, 15 are needed") as raised:
        make(parent, Kind.INT8, slides, tmp_path, reader, fewest=FEWEST)
    assert raised.value.hint == "Give more: 12 must judge, and 3 calibrate."
    more = Evidence(FEW.slides, FEW.tiles + 1)
    with pytest.raises(RequestInvalid, match="have 32 of tissue, 33 are needed"):
        make(parent, Kind.INT8, slides, tmp_path, reader, fewest=more)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not HAS_GPU, reason="fp16 is judged on a GPU")
def test_fp16_that_overflows_is_refused(slides: Path, reader: Reader, tmp_path: Path) -> None:
    """Zero times infinity is no number: as far off as can be."""
    parent = conv_bundle(tmp_path / "repository", loud=1e6)
    outcome = make(parent, Kind.FP16, slides, parent.root, reader)
    assert outcome.bundle is None
    assert outcome.attempts[0].shift.score == 1


@pytest.mark.skipif(HAS_GPU, reason="without a GPU")
def test_fp16_needs_a_gpu_to_judge_it(
    parent: Bundle, slides: Path, reader: Reader, tmp_path: Path
) -> None:
    with pytest.raises(BackendMissing, match="a CPU computes fp16 graphs in fp32"):
        make(parent, Kind.FP16, slides, tmp_path, reader)
    assert not list(tmp_path.iterdir())


def test_a_variant_of_a_variant_is_refused(
    variants: dict[Kind, Bundle], slides: Path, reader: Reader, tmp_path: Path
) -> None:
    with pytest.raises(RequestInvalid, match="tiny-int8 is a variant itself"):
        make(variants[Kind.INT8], Kind.INT8, slides, tmp_path, reader)


def test_another_bundle_s_heads_are_not_overwritten(
    parent: Bundle, slides: Path, reader: Reader, tmp_path: Path
) -> None:
    other = make_bundle(tmp_path, members=3)
    with pytest.raises(RequestInvalid, match="is another bundle's"):
        make(parent, Kind.INT8, slides, tmp_path, reader)
    assert load_bundle(tmp_path, "tiny").digest == other.digest


def test_a_slide_that_cannot_be_read_is_named(
    parent: Bundle, reader: Reader, slides: Path, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("no slide")
    (tmp_path / "0.svs").symlink_to(slides / "0.svs")
    with pytest.raises(SlideUnsupported, match=r"^notes\.txt: "):
        make(parent, Kind.INT8, tmp_path, tmp_path / "out", reader, fewest=Evidence(1, 1))
    assert not (tmp_path / "out").exists()


def run(parent: Bundle, slides: Path, out: Path) -> tuple[int, str]:
    """`deepsmile-train precision` in this process."""
    environment = {
        "DEEPSMILE_MODEL_REPOSITORY": str(parent.root),
        "DEEPSMILE_DATA_DIR": str(out / "data"),
    }
    arguments = ["precision", "--bundle", "tiny", "--precision", "int8", "--slides", str(slides)]
    result = CliRunner().invoke(
        commands, [*arguments, "--out", str(out)], env=environment, catch_exceptions=False
    )
    return result.exit_code, result.output


def test_the_command_prints_the_figures_and_writes_the_bundle(
    parent: Bundle, many: Path, tmp_path: Path
) -> None:
    """And what they were held to."""
    code, output = run(parent, many, tmp_path)
    made = load_bundle(tmp_path, "tiny-int8")
    record = precision_of(made)
    assert record is not None
    assert code == 0
    assert (
        "bounds: no score may move by more than 0.005, cosine of features at least 0.999 on"
        " average and 0.99 for every tile\n"
        f"int8, 7-bit weights: {record.shift}\n"
    ) in output
    assert record.shift.slides == FEWEST.slides
    assert record.shift.tiles >= FEWEST.tiles
    assert f"bundle tiny-int8 {made.digest}" in output
    assert str(many) not in str(made.file.provenance)


def test_the_command_refuses_with_a_code_of_its_own(many: Path, tmp_path: Path) -> None:
    parent = conv_bundle(tmp_path / "repository", loud=3e3)
    code, output = run(parent, many, tmp_path / "out")
    assert code == 3
    assert "bounds: no score may move by more than 0.005" in output
    assert re.search(r"int8, 7-bit weights: on 12 slides \(\d+ tiles\) no score moved by", output)
    assert "precision_refused: mean cosine 0." in output
    assert "Nothing was written; tiny stays as it is." in output
    assert not list((tmp_path / "out").glob("*.bundle.json"))
