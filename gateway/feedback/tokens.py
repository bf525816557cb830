"""Feedback tokens: whoever has one may correct one prediction, without a bearer token, until it expires.

    <time in seconds since 1970, in hex>-<first 16 bytes of an HMAC of id and time, in hex>

The gateway stores no feedback token: it checks the signature.
"""

from __future__ import annotations

import hmac

SIGNATURE_BYTES = 16


def feedback_token(secret: bytes, task_id: str, *, expires: int) -> str:
    """Return the token for a prediction. expires: seconds since 1970."""
    return f"{expires:x}-{_signature(secret, task_id, f'{expires:x}')}"


def is_valid(secret: bytes, token: str, task_id: str, *, now: float) -> bool:
    """Return whether the token was made with this secret for this prediction, and has not expired."""
    expires, _, signature = token.partition("-")
    if not token.isascii() or not hmac.compare_digest(signature, _signature(secret, task_id, expires)):
        return False
    return now < int(expires, 16)


def correction_secret(secret: bytes) -> bytes:
    """Return the secret that signs ids of corrections. It differs from that of tasks, so the two kinds of ids do not mix."""
    return hmac.digest(secret, b"corrections", "sha256")


def _signature(secret: bytes, task_id: str, expires: str) -> str:
    return hmac.digest(secret, f"feedback\n{task_id}\n{expires}".encode(), "sha256")[:SIGNATURE_BYTES].hex()
