"""Rates of tokens. Requests are counted in Redis, so a rate limits all API processes together."""

from __future__ import annotations

import math
import time

from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from gateway.api.problems import retry_later
from gateway.api.tokens import Token
from gateway.records.connections import API_SECONDS


class Rates:
    """Counter of requests by token."""

    def __init__(self, redis: str) -> None:
        storage = RedisStorage(
            f"async+{redis}",
            implementation="redispy",
            key_prefix="rate",
            socket_timeout=API_SECONDS,
            socket_connect_timeout=API_SECONDS,
            retry=Retry(NoBackoff(), 0),  # type: ignore[arg-type]  # passed on to the client
        )
        self._limiter = SlidingWindowCounterRateLimiter(storage)

    async def count(self, token: Token) -> None:
        """Count a request. Raises Problem 429 if the token exceeds its rate, and RedisError."""
        limit = token.limit()
        if limit is None or await self._limiter.hit(limit, token.name):
            return
        window = await self._limiter.get_window_stats(limit, token.name)
        seconds = max(1, math.ceil(window.reset_time - time.time()))
        raise retry_later(
            429, "rate-exceeded", f"The token {token.name} may send {token.rate}. Wait {seconds} s.", seconds=seconds
        )
