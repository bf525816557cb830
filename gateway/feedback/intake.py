"""Operations of the API on corrections: accept, read, withdraw. Asynchronous."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, cast

from redis.asyncio import Redis

from gateway.config import GatewayConfig
from gateway.feedback.held import Held, to_fields
from gateway.feedback.keys import CORRECTED, CORRECTION, CORRECTIONS_OF, HELD
from gateway.records.scripts import source
from model.corrections import Correction

FOLDER = Path(__file__).parent
MOST_OF_A_TEXT = 100  # corrections of one text within retention_seconds; many people may have the same feedback token


class Outcome(StrEnum):
    """Result of a correction that was sent."""

    ACCEPTED = "accepted"
    REPEATED = "repeated"  # the author's latest correction of this text is the same
    FULL = "full"
    OFTEN = "often"  # the text has been corrected MOST_OF_A_TEXT times


@dataclass(frozen=True)
class Accepted:
    """Outcome, and the id of the correction if there is one."""

    outcome: Outcome
    id: str


class FeedbackIntake:
    """Corrections, for the API. Every method raises redis.exceptions.RedisError."""

    def __init__(self, client: Redis, config: GatewayConfig) -> None:
        self._client = client
        self._config = config
        self._accept, self._withdraw = (client.register_script(source(name, FOLDER)) for name in ("accept", "withdraw"))

    async def accept(self, classifier: str, correction: Correction, *, of: str) -> Accepted:
        """Write the correction. of: key of the corrected text. A repeated call with the same id changes nothing."""
        said = json.dumps([correction.labels, correction.comment])
        reply = await self._accept(
            keys=[CORRECTION + correction.id, CORRECTIONS_OF + of, HELD + classifier, CORRECTED],
            args=[
                correction.id,
                correction.author,
                hashlib.sha256(said.encode()).hexdigest(),
                classifier,
                self._config.max_held_corrections,
                MOST_OF_A_TEXT,
                self._retention_ms,
                *(part for field in to_fields(correction).items() for part in field),
            ],
        )
        outcome, known_id = cast("list[str]", reply)
        return Accepted(Outcome(outcome), known_id)

    async def read(self, correction_id: str) -> Held | None:
        """Return the correction; None if there is none, or it is gone."""
        values: list[Any] = await self._client.hmget(CORRECTION + correction_id, *Held.FIELDS)
        return None if values[0] is None else Held.of(correction_id, values)

    async def withdraw(self, correction: Held) -> bool:
        """Withdraw the correction. Return whether it still existed."""
        keys = [CORRECTION + correction.id, HELD + correction.classifier]
        return bool(await self._withdraw(keys=keys, args=[correction.id, self._retention_ms]))

    @property
    def _retention_ms(self) -> int:
        return int(self._config.retention_seconds * 1000)
