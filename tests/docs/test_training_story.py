"""docs/training.md, from slides to a bundle: its commands run, one after the other."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from deepsmile_training.synthetic.files import make_slides
from deepsmile_training.synthetic.specimen import draw_spec
from tests.docs.fences import commands_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PAGE = Path(__file__).parents[2] / "docs" / "training.md"
SLIDES = 24


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where somebody stands who has slides and a table."""
    place = tmp_path_factory.mktemp("story")
    specs = [
        draw_spec(900 + i, heterogeneous=bool(i % 2), cellular=bool(i & 2), tissue_tiles=(9, 10))
        for i in range(SLIDES)
    ]
    slides = make_slides(specs, place / "SLIDES", 2, lambda: None)
    rows = [
        {"patient": f"p{i:02}", "slide": path.stem, "status": ("negative", "positive")[bool(i & 2)]}
        for i, path in enumerate(slides)
    ]
    pd.DataFrame(rows).to_csv(place / "labels.csv", index=False)
    for part, patients in (("TRAIN", 10), ("TEST", 3)):
        for index in range(2 * patients):
            write_kather(place / "KATHER", part, ("MSS", "MSIMUT")[index % 2], index)
    return place


def write_kather(root: Path, part: str, label: str, index: int) -> None:
    """Three tiles of a slide, in the layout of Kather's archives (2019)."""
    barcode = f"TCGA-{part[:2]}-{index:04d}-01Z-00-DX1"
    folder = root / f"CRC_DX_{part}" / label
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([index, len(part)])
    for tile in ("AAAA", "BBBB", "CCCC"):
        coarse = rng.integers(90, 240, (8, 8, 3), np.uint8)  # (8, 8, 3)
        image = Image.fromarray(coarse).resize((224, 224), Image.Resampling.BICUBIC)
        image.save(folder / f"blk-{tile}-{barcode}.png")


def test_the_story_runs_from_slides_to_a_bundle(folder: Path) -> None:
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "DEEPSMILE_MODEL_REPOSITORY": str(folder / "model_repository"),
        "DEEPSMILE_DATA_DIR": str(folder / "data"),
    }
    for command in commands_of(PAGE.read_text()):
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    made = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    promised = {
        "tiles/store.json",
        "run/encoder.pt",
        "model_repository/simclr.encoder.json",
        "cohort/split.json",
        "cohort/features/SimCLR/features.json",
        "crck/features/SimCLR/features.json",
        "results/table_2.md",
        "crck/results/table_2.md",
        "crck/results/figure_5.svg",
        "results/figure_2.svg",
        "results/figure_B.6.png",
        "results/figure_learning.svg",
    }
    assert promised <= made
    page = (folder / "model_repository" / "mine.status.evidence.html").read_text()
    assert "Learning curve" in page
    assert "most attended" in page
    card = " ".join((folder / "model_repository" / "mine.card.md").read_text().split())
    assert "the encoder had seen no test patient." in card
