"""The slides that benchmarks read: large, like a scanner's, and made once."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from benchmarks.slides import benchmark_slide
from deepsmile.frames import PlanFacts, ReadCount
from deepsmile.reading import Reader
from deepsmile_training.contracts import feature_contract
from deepsmile_training.demo.pretext import UNTRAINED

SIDE_PX = 6144

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return benchmark_slide(SIDE_PX, tmp_path_factory.mktemp("benchmarks"))


def test_it_is_a_scanner_s_pyramid(path: Path) -> None:
    """Levels 1, 4 and 16; stored tiles of tissue cost what real ones at 40x do, glass little."""
    with tifffile.TiffFile(path) as tiff:
        levels = tiff.series[0].levels
        assert [level.shape for level in levels] == [
            (SIDE_PX // k, SIDE_PX // k, 3) for k in (1, 4, 16)
        ]
        stored = np.array(levels[0].pages[0].databytecounts)
    tissue = stored[stored > 10_000]
    assert 0.25 < len(tissue) / len(stored) < 0.5
    assert 12_000 < np.median(tissue) < 18_000
    assert np.median(stored) < 5_000


def test_our_rules_take_it_for_a_slide(path: Path, reader: Reader) -> None:
    """0.25 um per px believed, read from the level of 1 um per px, 10 to 45 % tissue."""
    events = list(reader.read(path, feature_contract(UNTRAINED)))
    plan = next(event for event in events if isinstance(event, PlanFacts))
    count = next(event for event in events if isinstance(event, ReadCount))
    assert plan.mpp == pytest.approx((0.25, 0.25))
    assert (plan.level, plan.glass_grey) == (1, 244)
    assert plan.columns * plan.rows == 36
    assert 0.1 < count.kept / 36 < 0.5
    assert count.reader_note == ""


def test_it_is_made_once(path: Path) -> None:
    before = path.stat()
    assert benchmark_slide(SIDE_PX, path.parent) == path
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (before.st_mtime_ns, before.st_ino)
    assert [p.name for p in path.parent.iterdir()] == [path.name]
