"""Reports under test: their answers by kind, and bundles with other contracts."""

import json
import shutil
from pathlib import Path
from typing import Any

from deepsmile.bundle import Bundle, write_bundle
from deepsmile.report import Abstained, Report, Scored


def scored(report: Report, index: int = 0) -> Scored:
    """The answer of a head that scored."""
    head = report.heads[index]
    assert isinstance(head, Scored)
    return head


def abstained(report: Report, index: int = 0) -> Abstained:
    """The answer of a head that declined."""
    head = report.heads[index]
    assert isinstance(head, Abstained)
    return head


def changed(bundle: Bundle, root: Path, **changes: Any) -> Bundle:
    """The tiny bundle with other contract sections (`features`) or heads (`heads`)."""
    repository = Path(shutil.copytree(bundle.root, root / "changed"))
    content = json.loads((repository / "tiny.bundle.json").read_text())
    del content["digest"]
    for section, value in changes.get("features", {}).items():
        content["contract"]["features"][section] = value
    head = content["contract"]["heads"][0]
    if "heads" in changes:
        content["contract"]["heads"] = [{**head, **other} for other in changes["heads"]]
    return write_bundle(repository, content)
