"""Shown: the two small slides of the product's `deepsmile demo` command."""

from dataclasses import replace
from pathlib import Path

from deepsmile_training.demo.cohort import SHOWN, slide_seed
from deepsmile_training.synthetic.slide import make_slide
from deepsmile_training.synthetic.specimen import BORDER_PER_MM2, SlideSpec, draw_spec


def shown_specs(seed: int) -> dict[str, SlideSpec]:
    """Clear examples, by name, from seeds of their own stream: no model has seen them.

    Small files (few tiles, strong compression, a quiet scanner), well inside the range of the
    cohort and well away from the borders of both labels.
    """
    return {
        name: _clear(draw_spec(slide_seed(seed, SHOWN, index), heterogeneous=both, cellular=both))
        for index, (name, both) in enumerate((("heterogeneous", True), ("homogeneous", False)))
    }


def _clear(spec: SlideSpec) -> SlideSpec:
    return replace(
        spec,
        spread=0.35,
        per_mm2=BORDER_PER_MM2 * (1.35 if spec.cellular else 1 / 1.35),
        tissue_tiles=26.0,
        fragments=1,
        noise=0.8,
        mpp=0.5,
        layout="aperio",
        quality=68,
    )


def make_shown_slides(seed: int, out: Path) -> list[Path]:
    """Write `heterogeneous.svs` and `homogeneous.svs` into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, spec in shown_specs(seed).items():
        paths.append(out / f"{name}.svs")
        make_slide(paths[-1], spec)
    return paths
