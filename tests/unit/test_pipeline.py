"""The road from a slide file to a report."""

from pathlib import Path

from deepsmile.backends.onnx import OnnxBackend
from deepsmile.bundle import Bundle
from deepsmile.pipeline import Reader, SlideSource, score_slide
from deepsmile.report import Scored, differences


def test_a_slide_scores_the_same_twice_but_for_run(
    slide_path: Path, bundle: Bundle, backend: OnnxBackend, reader: Reader
) -> None:
    source = SlideSource(slide_path)
    first = score_slide(source, bundle, backend, reader, job_id="a")
    second = score_slide(source, bundle, backend, reader, job_id="b")
    assert differences(first, second) == []
    assert first.run != second.run
    assert isinstance(first.heads[0], Scored)
