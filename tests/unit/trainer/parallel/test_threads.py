"""Pieces are worked on at once and come back in order, however the work or its reader ends."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator

import pytest

from model.cores import usable_cores
from trainer.parallel.threads import thread_map


def test_what_comes_back_is_in_order() -> None:
    assert list(thread_map(lambda each: (time.sleep(each % 3 / 1000), each)[1], range(50))) == list(range(50))


def test_as_many_pieces_are_taken_as_there_are_processors_and_one() -> None:
    taken: list[int] = []

    def pieces() -> Iterator[int]:
        for each in range(100):
            taken.append(each)
            yield each

    done = thread_map(str, pieces())
    assert next(done) == "0"
    assert len(taken) == usable_cores() + 1


def test_an_error_arrives_where_its_piece_would_have() -> None:
    done = thread_map(lambda each: 1 // (3 - each), range(9))

    assert [next(done) for _ in range(3)] == [0, 0, 1]
    with pytest.raises(ZeroDivisionError):
        next(done)


def test_a_reader_may_have_enough_on_any_thread() -> None:
    held = [thread_map(str, range(1_000))]
    next(held[0])

    def drop() -> None:
        held.clear()
        gc.collect()

    threads = [thread_map(lambda _: drop(), range(1))]
    assert list(threads[0]) == [None]
    deadline = time.monotonic() + 10
    while any(each.name.startswith("ThreadPoolExecutor") for each in threading.enumerate()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(each.name.startswith("ThreadPoolExecutor") for each in threading.enumerate())
