"""Operations of a worker on webhooks that are not delivered. They are in Redis, as tasks are. Synchronous."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from redis import Redis

from gateway.records.keys import TASK, WEBHOOKS
from gateway.records.record import Record
from gateway.records.scripts import source

LEASE_SECONDS = 60.0  # an attempt takes less, unless its worker was killed
LONGEST_DELAY_SECONDS = 600.0


@dataclass(frozen=True)
class DueWebhook:
    """Webhook that this worker sends now. number: number of this attempt, from 1."""

    record: Record
    address: str
    number: int
    age_seconds: float  # since the outcome
    request_id: str


class Webhooks:
    """Webhooks of tasks that have their outcome. Methods raise redis.exceptions.RedisError."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._claim, self._defer = (client.register_script(source(name)) for name in ("claim_webhook", "defer_webhook"))

    def claim(self) -> DueWebhook | None:
        """Lease the webhook that has been due for longest; None if none is due."""
        latest = int(1000 * (LEASE_SECONDS + 2 * LONGEST_DELAY_SECONDS))
        reply = self._claim(keys=[WEBHOOKS], args=[int(1000 * LEASE_SECONDS), latest, *Record.FIELDS])
        if reply is None:
            return None
        task_id, number, age, address, request_id, *values = cast("list[Any]", reply)
        return DueWebhook(Record.of(task_id, values), address, number, age / 1000, request_id)

    def end(self, webhook: DueWebhook) -> None:
        """Remove the webhook, because it was delivered or is given up."""
        self._client.zrem(WEBHOOKS, webhook.record.id)

    def defer(self, webhook: DueWebhook, *, seconds: float) -> None:
        """Make the webhook due after this time."""
        keys = [WEBHOOKS, TASK + webhook.record.id]
        self._defer(keys=keys, args=[webhook.record.id, webhook.number, int(seconds * 1000)])
