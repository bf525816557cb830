"""Bearer tokens, read from a file, and what each may do. The file has only their SHA-256:

[{"name": "importer", "sha256": "…", "scopes": ["predict"], "rate": "50/second"}]
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from limits import RateLimitItem, parse
from pydantic import Field, TypeAdapter, ValidationError, field_validator

from gateway.config import SettingRejected
from model.fields import Name, Sha256, Strict

Scope = Literal["predict", "feedback", "review", "admin"]
ANONYMOUS = "anonymous"

logger = logging.getLogger(__name__)


class Token(Strict):
    """Token without its secret. Several tokens may have one name, so that a token can be replaced without an interruption."""

    name: Name = Field(description="owner of the predictions that are submitted with the token; appears in logs")
    sha256: Sha256 = Field(description="SHA-256 of the token")
    scopes: tuple[Scope, ...] = Field(min_length=1)
    rate: str | None = Field(default=None, description="highest rate of requests, such as 50/second; None: no limit")

    @field_validator("rate")
    @classmethod
    def _is_a_rate(cls, value: str | None) -> str | None:
        if value is not None:
            parse(value)
        return value

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes or "admin" in self.scopes

    def limit(self) -> RateLimitItem | None:
        return None if self.rate is None else parse(self.rate)


NO_TOKEN = Token(name=ANONYMOUS, sha256="0" * 64, scopes=("predict", "feedback"))
FILE = TypeAdapter(tuple[Token, ...])


class Tokens:
    """Tokens of a file. The file is read again when it changes, so a mounted Secret can be changed while the API runs."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._read_at: int | None = None
        self._by_digest: dict[str, Token] = {}
        if path is not None:
            self._read(path)

    def find(self, secret: str) -> Token | None:
        """Return the token with this secret. A secret has 256 random bits, so a fast hash without a salt is enough."""
        if self._path is not None:
            try:
                self._read(self._path)
            except SettingRejected as error:
                logger.warning("the file of tokens cannot be read, so the previous tokens apply: %s", error)
        return self._by_digest.get(digest(secret))

    def _read(self, path: Path) -> None:
        try:
            changed_at = path.stat().st_mtime_ns
            if changed_at == self._read_at:
                return
            tokens: Sequence[Token] = FILE.validate_json(path.read_bytes())
        except OSError as error:
            raise SettingRejected(f"tokens_file is {str(path)!r}: {error.strerror}") from error
        except ValidationError as error:
            first = error.errors(include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise SettingRejected(f"tokens_file {str(path)!r}, {where or 'as a whole'}: {first['msg']}") from error
        self._read_at = changed_at
        self._by_digest = {each.sha256: each for each in tokens}


def digest(secret: str) -> str:
    """Return the SHA-256 of a token."""
    return hashlib.sha256(secret.encode(errors="surrogateescape")).hexdigest()


def new_secret() -> str:
    """Return a new token."""
    return secrets.token_urlsafe(32)
