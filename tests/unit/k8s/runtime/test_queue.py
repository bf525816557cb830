"""The work queue: what is taken when, and by how many threads at once."""

from __future__ import annotations

import threading
import time
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from k8s.controller.runtime.queue import MAX_BACKOFF_SECONDS, MIN_BACKOFF_SECONDS, Key, WorkQueue

PATIENCE = 30.0
A, B, C = (Key("TextClassifier", "team", name) for name in "abc")
KEYS = st.sampled_from([A, B, C])


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(clock: Clock) -> WorkQueue:
    return WorkQueue(clock=clock, draw=lambda: 0.5)


def drain(queue: WorkQueue) -> list[Key]:
    """All that can be taken now."""
    found = []
    while key := queue.take(0):
        found.append(key)
    return found


def test_keys_are_taken_in_their_order_and_once_however_often_they_are_added(queue: WorkQueue) -> None:
    for key in (B, A, B, C, A):
        queue.add(key)

    assert len(queue) == 3
    assert drain(queue) == [B, A, C]
    assert len(queue) == 0


def test_what_is_added_while_it_is_worked_on_is_taken_again_afterwards(queue: WorkQueue) -> None:
    queue.add(A)
    assert queue.take(0) == A
    queue.add(A)
    assert queue.take(0) is None
    assert len(queue) == 0

    queue.done(A)

    assert drain(queue) == [A]


def test_a_namespace_whose_passes_are_slow_does_not_hold_up_the_others(clock: Clock) -> None:
    queue, other = WorkQueue(threads=2, clock=clock), Key("TextClassifier", "other", "a")
    for key in (other, A, B, C):
        queue.add(key)
    assert queue.take(0) == other
    queue.done(other)
    assert queue.take(0) == A

    assert queue.take(0) is None  # one thread is left for whoever comes
    queue.add(other)
    assert queue.take(0) == other

    queue.done(A)
    assert queue.take(0) == B


def test_a_namespace_that_is_alone_has_all_threads(clock: Clock) -> None:
    queue = WorkQueue(threads=2, clock=clock)
    queue.add_all([A, B, C])

    assert drain(queue) == [A, B]


def test_a_key_that_is_worked_on_does_not_hold_up_the_others(queue: WorkQueue) -> None:
    queue.add(A)
    queue.take(0)
    queue.add(A)
    queue.add(B)

    assert drain(queue) == [B]


@pytest.mark.parametrize(
    "delays",
    [pytest.param([5, 20], id="the-later-comes-second"), pytest.param([20, 5], id="the-later-comes-first")],
)
def test_the_earliest_of_several_times_holds_and_is_the_only_one(queue: WorkQueue, clock: Clock, delays: list[int]) -> None:
    for seconds in delays:
        queue.add_after(A, seconds)

    clock.now += 4.9
    assert queue.take(0) is None
    clock.now += 0.1
    assert queue.take(0) == A
    queue.done(A)
    clock.now += 100
    assert queue.take(0) is None


def test_what_comes_due_while_it_is_worked_on_is_taken_again_afterwards(queue: WorkQueue, clock: Clock) -> None:
    queue.add(A)
    queue.take(0)
    queue.add_after(A, 5)
    clock.now += 5
    assert queue.take(0) is None

    queue.done(A)

    assert queue.take(0) == A


def test_a_key_that_keeps_failing_is_tried_less_and_less_often(queue: WorkQueue) -> None:
    delays = [queue.retry(A) for _ in range(12)]

    assert delays[:4] == [0.75, 1.5, 3.0, 6.0]
    assert delays[-1] == 0.75 * MAX_BACKOFF_SECONDS


def test_a_success_resets_the_backoff_of_that_key_alone(queue: WorkQueue) -> None:
    for key in (A, A, B, B):
        queue.retry(key)
    queue.forget(A)

    assert queue.retry(A) == 0.75
    assert queue.retry(B) == 3.0


@given(draws=st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=200))
def test_the_backoff_stays_within_its_bounds_whatever_is_drawn(draws: list[float]) -> None:
    left = iter(draws)
    queue = WorkQueue(clock=lambda: 0.0, draw=lambda: next(left))
    delays = [queue.retry(A) for _ in draws]

    assert all(MIN_BACKOFF_SECONDS <= each <= MAX_BACKOFF_SECONDS for each in delays)
    assert all(2 * later >= earlier for earlier, later in pairwise(delays))


def test_a_closed_queue_gives_nothing_and_wakes_those_that_wait() -> None:
    queue = WorkQueue()
    found: list[Key | None] = []
    waiting = threading.Thread(target=lambda: found.append(queue.take(PATIENCE)))
    waiting.start()
    queue.close()
    waiting.join(PATIENCE)
    queue.add(A)

    assert found == [None]
    assert queue.take(PATIENCE) is None


