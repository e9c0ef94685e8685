"""Contract: everything that can change a score, whole, frozen, without defaults."""

import copy
import json
import math
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError
from pydantic_settings import BaseSettings

from deepsmile.contract import Contract, FeatureContract, Head
from deepsmile.digest import digest_of
from deepsmile.frozen import Frozen
from tests.making import feature_contract

Path = tuple[str | int, ...]

HEAD = {
    "name": "mhrd",
    "sha256": "a" * 64,
    "members": 5,
    "negative": "proficient",
    "positive": "deficient",
    "min_tiles": 10,
    "calibration": {"method": "platt", "slope": 0.9, "intercept": -0.2},
    "operating_points": [
        {"name": "youden", "threshold": 0.4, "basis": "largest J on validation"},
        {"name": "sensitive", "threshold": 0.2, "basis": "95 % sensitivity on validation"},
    ],
    "decision": "youden",
    "conformal": {
        "coverage": 0.9,
        "negative_up_to": 0.55,
        "positive_from": 0.3,
        "basis": "200 validation slides",
    },
    "novelty": {
        "sha256": "c" * 64,
        "threshold": 6.5,
        "rate": 0.01,
        "basis": "200 validation slides",
    },
}
WHOLE = {"features": feature_contract().model_dump(mode="json"), "heads": [HEAD]}
MODELS = [kind for kind in Frozen.__subclasses__() if kind.__module__.startswith("deepsmile.")]
NO_ALTERNATIVE = {
    "features.pixels.resample",
    "features.pixels.colour",
    "features.tissue.rule",
    "features.stain.rule",
    "heads.0.calibration.method",
    "heads.0.operating_points.0.name",
    "heads.0.decision",
}
"""Choices of one so far, kinds that decide which other fields there are, and names in use."""


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every scalar of a JSON value, with the way to it."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in items:
            yield from leaves(inner, (*path, key))
    else:
        yield path, value


def replaced(whole: Any, path: Path, value: Any) -> Any:
    """A copy of a JSON value with one leaf replaced."""
    changed = copy.deepcopy(whole)
    place = changed
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return changed


def others(value: Any) -> list[Any]:
    """Values near a leaf's, at least one of which should be legal."""
    match value:
        case bool():
            return [not value]
        case int():
            return [value + 1]
        case float():
            return [value + 1e-9, value - 1e-9]
        case None:
            return [7]
        case "drop":
            return ["pad"]
        case str() if len(value) == 64:
            return ["f" * 64]
    return [value + "x"]


LEAVES = list(leaves(WHOLE))
NUMBERS = [path for path, value in LEAVES if type(value) in (int, float)]


def name(path: Path) -> str:
    return ".".join(map(str, path))


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_no_field_has_a_default(model: type[BaseModel]) -> None:
    """HOUSE STYLE 6: what is not written in the bundle does not exist."""
    assert [field for field, info in model.model_fields.items() if not info.is_required()] == []


@pytest.mark.parametrize("path", [path for path, _ in LEAVES], ids=name)
def test_a_missing_field_is_refused(path: Path) -> None:
    broken = copy.deepcopy(WHOLE)
    place: Any = broken
    for key in path[:-1]:
        place = place[key]
    del place[path[-1]]
    with pytest.raises(ValidationError):
        Contract.model_validate(broken)


@pytest.mark.parametrize(
    ("path", "value"), LEAVES, ids=lambda x: name(x) if type(x) is tuple else ""
)
def test_changing_any_leaf_changes_the_digest(path: Path, value: Any) -> None:
    """HOUSE STYLE 6 and 10: the digest covers the whole, with no list of keys to forget."""
    original, accepted = Contract.model_validate(WHOLE), 0
    for other in others(value):
        changed = replaced(WHOLE, path, other)
        assert digest_of(changed) != original.digest
        try:
            contract = Contract.model_validate(changed)
        except ValidationError:
            continue
        accepted += 1
        assert contract.digest != original.digest
        assert (contract.features.digest != original.features.digest) == (path[0] == "features")
    assert bool(accepted) == (name(path) not in NO_ALTERNATIVE)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf], ids=str)
@pytest.mark.parametrize("path", NUMBERS, ids=name)
def test_a_number_that_is_none_is_refused(path: Path, bad: float) -> None:
    """`Frozen`: no NaN; calibration included."""
    with pytest.raises(ValidationError):
        Contract.model_validate(replaced(WHOLE, path, bad))


@pytest.mark.parametrize(
    "path",
    [
        (),
        ("features",),
        *(("features", section) for section in WHOLE["features"]),
        ("features", "tissue", "glass"),
        ("heads", 0),
        ("heads", 0, "calibration"),
        ("heads", 0, "operating_points", 1),
        ("heads", 0, "conformal"),
        ("heads", 0, "novelty"),
    ],
    ids=name,
)
def test_an_unknown_key_is_refused_wherever_it_stands(path: Path) -> None:
    """`Frozen`: no unknown keys; a misspelt option would otherwise be ignored."""
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        Contract.model_validate(replaced(WHOLE, (*path, "spare"), 1))


def test_what_was_validated_is_what_was_written() -> None:
    """No value is rounded, coerced or filled in on the way."""
    assert Contract.model_validate(WHOLE).model_dump(mode="json") == WHOLE


def test_the_digest_is_that_of_the_canonical_json() -> None:
    assert Contract.model_validate(WHOLE).digest == digest_of(WHOLE)


