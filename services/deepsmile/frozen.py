"""Frozen: what values of a contract have in common, and the kinds of field that they share."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from deepsmile.digest import digest_of

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]
Share = Annotated[float, Field(ge=0, le=1)]


class Frozen(BaseModel):
    """A value of the contract: immutable, no unknown keys, no NaN, a digest of the whole."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the canonical JSON of every field."""
        return digest_of(self.model_dump(mode="json"))
