"""Turns of the largest requests: they are parsed one after the other, with time for other requests in between.

Parsing one of them blocks the event loop for up to 50 ms. Without turns, other requests would wait for all that have arrived.
"""

from __future__ import annotations

import asyncio

MIN_BYTES = 2**20  # of a request that waits for its turn; it is so large that the wait makes no difference to it
GAP_SECONDS = 0.01  # between the end of one turn and the beginning of the next


class ParsingTurns:
    """Turns of the largest requests of one event loop, in the order of their arrival."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    async def wait(self, size: int) -> None:
        """Return when a request of this size may be parsed, which must happen at once; for a small one, that is now."""
        if size >= MIN_BYTES:
            async with self._lock:  # while one is parsed after its wait, the timer of the next one has not begun
                await asyncio.sleep(GAP_SECONDS)