def test_the_order_of_keys_and_whole_numbers_do_not_change_the_digest() -> None:
    """256 and 256.0 are one value, whichever way a person writes the bundle."""
    backwards = json.loads(json.dumps(WHOLE), object_pairs_hook=lambda pairs: dict(pairs[::-1]))
    whole_number = replaced(backwards, ("features", "tile", "size_um"), 256)
    assert Contract.model_validate(whole_number).digest == Contract.model_validate(WHOLE).digest


def test_nothing_can_be_changed_afterwards() -> None:
    contract = Contract.model_validate(WHOLE)
    with pytest.raises(ValidationError, match="frozen"):
        contract.features.tile.size_um = 128.0  # type: ignore[misc]
    assert hash(contract) == hash(Contract.model_validate(WHOLE))


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_the_environment_cannot_set_a_field(
    model: type[BaseModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """HOUSE STYLE 6: never read from env, under any prefix that settings use."""
    for field in model.model_fields:
        for prefix in ("", "DEEPSMILE_"):
            monkeypatch.setenv(f"{prefix}{field.upper()}", "1")
    assert not issubclass(model, BaseSettings)
    with pytest.raises(ValidationError) as refused:
        model.model_validate({})
    missing = {error["loc"][0] for error in refused.value.errors() if error["type"] == "missing"}
    assert missing == set(model.model_fields)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("features", "tile", "size_um"), 0.0),
        (("features", "tile", "size_px"), 0),
        (("features", "tile", "origin_um", 0), -1.0),
        (("features", "tile", "edge"), "mirror"),
        (("features", "pixels", "level_tolerance"), 0.9),
        (("features", "mpp", "min"), 0.0),
        (("features", "mpp", "max_anisotropy"), 0.9),
        (("features", "tissue", "max_background"), 1.1),
        (("features", "tissue", "grey"), 256.0),
        (("features", "tissue", "rule"), "otsu"),
        (("features", "stain", "rule"), "he_deconvolution"),
        (("features", "budget", "max_tiles"), 0),
        (("features", "encoder", "sha256"), "A" * 64),
        (("features", "encoder", "name"), "../encoder"),
        (("heads", 0, "members"), 0),
        (("heads", 0, "min_tiles"), 0),
        (("heads", 0, "operating_points"), []),
        (("heads", 0, "decision"), "nowhere"),
        (("heads", 0, "conformal", "coverage"), 1.0),
        (("heads", 0, "conformal", "negative_up_to"), 1.1),
        (("heads", 0, "conformal", "positive_from"), -0.1),
        (("heads", 0, "novelty", "threshold"), 0.0),
        (("heads", 0, "novelty", "rate"), 0.0),
        (("heads", 0, "novelty", "sha256"), "C" * 64),
    ],
    ids=lambda x: name(x) if type(x) is tuple else str(x)[:8],
)
def test_a_value_out_of_bounds_is_refused(path: Path, value: Any) -> None:
    with pytest.raises(ValidationError):
        Contract.model_validate(replaced(WHOLE, path, value))


def test_a_decision_that_names_two_points_is_refused() -> None:
    points = [{**point, "name": "youden"} for point in HEAD["operating_points"]]
    with pytest.raises(ValidationError, match="does not name one operating point"):
        Head.model_validate({**HEAD, "operating_points": points})


def test_two_heads_of_one_name_are_refused() -> None:
    with pytest.raises(ValidationError, match="same name"):
        Contract.model_validate({**WHOLE, "heads": [HEAD, HEAD]})


def test_a_tile_of_256_um_and_224_px_is_1_143_um_per_px() -> None:
    """Paper section 3.1.2: 1.143 um per px; 256/224 = 1.142857."""
    assert feature_contract().tile.mpp == pytest.approx(1.142857, abs=5e-7)


def test_the_decision_s_point_is_the_one_it_names() -> None:
    head = Head.model_validate({**HEAD, "decision": "sensitive"})
    assert (head.decision_point.name, head.decision_point.threshold) == ("sensitive", 0.2)


def test_the_calibration_digest_covers_the_way_from_probability_to_answer_only() -> None:
    head = Head.model_validate(HEAD)
    changes = [("calibration", {"method": "none"}), ("decision", "sensitive")]
    changes += [("operating_points", HEAD["operating_points"][:1]), ("conformal", None)]
    assert all(
        Head.model_validate({**HEAD, field: value}).calibration_digest != head.calibration_digest
        for field, value in changes
    )
    same = Head.model_validate(
        {**HEAD, "name": "thrd", "members": 1, "sha256": "b" * 64, "novelty": None}
    )
    assert same.calibration_digest == head.calibration_digest


def test_a_contract_names_every_file_that_it_needs() -> None:
    plain = {**HEAD, "name": "thrd", "sha256": "b" * 64, "novelty": None}
    contract = Contract.model_validate({**WHOLE, "heads": [HEAD, plain]})
    assert set(contract.named) == {"0" * 64, "a" * 64, "b" * 64, "c" * 64}


def test_a_head_leaves_the_feature_contract_alone() -> None:
    """docs/decisions.md: a new head or a new calibration leaves feature bags valid."""
    other = {**HEAD, "name": "thrd", "calibration": {"method": "none"}}
    both = Contract.model_validate({**WHOLE, "heads": [HEAD, other]})
    assert both.features.digest == FeatureContract.model_validate(WHOLE["features"]).digest
