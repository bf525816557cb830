"""Signed ids of tasks: a UUID version 7 (RFC 9562), a dash, and the first 8 bytes of its HMAC in hex.

The gateway tells without a lookup whether it issued an id. So it can tell a task that is gone from one that never existed.
"""

from __future__ import annotations

import hmac
import secrets
import uuid

SIGNATURE_BYTES = 8
ID_PATTERN = r"^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}-[0-9a-f]{16}$"


def new_id(secret: bytes, *, milliseconds: int) -> str:
    """Return a new id. milliseconds: since 1970, so that ids sort by time."""
    value = (milliseconds % 2**48) << 80 | 0x7 << 76 | secrets.randbits(12) << 64 | 0b10 << 62 | secrets.randbits(62)
    name = str(uuid.UUID(int=value))
    return f"{name}-{_signature(secret, name)}"


def was_given(secret: bytes, task_id: str) -> bool:
    """Return whether the id was made with this secret."""
    name, _, signature = task_id.rpartition("-")
    return task_id.isascii() and hmac.compare_digest(signature, _signature(secret, name))


def _signature(secret: bytes, name: str) -> str:
    return hmac.digest(secret, name.encode(), "sha256")[:SIGNATURE_BYTES].hex()
