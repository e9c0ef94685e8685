"""Digests: SHA-256 of files, and of whole objects as canonical JSON."""

import hashlib
import json
from pathlib import Path
from typing import Any

CHUNK_BYTES = 1 << 20


def canonical_json(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """One spelling per value: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest_of(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """SHA-256 (hex) of a JSON value, whole: no list of keys that could be forgotten."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def digest_of_file(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes, read in chunks."""
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            sha.update(chunk)
    return sha.hexdigest()


def digest_of_slide(path: Path) -> str:
    """SHA-256 (hex) of a slide: of its bytes, or for a folder of its sorted names and digests."""
    if not path.is_dir():
        return digest_of_file(path)
    files = sorted(p for p in path.rglob("*") if p.is_file())
    return digest_of([[p.relative_to(path).as_posix(), digest_of_file(p)] for p in files])
