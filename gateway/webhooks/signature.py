"""Signatures of webhooks, as Standard Webhooks describes them: HMAC-SHA256 of id, time and body."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Sequence
from pathlib import Path

PREFIX = "whsec_"
SECRET_BYTES = range(24, 65)


class SecretsRejected(Exception):
    """The file of secrets is wrong; the message names the file and what was expected, and no secret."""


def read_secrets(path: Path) -> tuple[bytes, ...]:
    """Return the secrets of a file, one in each line: `whsec_` and 24 to 64 bytes in base64. Raises SecretsRejected."""
    try:
        lines = path.read_text().split()
    except (OSError, UnicodeDecodeError) as error:
        raise SecretsRejected(f"webhook_secret_file {str(path)!r} cannot be read: {error}") from error
    secrets = tuple(_decoded(line) for line in lines)
    if not secrets or any(len(secret) not in SECRET_BYTES for secret in secrets):
        expected = f"{PREFIX} and {SECRET_BYTES[0]} to {SECRET_BYTES[-1]} bytes in base64"
        raise SecretsRejected(f"webhook_secret_file {str(path)!r} is wrong: expected in each line {expected}")
    return secrets


def signature(secrets: Sequence[bytes], *, webhook_id: str, timestamp: int, body: bytes) -> str:
    """Return the header `webhook-signature`. It has one signature for each secret, so that a secret can be replaced."""
    signed = f"{webhook_id}.{timestamp}.".encode() + body
    digests = (hmac.digest(secret, signed, "sha256") for secret in secrets)
    return " ".join(f"v1,{base64.b64encode(each).decode()}" for each in digests)


def _decoded(line: str) -> bytes:
    try:
        return base64.b64decode(line.removeprefix(PREFIX), validate=True) if line.startswith(PREFIX) else b""
    except binascii.Error:
        return b""
