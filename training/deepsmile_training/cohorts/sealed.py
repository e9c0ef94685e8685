"""Sealed records: readable JSON files that carry a digest of what they say."""

import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from deepsmile.digest import digest_of
from deepsmile.disk import write_file
from deepsmile_training.cohorts.problems import CohortInvalid


class Record(BaseModel):
    """Base of all that is saved: nothing is changed later, nothing unknown is kept."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Sealed(Record):
    """A record with a file of its own."""

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of all of it; not cached, since a copy would take the cache along."""
        return digest_of(self.model_dump(mode="json"))

    def write(self, path: Path) -> None:
        """Save it with its digest; `read_sealed` gives it back."""
        content = {"digest": self.digest} | self.model_dump(mode="json")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, json.dumps(content, indent=1) + "\n")


S = TypeVar("S", bound=Sealed)


def read_sealed(path: Path, kind: type[S]) -> S:
    """A record as it was written. Raises CohortInvalid where it was damaged or edited."""
    content = _read_object(path)
    digest = content.pop("digest", None)
    try:
        record = kind.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(key) for key in first["loc"])
        raise CohortInvalid(f"{path.name}: {where}: {first['msg']}") from error
    if digest != record.digest:
        raise CohortInvalid(f"{path.name}: it was changed since it was written")
    return record


def _read_object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise CohortInvalid(f"{path}: no such file") from error
    except OSError as error:
        raise CohortInvalid(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise CohortInvalid(f"{path.name}: not JSON: {error}") from error
    if not isinstance(content, dict):
        raise CohortInvalid(f"{path.name}: not a JSON object")
    return content
