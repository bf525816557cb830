"""Field types and the base class of everything that crosses a process boundary."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", max_length=64)]
# Valid as part of an object's key, as a folder's name and as a Kubernetes object's name; never "." or "..".
Name = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?$")]


def is_none(value: object) -> bool:
    """Return whether a field is left out of the JSON, because older releases refuse unknown keys."""
    return value is None


def as_end_of_sentence(message: str) -> str:
    """Return a message of pydantic, or of one of our validators, as the end of a sentence."""
    message = message.removeprefix("Value error, ")
    return f"{message[:1].lower()}{message[1:]}"


class Strict(BaseModel):
    """Base of frozen models that refuse unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")
