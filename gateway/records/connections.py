"""Connections to Redis, with time-outs for API and workers."""

from __future__ import annotations

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

API_SECONDS = 0.8  # so that clients get an error within a second if Redis hangs
WORKER_SECONDS = 5.0


def for_api(address: str) -> redis.asyncio.Redis:
    """Return a client that answers or fails within a second. After a lost connection it repeats the call once."""
    return redis.asyncio.from_url(
        address,
        decode_responses=True,
        socket_connect_timeout=API_SECONDS / 2,
        socket_timeout=API_SECONDS,
        retry=AsyncRetry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
    )


def for_worker(address: str) -> redis.Redis:
    """Return a client for threads."""
    return redis.from_url(
        address,
        decode_responses=True,
        socket_connect_timeout=WORKER_SECONDS,
        socket_timeout=WORKER_SECONDS,
        retry=Retry(NoBackoff(), 1),
    )
