"""Examples: the tiles shown are those that the encoder got, and that the head looked at most."""

import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from deepsmile.answer import answer
from deepsmile.backends.onnx import OnnxBackend
from deepsmile.bag import FeatureBag, Features, save_bag
from deepsmile.contract import Head
from deepsmile.errors import RequestInvalid, SlideNotFound
from deepsmile.pipeline import SlideSource, extract, score_bag
from deepsmile.reading import Reader
from deepsmile.slides.slide import RGB
from deepsmile_training.bundling.examples import (
    Originals,
    Surest,
    attention_of,
    cut_tiles,
    example_of,
    examples_of,
    surest,
)
from deepsmile_training.bundling.look import Candidate, TestSlide
from deepsmile_training.bundling.source import Source
from tests.making import make_bundle, tissue_image, write_svs
from tests.training.bundling.conftest import Made

pytestmark = pytest.mark.slow

NAMES = ("p00-a", "p01-a")


@dataclass
class Recorder:
    """An encoder that keeps what it was given and what it made of it."""

    encoder: OnnxBackend
    name: str = "recorder"
    concurrency: int = 1
    tiles: list[RGB] = field(default_factory=list)
    features: list[Features] = field(default_factory=list)

    def encode(self, tiles: RGB) -> Features:
        features = self.encoder.encode(tiles)  # (B, D)
        self.tiles.extend(tiles.copy())
        self.features.extend(features)
        return features


@dataclass(frozen=True)
class Shown:
    """Two real slides, their bags in a cohort, and the pixels that serving's encoder received."""

    candidate: Candidate
    source: Source
    paths: dict[str, Path]
    bags: dict[str, FeatureBag]
    recorder: Recorder

    @property
    def head(self) -> Head:
        return self.candidate.bundle.contract.heads[0]

    def slide(self, name: str, y: int) -> TestSlide:
        bag, bundle = self.bags[name], self.candidate.bundle
        open_head = self.head.model_copy(update={"novelty": None})
        scored = score_bag(bag, open_head, bundle, self.candidate.backend)
        return TestSlide(name[:3], name, y, len(bag.features), scored, novel=False)


@pytest.fixture
def shown(made: Made, source: Source, reader: Reader, tmp_path: Path) -> Shown:
    backend = OnnxBackend(made.bundle, threads=1)
    recorder, contract = Recorder(backend), made.bundle.contract.features
    paths, bags = {}, {}
    folder = tmp_path / "prepared" / "features" / "SimCLR"
    folder.mkdir(parents=True)
    for seed, name in enumerate(NAMES):
        image = tissue_image(3000, 2500, seed=seed, tissue=0.9)
        paths[name] = write_svs(tmp_path / f"{name}.svs", image)
        bags[name] = extract(SlideSource(paths[name]), contract, recorder, reader).need_bag()
        save_bag(bags[name], folder / f"{name}.npz")
    moved = Source(replace(source.prepared, root=tmp_path / "prepared"), source.known)
    return Shown(Candidate(made.bundle, backend), moved, paths, bags, recorder)


def test_the_tiles_are_the_encoder_s_own_and_the_most_attended(
    shown: Shown, reader: Reader
) -> None:
    """Every pixel, before anything is shrunk; the attention is summed member by member."""
    name = NAMES[0]
    bag = shown.bags[name]
    assert len(bag.features) > 12
    slide = shown.slide(name, 1)
    assert slide.scored is not None
    originals = Originals(shown.paths, reader, lambda line: None)
    one = Surest(slide, slide.scored, 1)
    found = example_of(shown.candidate.backend, shown.head, shown.source, one, originals)
    _, attention = shown.candidate.backend.score(shown.head, bag.features)  # (M, N)
    weights = [sum(float(a[n]) for a in attention) / len(attention) for n in range(len(bag.cells))]
    order = sorted(range(len(weights)), key=lambda n: -weights[n])[:8]
    np.testing.assert_allclose(found.weights, [weights[n] for n in order], rtol=1e-12)
    assert len(found.tiles) == 8
    for n, tile in zip(order, found.tiles, strict=True):
        same = [i for i, seen in enumerate(shown.recorder.tiles) if np.array_equal(seen, tile)]
        assert len(same) == 1
        np.testing.assert_array_equal(shown.recorder.features[same[0]], bag.features[n])


def test_title_and_caption_tell_class_and_probability_but_no_name(
    shown: Shown, reader: Reader
) -> None:
    slide = shown.slide(NAMES[0], 1)
    assert slide.scored is not None
    originals = Originals(shown.paths, reader, lambda line: None)
    for called, verdict in ((1, "rightly called msi"), (0, "wrongly called mss")):
        one = Surest(slide, slide.scored.model_copy(update={"label": "mss"}), called)
        found = example_of(shown.candidate.backend, shown.head, shown.source, one, originals)
        assert found.title == f"Slide {shown.bags[NAMES[0]].slide_sha256[:12]}: true class msi"
        p, tiles = slide.scored.probability, len(shown.bags[NAMES[0]].cells)
        assert found.caption == f"Probability of msi {p:.3f}: {verdict}. {tiles} tiles."
        assert NAMES[0] not in found.title + found.caption
    doubtful = Surest(slide, slide.scored.model_copy(update={"label": None}), 1)
    found = example_of(shown.candidate.backend, shown.head, shown.source, doubtful, originals)
    assert "called msi; the label is kept back." in found.caption


