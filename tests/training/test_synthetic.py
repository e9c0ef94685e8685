"""Synthetic slides: the label is in the arrangement of sizes and nowhere else."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from deepsmile.digest import digest_of_file
from deepsmile.frames import PlanFacts, ReadCount
from deepsmile.reading import Reader
from deepsmile_training.contracts import feature_contract
from deepsmile_training.demo.cohort import draw_cohort
from deepsmile_training.demo.pretext import UNTRAINED
from deepsmile_training.synthetic.anatomy import TILE_UM, draw_anatomy
from deepsmile_training.synthetic.files import make_slides
from deepsmile_training.synthetic.nuclei import Nuclei, draw_nuclei
from deepsmile_training.synthetic.slide import make_slide, tile_truth
from deepsmile_training.synthetic.specimen import BORDER_PER_MM2, SlideSpec, draw_spec
from tests.training.conftest import PaintedSlide, small_spec

pytestmark = pytest.mark.slow

SEEDS = range(8)


def nuclei_of(spec: SlideSpec) -> Nuclei:
    return draw_nuclei(spec, draw_anatomy(spec))


def test_flipping_heterogeneity_changes_nothing_else_in_the_specimen() -> None:
    """No nuisance can leak the label: it is drawn without it."""
    one, other = (asdict(draw_spec(3, heterogeneous=h, cellular=True)) for h in (False, True))
    assert {key for key in one if one[key] != other[key]} == {"heterogeneous"}


def test_flipping_cellularity_changes_only_the_density() -> None:
    one, other = (asdict(draw_spec(3, heterogeneous=True, cellular=c)) for c in (False, True))
    assert {key for key in one if one[key] != other[key]} == {"cellular", "per_mm2"}
    assert one["per_mm2"] < BORDER_PER_MM2 < other["per_mm2"]


@pytest.mark.slow
def test_both_classes_have_the_same_mean_and_spread_of_nuclear_size() -> None:
    """Appendix A: the mean cannot tell the two kinds of slide apart."""
    for seed in SEEDS:
        mixed, sorted_ = (nuclei_of(small_spec(seed, heterogeneous=h)) for h in (False, True))
        assert len(mixed) == len(sorted_)
        assert sorted_.diameter_um.mean() == pytest.approx(mixed.diameter_um.mean(), rel=0.02)
        assert sorted_.diameter_um.std() == pytest.approx(mixed.diameter_um.std(), rel=0.08)


@pytest.mark.slow
def test_only_the_variance_between_tiles_differs() -> None:
    """Appendix A: the standard deviation between tiles does."""
    for seed in SEEDS:
        deviations = []
        for heterogeneous in (False, True):
            spec = small_spec(seed, heterogeneous=heterogeneous)
            anatomy = draw_anatomy(spec)
            truth = tile_truth(draw_nuclei(spec, anatomy), anatomy.shape, TILE_UM)
            deviations.append(truth.mean_um[truth.count > 30].std())
        assert deviations[1] > 2.5 * deviations[0]


def test_the_mean_nuclear_size_is_matched_between_the_classes_of_a_cohort() -> None:
    """Welch's t between the classes stays below 3 for every nuisance, for both labels."""
    specs = draw_cohort(5, 400)
    names = ("mean_um", "spread", "large_share", "tissue_tiles", "haematoxylin", "eosin", "mpp")
    for label in ("heterogeneous", "cellular"):
        positive = np.array([getattr(spec, label) for spec in specs])
        for name in (*names, "glass_grey", "noise", "nest_share", "glands_per_mm2"):
            values = np.array([getattr(spec, name) for spec in specs])
            one, other = values[positive], values[~positive]
            error = np.sqrt(one.var() / len(one) + other.var() / len(other))
            assert abs(one.mean() - other.mean()) < 3 * error, (label, name)


