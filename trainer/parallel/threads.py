"""Work on many pieces at once, on threads, for what holds no interpreter lock: compiled functions, polars, tokenizers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from model.cores import usable_cores

Piece = TypeVar("Piece")
Done = TypeVar("Done")


def side_by_side(work: Callable[[Piece], Done], pieces: Iterable[Piece]) -> Iterator[Done]:
    """What the work makes of each piece, in order; as many pieces in work, and in memory, as there are processors."""
    threads = usable_cores()
    waiting: deque[Future[Done]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for piece in pieces:
            waiting.append(pool.submit(work, piece))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        # Not waited for: where the reader has enough, this may be tidied up on any thread, one of the pool's among them.
        pool.shutdown(wait=False, cancel_futures=True)
