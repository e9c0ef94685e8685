"""Small tables in the layouts of the public ones."""

from pathlib import Path

import pandas as pd

UUID = "04B09232-C6C4-46EF-AA2C-41D078D0A80A"


def write_lines(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def slide_name(patient: str, section: str = "DX1", sample: str = "01Z-00") -> str:
    return f"TCGA-{patient}-{sample}-{section}"


def write_gdc(path: Path, *slides: str) -> Path:
    """A manifest with a file for each slide."""
    rows = [
        f"{index:08d}-0000\t{slide}.{UUID}.svs\t{index:032x}\t{1000 + index}\treleased"
        for index, slide in enumerate(slides)
    ]
    return write_lines(path, "id\tfilename\tmd5\tsize\tstate", *rows)


def write_hrd(path: Path, scores: dict[str, int]) -> Path:
    """Scores by sample, as TCGA-AA-0000-01."""
    rows = [f"{sample}\t1\t2\t3\t{score}" for sample, score in scores.items()]
    return write_lines(path, "sampleID\tai1\tlst1\thrd-loh\tHRD", *rows)


def write_workbook(path: Path, rows: list[dict[str, object]]) -> Path:
    pd.DataFrame(rows).to_excel(path, index=False)
    return path