def drawn(head: Head, name: str, y: int, raw: float | None, *, novel: bool = False) -> TestSlide:
    scored = None if raw is None else answer(head, np.array([raw]), None)
    return TestSlide(name, name, y, 20, scored, novel)


def test_the_surest_right_and_wrong_answers_are_chosen(made: Made) -> None:
    """Against plain loops; who got no answer is none, and of equal ones the first."""
    head = made.bundle.contract.heads[0]
    rng = np.random.default_rng(0)
    slides = [
        drawn(head, f"s{i}", int(rng.integers(2)), round(float(rng.uniform(0, 1)), 2))
        for i in range(60)
    ]
    slides += [drawn(head, "no", 1, None), drawn(head, "novel", 1, 1.0, novel=True)]
    found = surest(slides, head)
    assert [(one.called, one.slide.y) for one in found] == [(1, 1), (1, 0), (0, 0), (0, 1)]
    for one in found:
        p = [
            slide.scored.probability
            for slide in slides[:60]
            if slide.y == one.slide.y
            and slide.scored is not None
            and (slide.scored.probability >= head.decision_point.threshold) == bool(one.called)
        ]
        assert one.scored.probability == (max(p) if one.called else min(p))
        first = next(s for s in slides if s.y == one.slide.y and s.scored == one.scored)
        assert one.slide == first


def test_only_the_kinds_that_exist_are_chosen(made: Made) -> None:
    head = made.bundle.contract.heads[0]
    slides = [drawn(head, "a", 1, 1.0), drawn(head, "b", 0, 0.0)]
    assert [one.slide.name for one in surest(slides, head)] == ["a", "b"]
    assert surest([drawn(head, "c", 1, None)], head) == []


def test_what_cannot_be_shown_is_named_and_stops_nothing(
    shown: Shown, reader: Reader, tmp_path: Path
) -> None:
    """One is there; of the others one is another slide, one is no slide, and one is missing."""
    name, other = NAMES
    kinds = {"good": name, "changed": name, "garbage": name, "missing": name}
    for kind in kinds:
        bag = tmp_path / "prepared" / "features" / "SimCLR" / f"{kind}.npz"
        shutil.copy(bag.with_name(f"{name}.npz"), bag)
    garbage = tmp_path / "garbage.svs"
    garbage.write_bytes(b"II*\0" + bytes(1000))
    paths = {"good": shown.paths[name], "changed": shown.paths[other], "garbage": garbage}
    places = [(1, 0.99), (0, 0.98), (0, 0.01), (1, 0.02)]
    slides = [drawn(shown.head, kind, y, raw) for kind, (y, raw) in zip(kinds, places, strict=True)]
    lines: list[str] = []
    stages: list[tuple[str, int]] = []
    steps: list[int] = []

    def stage(what: str, total: int):
        stages.append((what, total))
        return lambda: steps.append(1)

    originals = Originals(paths, reader, lines.append)
    (strip,) = examples_of(shown.candidate, shown.head, shown.source, slides, originals, stage)
    assert strip.title.endswith(": true class msi")
    assert len(strip.pictures) == 8
    assert [line.split(" is not shown: ")[0] for line in lines] == [
        "msi: changed", "msi: garbage", "msi: missing",
    ]  # fmt: skip
    assert "not the one that its features were made of" in lines[0]
    assert "no file of that name" in lines[2]
    assert all("\n" not in line for line in lines)
    assert (stages, len(steps)) == ([("msi examples", 4)], 4)


def test_the_same_grid_of_other_pixels_is_not_taken(shown: Shown, reader: Reader) -> None:
    name, other = NAMES
    rows = np.arange(3)
    contract = shown.source.known.features
    with pytest.raises(SlideNotFound, match="not the one"):
        cut_tiles(shown.paths[other], shown.bags[name], rows, reader, contract)
    tiles = cut_tiles(shown.paths[name], shown.bags[name], rows, reader, contract)
    assert tiles.shape == (3, 224, 224, 3)


def test_a_head_that_looks_at_all_tiles_alike_shows_none(shown: Shown, tmp_path: Path) -> None:
    """A mean of tiles, whose attention is 1 / N."""
    (tmp_path / "mean").mkdir()
    mean = make_bundle(tmp_path / "mean")
    with pytest.raises(RequestInvalid, match="alike"):
        attention_of(OnnxBackend(mean, threads=1), mean.contract.heads[0], shown.bags[NAMES[0]])


def test_the_command_names_what_it_cannot_show_and_goes_on(made: Made) -> None:
    """Features were drawn, so the one slide that is there is not theirs."""
    lines = [line for line in made.output.splitlines() if " is not shown: " in line]
    assert lines
    assert {line.split(":")[0] for line in lines} == {"msi", "mhrd"}
    for head in ("msi", "mhrd"):
        assert made.report(head)["attention"] == []
        page = (made.evidence / f"crc-msi.{head}.evidence.html").read_text()
        assert "Where it looked" not in page
    assert made.record["command"].endswith("--slides SLIDES")