def test_a_thread_that_waits_is_woken_for_an_earlier_time() -> None:
    queue = WorkQueue()
    queue.add_after(A, PATIENCE)
    found: list[Key | None] = []
    waiting = threading.Thread(target=lambda: found.append(queue.take(PATIENCE)))
    waiting.start()
    time.sleep(0.05)
    queue.add_after(B, 0.05)
    waiting.join(PATIENCE / 2)

    assert found == [B]


class QueueAsAModel(RuleBasedStateMachine):
    """Any sequence of calls, against the simplest thing that could be meant."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.queue = WorkQueue(clock=self.clock, draw=lambda: 0.0)
        self.wanted: set[Key] = set()
        self.later: dict[Key, float] = {}
        self.busy: set[Key] = set()

    @rule(key=KEYS)
    def add(self, key: Key) -> None:
        self.queue.add(key)
        self.wanted.add(key)

    @rule(key=KEYS, seconds=st.integers(-1, 20))
    def add_after(self, key: Key, seconds: int) -> None:
        self.queue.add_after(key, seconds)
        self.later[key] = min(self.later.get(key, float("inf")), self.clock.now + seconds)

    @rule(seconds=st.integers(0, 10))
    def pass_time(self, seconds: int) -> None:
        self.clock.now += seconds

    @rule()
    def take(self) -> None:
        self.settle()
        free = self.wanted - self.busy
        found = self.queue.take(0)
        assert (found in free) if free else found is None
        if found:
            self.wanted.remove(found)
            self.busy.add(found)
            self.later.pop(found, None)  # who works on it says anew when

    @precondition(lambda self: self.busy)
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.busy)))
        self.busy.remove(key)
        self.queue.done(key)

    @invariant()
    def as_many_as_meant(self) -> None:
        self.settle()
        assert len(self.queue) == len(self.wanted - self.busy)

    def settle(self) -> None:
        due = {key for key, when in self.later.items() if when <= self.clock.now}
        self.wanted |= due
        for key in due:
            del self.later[key]


TestQueueAsAModel = QueueAsAModel.TestCase
TestQueueAsAModel.settings = settings(max_examples=60)


class Workers:
    """Threads that work on what a queue gives them, and note when, and whether two were at one key."""

    def __init__(self, queue: WorkQueue, number: int) -> None:
        self.overlaps: list[Key] = []
        self.taken: dict[Key, float] = {}
        self._busy: Counter[Key] = Counter()
        self._guard = threading.Lock()
        self._queue = queue
        self._threads = [threading.Thread(target=self._work) for _ in range(number)]
        for thread in self._threads:
            thread.start()

    def have_taken(self, added: dict[Key, float]) -> bool:
        """Whether each was taken since it was last added, and nobody works."""
        with self._guard:
            return not self._busy.total() and all(self.taken.get(key, 0.0) >= when for key, when in added.items())

    def end(self) -> None:
        self._queue.close()
        for thread in self._threads:
            thread.join(PATIENCE)

    def _work(self) -> None:
        while key := self._queue.take(PATIENCE):
            self._note(key, 1)
            time.sleep(0.0002)
            self._note(key, -1)
            self._queue.done(key)

    def _note(self, key: Key, more: int) -> None:
        with self._guard:
            self._busy[key] += more
            if more > 0:
                self.taken[key] = time.monotonic()
            if self._busy[key] > 1:
                self.overlaps.append(key)


@settings(max_examples=30)
@given(
    adds=st.lists(st.tuples(KEYS, st.sampled_from([0.0, 0.002])), min_size=1, max_size=60),
    workers=st.integers(1, 4),
    adders=st.integers(1, 3),
)
def test_with_threads_no_key_is_worked_on_twice_at_once_and_none_is_missed(
    adds: list[tuple[Key, float]], workers: int, adders: int
) -> None:
    queue, added = WorkQueue(), dict[Key, float]()
    working = Workers(queue, workers)

    def put(mine: list[tuple[Key, float]]) -> None:
        for key, delay in mine:
            added[key] = time.monotonic()
            if delay:
                queue.add_after(key, delay)
            else:
                queue.add(key)

    adding = [threading.Thread(target=put, args=(adds[start::adders],)) for start in range(adders)]
    for thread in adding:
        thread.start()
    for thread in adding:
        thread.join(PATIENCE)
    end = time.monotonic() + PATIENCE
    while not working.have_taken(added) and time.monotonic() < end:
        time.sleep(0.001)
    working.end()

    assert working.have_taken(added)
    assert working.overlaps == []
