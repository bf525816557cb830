"""Operations of a flusher on batches of rows: cut, forget, postpone, count. Synchronous, for threads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from redis import Redis

from gateway.config import GatewayConfig
from gateway.feedback.held import to_row
from gateway.feedback.keys import BATCH, BATCHES, CORRECTED, HELD
from gateway.records.scripts import source
from model.corrections import Correction

FOLDER = Path(__file__).parent
MOST_ROWS = 500
MOST_BYTES = 4 * 2**20  # of a batch with several rows
VALUES = 5  # of a row in the reply of the script


@dataclass(frozen=True)
class Batch:
    """Rows of one classifier that are stored as one object. A batch never changes."""

    classifier: str
    number: str
    rows: tuple[Correction, ...]


@dataclass(frozen=True)
class Waiting:
    """Rows of a classifier that are not stored yet."""

    classifier: str
    rows: int
    oldest_seconds: float


class Batches:
    """Batches, for flushers. Methods raise redis.exceptions.RedisError."""

    def __init__(self, client: Redis, config: GatewayConfig) -> None:
        self._client = client
        self._lease_ms = int(config.lease_seconds * 1000)
        self._age_ms = int(config.flush_seconds * 1000)
        self._retention_ms = int(config.retention_seconds * 1000)
        self._cut, self._forget, self._postpone, self._sight = (
            client.register_script(source(name, FOLDER)) for name in ("cut", "forget", "postpone", "sight")
        )

    def classifiers(self) -> tuple[str, ...]:
        """Return the classifiers that have had a correction."""
        return tuple(sorted(cast("set[str]", self._client.smembers(CORRECTED))))

    def cut(self, classifier: str) -> Batch | None:
        """Lease the classifier's batch, or a new one; None if another process has it, or there is nothing to store yet."""
        keys = [HELD + classifier, BATCH + classifier, BATCHES]
        reply = cast("list[str] | None", self._cut(keys=keys, args=[self._lease_ms, MOST_ROWS, MOST_BYTES, self._age_ms]))
        if reply is None:
            return None
        number, *values = reply
        return Batch(classifier, number, tuple(_rows(values)))

    def forget(self, batch: Batch, key: str) -> int | None:
        """Forget the batch, stored under this key. Return its number of corrections; None if another process forgot it."""
        args: list[str | int] = [batch.number, key, self._retention_ms]
        corrections = cast("int", self._forget(keys=[BATCH + batch.classifier], args=args))
        return None if corrections < 0 else corrections

    def postpone(self, batch: Batch, *, seconds: float) -> None:
        """Give the batch back. It can be leased again after this time, or after lease_seconds if that is shorter."""
        delay = min(int(seconds * 1000), self._lease_ms)
        self._postpone(keys=[BATCH + batch.classifier], args=[batch.number, delay])

    def waiting(self) -> tuple[Waiting, ...]:
        """Return the number and age of the held rows, by classifier."""
        reply = cast("list[Any]", self._sight(keys=[CORRECTED]))
        return tuple(Waiting(reply[at], int(reply[at + 1]), reply[at + 2] / 1000) for at in range(0, len(reply), 3))


def _rows(values: list[str]) -> Iterator[Correction]:
    for at in range(0, len(values), VALUES):
        row, text, fields, created, withdrawn = values[at : at + VALUES]
        yield to_row(row, text, fields, created=created, withdrawn=withdrawn)
