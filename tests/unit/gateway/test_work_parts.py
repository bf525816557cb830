"""Parts of a worker that need no Redis: breaker, delays, and which Redis is refused."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.records.durability import faults, is_full
from gateway.work.backoff import delay_seconds
from gateway.work.breaker import FAILURES_TO_OPEN, OPEN_SECONDS, Breaker

DURABLE = {
    "aof_enabled": 1,
    "appendfsync": "always",
    "aof_last_write_status": "ok",
    "maxmemory_policy": "noeviction",
    "role": "master",
}


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def opened(clock: Clock) -> Breaker:
    breaker = Breaker(clock)
    for _ in range(FAILURES_TO_OPEN):
        breaker.unavailable()
    return breaker


def test_a_breaker_opens_after_failures_in_a_row() -> None:
    breaker = Breaker(Clock())
    for _ in range(FAILURES_TO_OPEN - 1):
        breaker.unavailable()
    breaker.answered()
    breaker.unavailable()

    assert not breaker.is_open
    assert not opened(Clock()).may_ask()


def test_an_open_breaker_lets_one_request_try_at_a_time() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += OPEN_SECONDS

    assert [breaker.may_ask() for _ in range(3)] == [True, False, False]

    breaker.unavailable()
    assert not breaker.may_ask()
    clock.now += OPEN_SECONDS
    assert breaker.may_ask()
    breaker.answered()
    assert [breaker.may_ask() for _ in range(3)] == [True, True, True]


@pytest.mark.parametrize("claims", [1, 2, 5, 10, 1000])
def test_delays_grow_up_to_a_limit_and_are_spread(claims: int) -> None:
    delays = {delay_seconds(claims, longest=30) for _ in range(50)}

    assert len(delays) > 1
    assert max(delays) <= min(30, 0.5 * 2**claims)
    assert min(delays) >= 0.5 * min(30, 0.5 * 2**claims)


def test_a_predictor_may_ask_for_more_time_but_not_for_hours() -> None:
    assert delay_seconds(1, longest=30, asked=20) == 20
    assert delay_seconds(1, longest=30, asked=3600) == 30


def test_a_durable_redis_has_no_faults() -> None:
    assert faults(DURABLE) == []


def test_a_hosted_redis_that_hides_its_settings_is_judged_by_what_it_shows() -> None:
    assert faults({name: value for name, value in DURABLE.items() if name != "appendfsync"}) == []


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        pytest.param({"aof_enabled": 0}, "Redis has appendonly no: expected yes", id="no-file"),
        pytest.param({"appendfsync": "everysec"}, "Redis has appendfsync everysec: expected always", id="later"),
        pytest.param(
            {"maxmemory_policy": "allkeys-lru"}, "Redis has maxmemory-policy allkeys-lru: expected noeviction", id="evicts"
        ),
        pytest.param({"aof_last_write_status": "err"}, "Redis cannot write its append-only file", id="disk-full"),
        pytest.param({"role": "slave"}, "Redis is a slave: expected the address of the primary", id="replica"),
    ],
)
def test_a_redis_that_may_lose_tasks_is_refused_in_a_sentence(changed: dict[str, Any], sentence: str) -> None:
    (found,) = faults(DURABLE | changed)

    assert sentence in found


@pytest.mark.parametrize(("used", "limit", "full"), [(95, 100, True), (90, 100, False), (95, 0, False)])
def test_memory_is_full_before_redis_refuses_writes(used: int, limit: int, full: bool) -> None:
    assert is_full({"used_memory": used, "maxmemory": limit}) == full
