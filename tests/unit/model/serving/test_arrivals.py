"""Which connection is ended when there are too many, or too much of what they began is held."""

from __future__ import annotations

from model.serving.arrivals import UNREAD_SECONDS, Arrivals


class Clock:
    """Goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1e-6  # no two moments are the same
        return self.now


class Client:
    """A connection that knows what became of it."""

    def __init__(self, arrivals: Arrivals) -> None:
        self._arrivals = arrivals
        self.ended = self.turned_away = False
        arrivals.opened(self)

    def end_stalled(self) -> None:
        self.ended = True
        self._arrivals.closed(self)

    def turn_away(self) -> None:
        self.turned_away = True


def arrivals(*, connections: int = 3, stalled_bytes: int = 100, clock: Clock | None = None) -> Arrivals:
    return Arrivals(connections=connections, stalled_bytes=stalled_bytes, clock=clock or Clock())


def test_of_too_many_connections_the_one_that_has_stalled_for_longest_is_ended() -> None:
    made = arrivals()
    silent, slow, third = (Client(made) for _ in range(3))
    made.unfinished(slow, 1)
    made.unfinished(slow, 2)
    made.idle(silent)  # was answered just now

    fourth = Client(made)
    assert (silent.ended, slow.ended, third.ended) == (False, False, True)
    fifth = Client(made)
    assert (silent.ended, slow.ended) == (False, True)
    assert not fourth.ended
    assert not fifth.ended


def test_who_waits_for_an_answer_is_not_ended_and_who_comes_then_is_turned_away() -> None:
    made = arrivals()
    waiting = [Client(made) for _ in range(3)]
    for each in waiting:
        made.busy(each)

    newcomer = Client(made)
    assert newcomer.turned_away
    assert not any(each.ended for each in waiting)


def test_of_too_many_bytes_the_request_that_was_begun_first_is_ended() -> None:
    made = arrivals(connections=10)
    first, second, third = (Client(made) for _ in range(3))
    made.unfinished(first, 40)
    made.unfinished(second, 40)
    made.unfinished(first, 45)
    made.unfinished(third, 20)

    assert [each.ended for each in (first, second, third)] == [True, False, False]


def test_a_request_that_is_whole_takes_no_room_from_others() -> None:
    made = arrivals(connections=100)
    clients = [Client(made) for _ in range(20)]
    for each in clients:
        made.unfinished(each, 90)
        made.busy(each)

    assert not any(each.ended for each in clients)


def test_an_answer_may_be_left_unread_for_a_while_and_longer_while_there_is_room() -> None:
    clock = Clock()
    made = arrivals(connections=10, clock=clock)
    slow, slower = Client(made), Client(made)
    made.unread(slow, 80)
    made.unread(slower, 80)
    assert not slow.ended

    clock.now += UNREAD_SECONDS
    made.unread(Client(made), 1)
    assert (slow.ended, slower.ended) == (True, False)
    clock.now += 100 * UNREAD_SECONDS
    made.unread(Client(made), 1)
    assert not slower.ended
