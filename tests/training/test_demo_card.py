"""The demo bundle's card: what is committed is what the code says of the committed bundle."""

from pathlib import Path

from deepsmile.bundle import load_bundle
from deepsmile_training.demo.card import render_card

REPOSITORY = Path(__file__).parents[2] / "model_repository"


def test_the_committed_card_is_what_the_code_says() -> None:
    """Otherwise: deepsmile-train demo-bundle makes the bundle again, with its card."""
    file = load_bundle(REPOSITORY, "demo").file
    card = render_card(file.contract, file.provenance, file.notice)
    assert (REPOSITORY / file.card).read_text("utf-8") == card
    assert "AUROC" in card
    assert "AUC" not in card.replace("AUROC", "")
