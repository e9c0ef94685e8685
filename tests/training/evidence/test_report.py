"""The report: every figure from patients without a part in the choice, as JSON and as a page."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest

from deepsmile.errors import RequestInvalid
from deepsmile_training.evidence.attention import AttentionExample, make_strip
from deepsmile_training.evidence.calibrate import apply
from deepsmile_training.evidence.choices import make_choice
from deepsmile_training.evidence.delong import auc_with_interval
from deepsmile_training.evidence.evaluated import Evaluated, cross_evaluated, on_sealed_test
from deepsmile_training.evidence.folds import stratified_folds
from deepsmile_training.evidence.learning import Run, learning_curve
from deepsmile_training.evidence.page import figure, render
from deepsmile_training.evidence.predictions import TestPredictions
from deepsmile_training.evidence.report import EvidenceReport, Extras, Setting, make_report
from deepsmile_training.evidence.sealed import SealedTest
from deepsmile_training.evidence.subgroups import subgroups
from deepsmile_training.metrics import brier, ece
from tests.training.evidence.cases import drawn_test, drawn_validation

pytestmark = pytest.mark.slow

NOTICE = "Synthetic data, <no> clinical meaning."


def tiles_and_weights() -> tuple[np.ndarray, np.ndarray]:
    """(10, 224, 224, 3), each of one grey, and weights that rise with it: a whole slide."""
    greys = np.arange(10, dtype=np.uint8) * 20
    weights = (np.arange(10) + 1) / 55
    return np.broadcast_to(greys[:, None, None, None], (10, 224, 224, 3)).copy(), weights


STRIP = make_strip(AttentionExample("slide 1", "a caption", *tiles_and_weights(), 10))


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    seal = tmp_path_factory.mktemp("seal")
    return on_sealed_test(SealedTest(drawn_test(), seal), make_choice(drawn_validation()))


@pytest.fixture(scope="module")
def report(sealed: Evaluated) -> EvidenceReport:
    test = drawn_test()
    runs = [Run(n, test.with_probabilities(test.p.round(d))) for n, d in ((50, 1), (100, 9))]
    other = test.with_probabilities(test.p.round(1))
    extras = Extras({"rounded": other}, learning_curve(runs), [STRIP])
    setting = Setting("A run", "How it came about.", NOTICE)
    return make_report(sealed, make_choice(drawn_validation()), setting, extras)


def test_the_test_set_is_calibrated_and_called_by_the_choice(sealed: Evaluated) -> None:
    choice, test = make_choice(drawn_validation()), drawn_test()
    np.testing.assert_array_equal(sealed.calibrated, apply(choice.calibration, test.p))
    for point in choice.points:
        np.testing.assert_array_equal(
            sealed.called[point.name], sealed.calibrated >= point.threshold
        )


def test_figures_are_those_of_the_test_patients(report: EvidenceReport, sealed: Evaluated) -> None:
    test = drawn_test()
    assert report.discrimination.auroc == auc_with_interval(test.p, test.y)
    scale = report.calibration
    assert scale.raw.ece == ece(test.p, test.y)
    assert scale.calibrated.brier.value == brier(sealed.calibrated, test.y)
    assert scale.raw.auroc == scale.calibrated.auroc
    assert report.cohort.patients == 300
    assert report.cohort.positives == test.y.sum()


def test_points_are_counted_on_the_test_patients(report: EvidenceReport, sealed: Evaluated) -> None:
    y = sealed.predictions.y
    for one in report.points:
        called = sealed.called[one.point.name]
        assert one.called_positive == called.sum()
        shares = (called[y == 1], ~called[y == 0], y[called] == 1, y[~called] == 0)
        found = (one.sensitivity, one.specificity, one.ppv, one.npv)
        for estimate, share in zip(found, shares, strict=True):
            assert estimate is not None
            assert estimate.value == pytest.approx(share.mean())
            assert estimate.low < estimate.value < estimate.high


def test_a_share_of_nobody_stands_as_none(sealed: Evaluated) -> None:
    """Nobody is called positive: there is no PPV, in the JSON and on the page."""
    called = {name: np.zeros(300, np.bool_) for name in sealed.called}
    choice = make_choice(drawn_validation())
    found = make_report(replace(sealed, called=called), choice, Setting("t"))
    assert found.points[0].ppv is None
    assert found.points[0].sensitivity is not None
    assert "<td>-</td>" in re.sub(r"\s", "", render(found))


def test_cross_evaluation_chooses_without_the_fold() -> None:
    validation = drawn_validation()
    found = cross_evaluated(validation)
    for k, (outside, inside) in enumerate(stratified_folds(validation.y, 0)):
        choice = make_choice(validation.taken(outside))
        expected = apply(choice.calibration, validation.p[inside])
        np.testing.assert_array_equal(found.calibrated[inside], expected)
        assert (found.blocks[inside] == k).all()
        for point in choice.points:
            calls = expected >= point.threshold
            np.testing.assert_array_equal(found.called[point.name][inside], calls)
    assert found.auc_within_blocks(found.calibrated) == found.auc_within_blocks(validation.p)


@pytest.mark.parametrize("rarest", [4, 5, 6, 7])
def test_cross_evaluation_says_at_once_how_many_it_needs(rarest: int) -> None:
    """Five folds of what four of five folds leave: seven of a class, and six are not enough."""
    rows = np.concatenate(
        [np.flatnonzero(drawn_validation().y)[:rarest], np.flatnonzero(drawn_validation().y == 0)]
    )
    few = drawn_validation().taken(rows)
    if rarest == 7:
        assert not np.isnan(cross_evaluated(few).calibrated).any()
        return
    with pytest.raises(RequestInvalid, match=f"7 patients of each class.* and one has {rarest}"):
        cross_evaluated(few)


def test_subgroups_have_figures_or_say_why_not(sealed: Evaluated) -> None:
    rows = {(one.column, one.value): one for one in subgroups(sealed)}
    assert set(rows) == {("sex", "female"), ("sex", "male"), ("site", "rare"), ("site", "common")}
    test, odd = drawn_test(), np.arange(300) % 2 == 1
    assert rows["sex", "female"].auroc == auc_with_interval(test.p[odd], test.y[odd])
    assert rows["sex", "female"].prevalence.value == test.y[odd].mean()
    assert rows["sex", "female"].mean_probability == pytest.approx(sealed.calibrated[odd].mean())
    assert rows["site", "rare"].auroc is None
    positives = test.y[:8].sum()
    assert rows["site", "rare"].why_not == (
        f"too small: {positives} positive, {8 - positives} negative; 10 of each are needed"
    )


def test_a_column_of_many_values_makes_no_subgroups(sealed: Evaluated) -> None:
    test = drawn_test()
    ages = TestPredictions(test.patients, test.y, test.p, {"age": tuple(map(str, range(300)))})
    with pytest.raises(RequestInvalid, match="age: 300 values are no subgroups"):
        subgroups(replace(sealed, predictions=ages))


def test_the_learning_curve_is_of_one_set_of_patients(report: EvidenceReport) -> None:
    assert [point.trained_on for point in report.learning] == [50, 100]
    assert report.learning[1].auroc == report.discrimination.auroc
    with pytest.raises(RequestInvalid, match="different patients"):
        learning_curve([Run(10, drawn_test()), Run(20, drawn_test(200))])


def test_the_page_says_whether_sizes_were_trained_once(report: EvidenceReport) -> None:
    twice = report.model_copy(update={"learning": (*report.learning, report.learning[0])})
    assert "One training per size. Bars: DeLong" in render(report)
    assert "One training per size." not in render(twice)
    assert "The line joins the means of each size. Bars: DeLong" in render(twice)


@pytest.mark.parametrize(
    ("raw", "note"),
    [
        (0.3957, " Theirs is the least: here calibrating was not seen to help."),
        (0.4100, ""),
    ],
)
def test_the_page_tells_candidates_from_what_is_only_compared(
    report: EvidenceReport, raw: float, note: str
) -> None:
    """Raw probabilities are neither cross-fitted nor chosen, even with the least loss."""
    losses = {"none": raw, "temperature": 0.4031, "platt": 0.4008}
    changed = report.calibration.model_copy(update={"log_losses": losses})
    text = render(report.model_copy(update={"calibration": changed}))
    assert (
        "<p>Chosen by cross-fitted log-loss among temperature 0.4031, platt 0.4008."
        f" The uncalibrated probabilities, for comparison: {raw:.4f}.{note}</p>"
    ) in text


def test_constant_predictions_make_no_report(sealed: Evaluated) -> None:
    flat = drawn_test().with_probabilities(np.full(300, 0.2))
    with pytest.raises(RequestInvalid, match=r"has the probability 0\.2: there is nothing to rank"):
        make_report(
            replace(sealed, predictions=flat), make_choice(drawn_validation()), Setting("t")
        )


def test_the_json_is_whole_and_knows_no_patient(report: EvidenceReport) -> None:
    text = report.model_dump_json()
    assert EvidenceReport.model_validate_json(text) == report
    assert '"t17"' not in text
    assert "NaN" not in text


def test_the_strip_shows_the_most_attended_tiles_first() -> None:
    assert STRIP.weights == pytest.approx([w / 55 for w in (10, 9, 8, 7, 6, 5, 4, 3)])
    assert len(set(STRIP.pictures)) == 8
    assert all(one.startswith("data:image/jpeg;base64,") for one in STRIP.pictures)
    assert STRIP.times_mean == pytest.approx([w / 5.5 for w in (10, 9, 8, 7, 6, 5, 4, 3)])


def test_attention_is_told_by_its_mean_over_the_slide(report: EvidenceReport) -> None:
    """Of 6000 tiles a share of 0.0627 % is 3.8 times the mean, and no figure is 0.0 or 0.1."""
    tiles, _ = tiles_and_weights()
    weights = np.linspace(0.000627, 0.000510, 10)
    strip = make_strip(AttentionExample("slide 1", "", tiles, weights, 6000))
    text = render(report, [strip])
    times = [f"{w * 6000:.1f} x the mean" for w in weights[:8]]
    assert times[0] == "3.8 x the mean"
    assert re.findall(r'class="note">([^<]* x the mean)<', text) == times
    assert re.findall(r'alt="tile with ([^"]*) attention"', text) == times


@pytest.mark.parametrize("change", ["short", "nan", "above", "float"])
def test_attention_that_does_not_fit_its_tiles_is_refused(change: str) -> None:
    tiles, weights = tiles_and_weights()
    changed = {
        "short": (tiles, weights[:9]),
        "nan": (tiles, np.where(weights > 0.1, np.nan, weights)),
        "above": (tiles, weights * 20),
        "float": (tiles / 255, weights),
    }[change]
    with pytest.raises(RequestInvalid, match="slide 1"):
        make_strip(AttentionExample("slide 1", "", *changed, 10))


class Page(HTMLParser):
    """Collects text, and every address that something is loaded from."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [
            value or "" for name, value in attrs if name in ("src", "href", "action", "srcset")
        ]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_the_page_stands_alone_and_says_what_it_is(report: EvidenceReport) -> None:
    text = render(report, [STRIP])
    page = Page(text)
    assert all(one.startswith("data:image/jpeg;base64,") or one[0] == "#" for one in page.addresses)
    assert not re.search(r"url\((?!#)|@import|<script|<link", text)
    words = " ".join(page.words)
    assert "Research use only. Not for diagnosis or treatment decisions." in words
    assert NOTICE in words
    assert "<no>" not in text
    area = report.discrimination.auroc
    assert f"{figure(area.low)} to {figure(area.high)}" in words
    assert "too small: " in words
    assert report.digests["choice"] in words
    assert text == render(report, [STRIP])


def test_the_plots_take_the_colours_of_the_page(report: EvidenceReport) -> None:
    """Light and dark: no colour of their own, and well-formed SVG without repeated ids."""
    drawings = re.findall(r"<svg .*?</svg>", render(report), flags=re.DOTALL)
    assert len(drawings) == 5
    for drawing in drawings:
        ElementTree.fromstring(drawing.replace("xlink:href", "href"))
        assert "var(--first)" in drawing
        assert set(re.findall(r"#[0-9a-f]{6}\b", drawing)) <= {"#000000", "#ffffff"}
        assert "font-family" not in drawing
    ids = re.findall(r' id="([^"]+)"', "".join(drawings))
    assert len(ids) == len(set(ids)) > 0


def test_the_figures_need_no_minus_before_zero() -> None:
    assert figure(-0.0001) == "0.000"
    assert figure(-0.25) == "-0.250"
