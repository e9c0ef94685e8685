"""The demo's rules, and the others for background."""

from deepsmile.contract import FesiLike, Fu2020, GreySobel, KeepAll
from deepsmile_training.contracts import TISSUE, feature_contract
from deepsmile_training.demo.pretext import UNTRAINED
from tests import making


def test_the_rules_are_those_that_serving_is_tested_with() -> None:
    encoder = UNTRAINED.model_dump(mode="json")
    assert feature_contract(UNTRAINED) == making.feature_contract(encoder=encoder)


def test_every_named_rule_is_what_its_source_says() -> None:
    """RESOLUTIONS row 15; of Fu et al. 2020 the values of their own code."""
    rules = {name: feature_contract(UNTRAINED, name).tissue for name in TISSUE}
    default = rules["default"]
    assert isinstance(default, GreySobel)
    assert rules == {
        "default": feature_contract(UNTRAINED).tissue,
        "paper": default.model_copy(update={"glass": None}),
        "fu2020": Fu2020(rule="fu2020", gradient=15, max_flat=0.6, overview_max_background=0.7),
        "fesi": FesiLike(rule="fesi_like", blur_px=2, min_foreground=0.5),
        "none": KeepAll(rule="none"),
    }
    assert (default.grey, default.gradient, default.max_background) == (240, 15, 0.5)


def test_a_rule_changes_nothing_but_the_background() -> None:
    for name in TISSUE:
        other = feature_contract(UNTRAINED, name)
        assert other.model_copy(update={"tissue": feature_contract(UNTRAINED).tissue}) == (
            feature_contract(UNTRAINED)
        )