def test_the_stated_mean_and_density_are_the_painted_ones() -> None:
    for seed in SEEDS:
        spec = small_spec(seed)
        anatomy = draw_anatomy(spec)
        nuclei = draw_nuclei(spec, anatomy)
        area_mm2 = anatomy.tissue.sum() / 1e6
        assert nuclei.diameter_um.mean() == pytest.approx(spec.mean_um, rel=0.03)
        assert len(nuclei) / area_mm2 == pytest.approx(spec.per_mm2, rel=0.1)
        assert area_mm2 == pytest.approx(spec.tissue_tiles * (TILE_UM / 1000) ** 2, rel=0.01)


def test_the_two_sizes_have_mean_one_and_the_stated_spread() -> None:
    spec = replace(small_spec(0), spread=0.3, large_share=0.4)
    small, large = spec.sizes
    assert 0.6 * small + 0.4 * large == pytest.approx(1)
    assert 0.6 * small**2 + 0.4 * large**2 - 1 == pytest.approx(0.3**2)


def test_tile_truth_counts_every_nucleus_in_its_square() -> None:
    nuclei = Nuclei(
        x=np.array([10.0, 90.0, 130.0]),
        y=np.array([10.0, 90.0, 250.0]),
        diameter_um=np.array([6.0, 10.0, 7.0]),
        aspect=np.ones(3),
        angle=np.zeros(3),
    )
    truth = tile_truth(nuclei, (300, 200), 128)
    assert truth.count.tolist() == [[2, 0], [0, 1], [0, 0]]
    assert truth.mean_um.tolist() == [[8, 0], [0, 7], [0, 0]]


def test_the_same_specimen_gives_the_same_bytes(painted, tmp_path: Path) -> None:
    again = tmp_path / "again.svs"
    make_slide(again, painted["aperio"].spec)
    assert digest_of_file(again) == digest_of_file(painted["aperio"].path)


@pytest.mark.slow
def test_slides_made_side_by_side_are_the_same(painted, tmp_path: Path) -> None:
    slides = [painted["aperio"], painted["generic"]]
    told: list[int] = []
    paths = make_slides([s.spec for s in slides], tmp_path, 2, lambda: told.append(1))
    assert [p.name for p in paths] == ["slide-0000.svs", "slide-0001.tif"]
    assert len(told) == 2
    for path, slide in zip(paths, slides, strict=True):
        assert digest_of_file(path) == digest_of_file(slide.path)


@pytest.mark.parametrize("name", ["aperio", "generic"])
def test_slides_pass_our_own_tissue_and_stain_rules(
    name: str, painted: dict[str, PaintedSlide], reader: Reader
) -> None:
    """No abstention, the stated mpp is believed, the glass is found, the tissue is kept."""
    slide = painted[name]
    events = list(reader.read(slide.path, feature_contract(UNTRAINED)))
    plan = next(event for event in events if isinstance(event, PlanFacts))
    count = next(event for event in events if isinstance(event, ReadCount))
    assert plan.mpp == pytest.approx((slide.spec.mpp, slide.spec.mpp), rel=1e-4)
    assert plan.mpp_source == {"aperio": "aperio", "generic": "tiff-resolution"}[name]
    assert abs(plan.glass_grey - slide.spec.glass_grey) <= 2
    assert 0.7 * slide.spec.tissue_tiles <= count.kept <= 1.6 * slide.spec.tissue_tiles
    assert count.reader_note == ""


def test_a_slide_looks_like_h_and_e(painted: dict[str, PaintedSlide], reader: Reader) -> None:
    """Nuclei are blue-violet and dark, stroma pink and bright, the two far apart."""
    spec = painted["generic"].spec
    tiles = [
        event.pixels
        for event in reader.read(painted["generic"].path, feature_contract(UNTRAINED))
        if hasattr(event, "pixels")
    ]
    pixels = np.concatenate(tiles).reshape(-1, 3).astype(float)  # (n, 3)
    grey = pixels @ [0.299, 0.587, 0.114]  # (n,)
    dark, bright = pixels[grey < np.quantile(grey, 0.05)], pixels[grey > np.quantile(grey, 0.5)]
    dark = dark.mean(axis=0)
    bright = bright[bright.max(axis=1) < spec.glass_grey - 4].mean(axis=0)
    assert dark[2] > dark[0] > dark[1]
    assert bright[0] > bright[2] > bright[1]
    assert bright.mean() - dark.mean() > 50
