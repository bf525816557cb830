"""Operations of the API on records: accept, read, erase, count. Asynchronous."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, cast

from redis.asyncio import Redis

from gateway.config import GatewayConfig
from gateway.records.keys import BOOKS, FINISHED_CHANNEL, HINTS, IDEMPOTENCY, TASK, WEBHOOKS
from gateway.records.record import Record, Submission
from gateway.records.scripts import source


class Outcome(StrEnum):
    """Result of a submission."""

    ACCEPTED = "accepted"
    REPEATED = "repeated"  # the Idempotency-Key came before, with the same payload
    CONFLICT = "conflict"  # it came before, with another payload
    FULL = "full"


@dataclass(frozen=True)
class Accepted:
    """Result of a submission. created: milliseconds since 1970; hints: number of hints in the queue."""

    outcome: Outcome
    id: str
    created: int
    hints: int = 0


@dataclass(frozen=True)
class Sight:
    """Figures of open tasks, and of webhooks that are not delivered."""

    tasks: int
    processing: int
    bytes: int
    oldest_seconds: float
    webhooks: int


class Intake:
    """Records of tasks, for the API. Every method raises redis.exceptions.RedisError."""

    def __init__(self, client: Redis, config: GatewayConfig) -> None:
        self._client = client
        self._config = config
        self._accept, self._erase, self._sight = (client.register_script(source(name)) for name in ("accept", "erase", "sight"))

    async def accept(self, task_id: str, submission: Submission, *, idempotency_key: str | None = None) -> Accepted:
        """Write the record. The call may be repeated with the same id: the second one changes nothing."""
        fields = submission.fields()
        keys = [*BOOKS, TASK + task_id, HINTS]
        if idempotency_key is not None:
            scoped = f"{submission.owner}\n{idempotency_key}".encode()
            keys.append(IDEMPOTENCY + hashlib.sha256(scoped).hexdigest())
        payload = "\n".join(fields.get(name, "") for name in ("classifier", "several", "webhook", "texts"))
        reply = await self._accept(
            keys=keys,
            args=[
                task_id,
                self._config.max_open_tasks,
                self._config.max_open_bytes,
                len(fields["texts"].encode()),
                int(self._config.retention_seconds * 1000),
                hashlib.sha256(payload.encode()).hexdigest(),
                *(part for field in fields.items() for part in field),
            ],
        )
        outcome, known_id, created, hints = cast("list[str]", reply)
        return Accepted(Outcome(outcome), known_id, int(created), int(hints))

    async def read(self, task_id: str) -> Record | None:
        """Return the record; None if there is none, or it is gone."""
        values: list[Any] = await self._client.hmget(TASK + task_id, *Record.FIELDS)
        return None if values[0] is None else Record.of(task_id, values)

    async def texts(self, task_id: str) -> tuple[str, ...] | None:
        """Return the texts of the task; None if there is no record, or it is gone."""
        value: str | None = await cast("Any", self._client.hget(TASK + task_id, "texts"))
        return None if value is None else tuple(json.loads(value))

    async def erase(self, task_id: str) -> bool:
        """Remove the record with texts and answer. Return whether there was one."""
        return bool(await self._erase(keys=[*BOOKS, TASK + task_id, WEBHOOKS], args=[task_id, FINISHED_CHANNEL]))

    async def sight(self) -> Sight:
        """Return the figures at this moment."""
        tasks, processing, size, oldest, webhooks = cast("list[int]", await self._sight(keys=[*BOOKS, WEBHOOKS]))
        return Sight(tasks, processing, size, oldest / 1000, webhooks)
