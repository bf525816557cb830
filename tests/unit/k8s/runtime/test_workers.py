"""Threads that take keys, and what becomes of a pass that fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from k8s.controller.clients.kubernetes import RequestRefused, Unavailable, WriteConflict
from k8s.controller.runtime.metrics import ControllerMetrics
from k8s.controller.runtime.queue import Key, WorkQueue
from k8s.controller.runtime.workers import Workers

A, B = (Key("TextClassifier", "one", name) for name in "ab")
PATIENCE = 20.0


class Passes:
    """What each pass does, one after the other; then nothing."""

    def __init__(self, *outcomes: Any) -> None:
        self.outcomes, self.seen, self.times = list(outcomes), list[Key](), list[float]()

    def __call__(self, key: Key) -> float | None:
        self.seen.append(key)
        self.times.append(time.monotonic())
        outcome = self.outcomes.pop(0) if self.outcomes else None
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def until(true: Callable[[], Any]) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def working(registry: CollectorRegistry) -> Iterator[Callable[..., tuple[WorkQueue, Workers]]]:
    made: list[Workers] = []

    def begin(reconcile: Callable[[Key], float | None], *, threads: int = 1) -> tuple[WorkQueue, Workers]:
        queue = WorkQueue(draw=lambda: 0.0)
        made.append(Workers(queue, reconcile, ControllerMetrics(registry), threads=threads))
        made[-1].start()
        return queue, made[-1]

    yield begin
    for each in made:
        each.stop()


def failures(registry: CollectorRegistry, reason: str) -> float | None:
    labels = {"kind": "TextClassifier", "reason": reason}
    return registry.get_sample_value("labelwright_controller_reconcile_errors_total", labels)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        pytest.param(WriteConflict("changed"), "conflict", id="conflict"),
        pytest.param(Unavailable("away"), "unavailable", id="unavailable"),
        pytest.param(RequestRefused("no right"), "refused", id="refused"),
        pytest.param(KeyError("x"), "fault", id="a-fault-of-ours"),
    ],
)
def test_a_pass_that_fails_is_counted_and_tried_again(working: Any, registry: CollectorRegistry, error: Any, reason: str) -> None:
    passes = Passes(error)
    queue, workers = working(passes)
    queue.add(A)
    until(lambda: len(passes.seen) == 2)
    assert passes.times[1] - passes.times[0] >= 0.4
    assert failures(registry, reason) == 1
    assert workers.are_well()


def test_a_pass_says_when_to_look_again(working: Any) -> None:
    passes = Passes(0.05, None)
    queue, _ = working(passes)
    queue.add(A)
    until(lambda: len(passes.seen) == 2)
    time.sleep(0.2)
    assert passes.seen == [A, A]


def test_different_objects_are_looked_at_side_by_side(working: Any) -> None:
    both = threading.Barrier(2, timeout=PATIENCE)
    met: list[Key] = []

    def meet(key: Key) -> None:
        both.wait()
        met.append(key)

    queue, _ = working(meet, threads=2)
    queue.add_all([A, B])
    until(lambda: len(met) == 2)


def test_those_that_stop_finish_what_they_began(working: Any) -> None:
    began, finished = threading.Event(), threading.Event()

    def slowly(key: Key) -> None:
        began.set()
        time.sleep(0.2)
        finished.set()

    queue, workers = working(slowly)
    queue.add(A)
    assert began.wait(PATIENCE)
    workers.stop()
    assert finished.is_set()
    assert not workers.are_well()
