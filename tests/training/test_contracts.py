"""The demo's rules."""

from deepsmile_training.contracts import feature_contract
from deepsmile_training.demo.pretext import UNTRAINED
from tests import making


def test_the_rules_are_those_that_serving_is_tested_with() -> None:
    encoder = UNTRAINED.model_dump(mode="json")
    assert feature_contract(UNTRAINED) == making.feature_contract(encoder=encoder)
