"""Requirements that Redis must meet: it must not lose a record that it has acknowledged."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

FULL_SHARE = 0.9  # of maxmemory; the rest is for hints, leases and answers of accepted tasks


async def examine(client: Redis) -> dict[str, Any]:
    """Return the facts for `faults` and `is_full`. A hosted Redis may refuse CONFIG; then `appendfsync` is missing."""
    facts: dict[str, Any] = dict(await client.info())
    with suppress(ResponseError):
        facts["appendfsync"] = (await client.config_get("appendfsync"))["appendfsync"]
    return facts


def faults(facts: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each reason why this Redis may lose records."""
    found = []
    if not facts.get("aof_enabled"):
        found.append("Redis has appendonly no: expected yes, or a restart loses tasks.")
    elif facts.get("appendfsync", "always") != "always":
        found.append(f"Redis has appendfsync {facts['appendfsync']}: expected always, or a crash loses the last tasks.")
    if facts.get("aof_enabled") and facts.get("aof_last_write_status", "ok") != "ok":
        found.append("Redis cannot write its append-only file: its log says why, often a full disk.")
    if (policy := facts.get("maxmemory_policy", "noeviction")) != "noeviction":
        found.append(f"Redis has maxmemory-policy {policy}: expected noeviction, or it deletes tasks when its memory is full.")
    if facts.get("role", "master") != "master":
        found.append(f"Redis is a {facts['role']}: expected the address of the primary.")
    return found


def is_full(facts: Mapping[str, Any]) -> bool:
    """Return whether new tasks are refused because the memory is full."""
    limit = int(facts.get("maxmemory") or 0)
    return limit > 0 and int(facts.get("used_memory", 0)) > FULL_SHARE * limit
