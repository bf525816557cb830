"""Map a function over pieces on threads, for functions that release the interpreter lock, such as compiled ones or polars."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from model.cores import usable_cores

Piece = TypeVar("Piece")
Done = TypeVar("Done")


def thread_map(work: Callable[[Piece], Done], pieces: Iterable[Piece]) -> Iterator[Done]:
    """Apply `work` to each piece on threads and yield the results in order. At most one piece per core is in work."""
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
        # Does not wait: if the reader stops early, this may run on any thread, even one of the pool.
        pool.shutdown(wait=False, cancel_futures=True)
