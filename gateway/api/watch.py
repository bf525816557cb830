"""Watch over Redis and the predictors. Readiness, metrics and submissions use its latest facts instead of asking."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

import httpx
from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway.classifiers.known import Classifiers
from gateway.records.durability import examine, faults, is_full
from gateway.records.intake import Intake, Sight

WATCH_SECONDS = 1.0
PREDICTOR_SECONDS = 5.0
AWAY = "Redis does not answer."

logger = logging.getLogger(__name__)


@dataclass
class Seen:
    """Latest facts. redis: reasons why tasks cannot be accepted; predictors: by classifier, "ready" or the reason why not."""

    redis_answers: bool
    redis: list[str]
    memory_full: bool
    open: Sight | None
    predictors: dict[str, str]


class Watch:
    """Loops that look at Redis every second, and at the predictors every five seconds."""

    def __init__(self, client: Redis, intake: Intake, classifiers: Classifiers) -> None:
        self._client = client
        self._intake = intake
        self._classifiers = classifiers
        unknown = dict.fromkeys(classifiers.addresses, "not asked yet")
        self.seen = Seen(redis_answers=False, redis=[AWAY], memory_full=False, open=None, predictors=unknown)

    async def run(self) -> None:
        """Run both loops. Never returns."""
        await asyncio.gather(self._watch_redis(), self._watch_predictors())

    async def look_at_redis(self) -> None:
        """Look at Redis once."""
        before, seen = self.seen.redis, self.seen
        try:
            facts = await examine(self._client)
            seen.open = await self._intake.sight()
            seen.redis_answers, seen.redis, seen.memory_full = True, faults(facts), is_full(facts)
        except (RedisError, OSError) as error:
            seen.redis_answers, seen.redis, seen.open = False, [AWAY], None
            if before != seen.redis:
                logger.warning("Redis is away: %s", error)
        if before != seen.redis:
            logger.info("Redis: %s", " ".join(seen.redis) or "ready")

    async def _watch_redis(self) -> None:
        while True:
            await self.look_at_redis()
            await asyncio.sleep(WATCH_SECONDS)

    async def _watch_predictors(self) -> None:
        async with httpx.AsyncClient(timeout=2, trust_env=False) as client:
            while True:
                known = self._classifiers.addresses.items()
                states = [await _readiness(client, f"{address}/v2/models/{name}/ready") for name, address in known]
                self.seen.predictors = {name: state for (name, _), state in zip(known, states, strict=True)}
                await asyncio.sleep(PREDICTOR_SECONDS)


async def _readiness(client: httpx.AsyncClient, url: str) -> str:
    try:
        response = await client.get(url)
    except httpx.HTTPError as error:
        return f"does not answer ({type(error).__name__})"
    return "ready" if response.is_success else f"answers with status {response.status_code}"
