"""Operations of a worker on records: claim, finish, defer, count missing hints. Synchronous, for threads."""

from __future__ import annotations

import json
from typing import Any, cast

from redis import Redis
from redis.exceptions import BusyLoadingError, ConnectionError, ReadOnlyError, TimeoutError  # noqa: A004 - Redis' own names
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from gateway.config import GatewayConfig
from gateway.records.keys import BOOKS, FINISHED_CHANNEL, HINTS, OPEN, SWEEP, TASK, WEBHOOKS
from gateway.records.record import Answer, Claim, Failure, State
from gateway.records.scripts import source

AWAY = (BusyLoadingError, ConnectionError, ReadOnlyError, TimeoutError)  # Redis is away, or not ready yet
SWEEP_SECONDS = 1.0
MOST_HINTS = 200  # in the queue after a sweep; for each hint, a worker claims tasks until none is due


class Leases:
    """Records of tasks, for workers. Methods raise redis.exceptions.RedisError."""

    def __init__(self, client: Redis, config: GatewayConfig) -> None:
        self._lease_ms = int(config.lease_seconds * 1000)
        self._retention_ms = int(config.retention_seconds * 1000)
        self._latest_due_ms = self._lease_ms + int(2 * config.max_delay_seconds * 1000)
        self._claim, self._finish, self._defer, self._sweep = (
            client.register_script(source(name)) for name in ("claim", "finish", "defer", "sweep")
        )
        # Repeating the write is cheaper than asking the predictor again, so it is repeated until the lease ends.
        self._patiently = Retrying(
            retry=retry_if_exception_type(AWAY),
            stop=stop_after_delay(config.lease_seconds - config.request_seconds),
            wait=wait_random_exponential(multiplier=0.1, max=2),
            reraise=True,
        )

    def claim(self) -> Claim | None:
        """Lease the task that has been due for longest; None if none is due."""
        reply = cast("list[Any] | None", self._claim(keys=list(BOOKS), args=[self._lease_ms, self._latest_due_ms]))
        if reply is None:
            return None
        task_id, number, failures, expired, age, classifier, texts, request_id = reply
        return Claim(task_id, number, failures, bool(expired), age / 1000, classifier, tuple(json.loads(texts)), request_id)

    def finish(self, task_id: str, outcome: Answer | Failure) -> bool:
        """Write the outcome. Return whether it was the first one. Repeats the call while Redis is away."""
        state, field = (State.SUCCESS, "answer") if isinstance(outcome, Answer) else (State.FAILED, "failure")
        args = [task_id, state.value, self._retention_ms, FINISHED_CHANNEL, field, outcome.model_dump_json()]
        return bool(self._patiently(self._finish, keys=[*BOOKS, TASK + task_id, WEBHOOKS], args=args))

    def defer(self, claim: Claim, *, seconds: float, failed: bool) -> bool:
        """Give the task back, due after this time. failed: counts as a failure. Return whether the claim was the latest."""
        args = [claim.id, claim.number, int(seconds * 1000), int(failed)]
        return bool(self._patiently(self._defer, keys=[*BOOKS, TASK + claim.id], args=args))

    def missing_hints(self) -> int:
        """Return the number of missing hints; 0 if a worker has counted them within SWEEP_SECONDS."""
        args = [int(SWEEP_SECONDS * 1000), self._latest_due_ms, MOST_HINTS]
        return max(0, cast("int", self._sweep(keys=[OPEN, SWEEP, HINTS], args=args)))
