from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from trainer.tracking.outbox import Outbox, Refused


class Recipient:
    """Takes letters, or not; notes those that it took."""

    def __init__(self) -> None:
        self.took: list[str] = []
        self.attempts = 0
        self.fault: Exception | None = None

    def letter(self, name: str) -> Callable[[], None]:
        def send() -> None:
            self.attempts += 1
            if self.fault:
                raise self.fault
            self.took.append(name)

        return send


@pytest.fixture
def recipient(caplog: pytest.LogCaptureFixture) -> Recipient:
    caplog.set_level(logging.INFO, logger="trainer")
    return Recipient()


@pytest.fixture
def box() -> Iterator[Outbox]:
    made = Outbox("somebody", every=0.01, shortest_pause=0.01)
    yield made
    made.close(0)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records]


def test_letters_arrive_in_order(box: Outbox, recipient: Recipient) -> None:
    names = [str(number) for number in range(100)]
    for name in names:
        box.put(name, recipient.letter(name))

    assert box.close(10) == []
    assert recipient.took == names


def test_a_waiting_letter_is_replaced_by_another_of_its_name(recipient: Recipient) -> None:
    box = Outbox("somebody", every=60)
    for _ in range(3):
        box.put("the same", recipient.letter("the same"))

    assert box.close(10) == []
    assert recipient.took == ["the same"]


def test_what_failed_is_sent_again_before_what_came_later(
    box: Outbox, recipient: Recipient, caplog: pytest.LogCaptureFixture
) -> None:
    recipient.fault = ConnectionError("nobody is there")
    box.put("first", recipient.letter("first"))
    box.put("second", recipient.letter("second"))
    assert not box.flush(10)
    assert not box.flush(10)
    recipient.fault = None

    assert box.close(10, insist=True) == []
    assert recipient.took == ["first", "second"]
    assert lines(caplog) == [
        "somebody is unavailable; the training continues, and data are sent later: nobody is there",
        "somebody is available again, and gets the data that it missed",
    ]


def test_what_is_refused_is_not_sent_again_and_holds_up_nothing(
    box: Outbox, recipient: Recipient, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse() -> None:
        recipient.attempts += 1
        raise Refused("not of this kind")

    for _ in range(2):
        box.put("a stone", refuse)
        box.put("bread", recipient.letter("bread"))
        assert box.flush(10)

    assert box.close(10) == []
    assert recipient.took == ["bread", "bread"]
    assert recipient.attempts == 4
    assert lines(caplog) == ["somebody rejects a stone: not of this kind"]


def test_a_connection_that_was_closed_while_it_was_idle_is_no_absence(
    box: Outbox, recipient: Recipient, caplog: pytest.LogCaptureFixture
) -> None:
    def send() -> None:
        recipient.attempts += 1
        if recipient.attempts == 1:
            raise ConnectionResetError

    box.put("letter", send)

    assert box.close(10) == []
    assert lines(caplog) == []


def test_without_insisting_one_failure_ends_the_wait(box: Outbox, recipient: Recipient) -> None:
    recipient.fault = OSError("away")
    box.put("letter", recipient.letter("letter"))
    began = time.monotonic()

    assert box.close(60) == ["letter"]
    assert time.monotonic() - began < 5


def test_insisting_tries_until_the_time_is_up(box: Outbox, recipient: Recipient) -> None:
    recipient.fault = OSError("away")
    box.put("letter", recipient.letter("letter"))
    began = time.monotonic()

    assert box.close(0.5, insist=True) == ["letter"]
    assert 0.4 < time.monotonic() - began < 3
    assert recipient.attempts > 3


def test_a_recipient_that_hangs_costs_no_more_than_the_time_given(box: Outbox) -> None:
    free = threading.Event()
    box.put("letter", lambda: free.wait(30) and None)
    began = time.monotonic()

    assert box.close(0.3, insist=True) == ["letter"]
    assert time.monotonic() - began < 3
    free.set()


def test_after_the_close_nothing_more_is_sent(box: Outbox, recipient: Recipient) -> None:
    free = threading.Event()
    box.put("first", lambda: free.wait(30) and None)
    box.put("second", recipient.letter("second"))
    box.close(0.1)
    free.set()
    time.sleep(0.2)

    assert recipient.took == []


def test_more_letters_than_are_kept_are_named_as_lost(recipient: Recipient) -> None:
    box = Outbox("somebody", every=60, most=2)
    for name in ("one", "two", "three"):
        box.put(name, recipient.letter(name))

    assert box.close(10) == ["three"]
    assert recipient.took == ["one", "two"]
