"""Waiting for the outcome of a task: when it is written, Redis publishes the id of the task.

A published message may be lost, so the record is also read once a second.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from time import monotonic

from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway.records.keys import FINISHED_CHANNEL
from gateway.records.record import Record, State

FINAL = (State.SUCCESS, State.FAILED)
READ_SECONDS = 1.0

logger = logging.getLogger(__name__)


class Finishes:
    """Tasks that requests of this process wait for."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._waiting: dict[str, set[asyncio.Event]] = {}

    async def listen(self) -> None:
        """Wake the requests whose task has its outcome. Never returns."""
        while True:
            try:
                async with self._client.pubsub(ignore_subscribe_messages=True) as subscription:
                    await subscription.subscribe(FINISHED_CHANNEL)
                    while True:
                        message = await subscription.get_message(timeout=READ_SECONDS)
                        for event in self._waiting.get(message["data"], ()) if message else ():
                            event.set()
            except (RedisError, OSError) as error:
                logger.warning("cannot listen for finished tasks: %s", error)
                await asyncio.sleep(READ_SECONDS)

    async def wait(
        self, read: Callable[[], Awaitable[Record | None]], task_id: str, *, seconds: float, stopping: asyncio.Event
    ) -> Record | None:
        """Return the record once it is final; None once it is gone. After this time, or if the process stops, in any state."""
        event, deadline = asyncio.Event(), monotonic() + seconds
        self._waiting.setdefault(task_id, set()).add(event)
        try:
            while True:
                record = await read()
                left = deadline - monotonic()
                if record is None or record.state in FINAL or left <= 0 or stopping.is_set():
                    return record
                await _first_of(event, stopping, seconds=min(left, READ_SECONDS))
                event.clear()
        finally:
            self._waiting[task_id].discard(event)
            if not self._waiting[task_id]:
                del self._waiting[task_id]


async def _first_of(*events: asyncio.Event, seconds: float) -> None:
    tasks = [asyncio.create_task(each.wait()) for each in events]
    try:
        await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
