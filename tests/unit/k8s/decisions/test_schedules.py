"""When a schedule comes: against a calendar read minute by minute, and where clocks are put forward or back."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from k8s.controller.decisions.schedules import ScheduleRejected, parse

# Changes of an hour, of half an hour, at midnight, none, and one that left out a day.
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Santiago", "Asia/Kolkata", "Pacific/Apia"]
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def instants(year: int) -> st.SearchStrategy[datetime]:
    start = datetime(year, 1, 1)
    return st.datetimes(start, start + 365 * DAY, timezones=st.just(UTC))


def fields(low: int, high: int) -> st.SearchStrategy[str]:
    one = st.integers(low, high)
    ranges = st.tuples(one, one).map(lambda ends: f"{min(ends)}-{max(ends)}")
    steps = st.integers(1, high).map(lambda step: f"*/{step}")
    lists = st.lists(one, min_size=1, max_size=3).map(lambda each: ",".join(map(str, each)))
    return st.one_of(st.just("*"), one.map(str), ranges, steps, lists)


expressions = st.tuples(fields(0, 59), fields(0, 23), fields(1, 28), fields(1, 12), fields(0, 6)).map(" ".join)


def matches(field: str, value: int, *, low: int) -> bool:
    """What a field means, in the plainest way."""
    if field.startswith("*/"):
        return (value - low) % int(field[2:]) == 0
    if "-" in field:
        first, last = map(int, field.split("-"))
        return first <= value <= last
    return field == "*" or value in map(int, field.split(","))


def comes_at(expression: str, when: datetime) -> bool:
    minute, hour, day, month, weekday = expression.split()
    days = [matches(day, when.day, low=1), matches(weekday, when.isoweekday() % 7, low=0)]
    either = not (day.startswith("*") or weekday.startswith("*"))
    return (
        matches(minute, when.minute, low=0)
        and matches(hour, when.hour, low=0)
        and matches(month, when.month, low=1)
        and (any(days) if either else all(days))
    )


@settings(max_examples=150)
@given(expression=expressions, after=instants(2027))
def test_the_next_time_is_the_first_minute_that_matches(expression: str, after: datetime) -> None:
    following = parse(expression, "UTC").next(after)
    minute = after.replace(second=0, microsecond=0) + MINUTE

    assert comes_at(expression, following)
    for _ in range(3 * 24 * 60):
        if minute >= following:
            break
        assert not comes_at(expression, minute)
        minute += MINUTE


@settings(max_examples=150)
@given(expression=expressions, zone=st.sampled_from(ZONES), after=instants(2026), hours=st.floats(0, 3000))
def test_the_last_time_is_the_one_before_the_first_that_is_too_late(
    expression: str, zone: str, after: datetime, hours: float
) -> None:
    schedule, until = parse(expression, zone), after + timedelta(hours=hours)
    last = schedule.last(after, until)

    if last is None:
        assert schedule.next(after) > until
    else:
        assert after < last <= until < schedule.next(last)


@given(expression=expressions, zone=st.sampled_from(ZONES), after=instants(2026), share=st.floats(0, 1))
def test_a_question_before_the_next_time_gets_the_same_time(expression: str, zone: str, after: datetime, share: float) -> None:
    schedule = parse(expression, zone)
    following = schedule.next(after)
    between = min(after + (following - after) * share, following - timedelta(microseconds=1))

    assert following > after
    assert schedule.next(between) == following


@settings(max_examples=60)
@given(
    zone=st.sampled_from(ZONES),
    hour=st.integers(0, 23),
    minute=st.integers(0, 59),
    start=instants(2026),
)
@example(zone="Europe/Berlin", hour=2, minute=0, start=datetime(2026, 3, 1, tzinfo=UTC))
@example(zone="Europe/Berlin", hour=2, minute=59, start=datetime(2026, 10, 1, tzinfo=UTC))
@example(zone="America/Santiago", hour=0, minute=15, start=datetime(2026, 9, 1, tzinfo=UTC))
@example(zone="America/Santiago", hour=23, minute=15, start=datetime(2026, 4, 1, tzinfo=UTC))
@example(zone="Australia/Lord_Howe", hour=2, minute=10, start=datetime(2026, 9, 10, tzinfo=UTC))
def test_what_is_daily_comes_once_on_each_day_at_its_time_or_right_after_the_hour_that_is_missing(
    zone: str, hour: int, minute: int, start: datetime
) -> None:
    schedule, here = parse(f"{minute} {hour} * * *", zone), ZoneInfo(zone)
    came = [schedule.next(start)]
    while len(came) < 200:
        came.append(schedule.next(came[-1]))
    local = [each.astimezone(here) for each in came]

    assert [each.date() for each in local] == [local[0].date() + number * DAY for number in range(200)]
    for each in local:
        meant = each.replace(hour=hour, minute=minute, fold=0)
        is_missing = meant.astimezone(UTC).astimezone(here).replace(tzinfo=None) != meant.replace(tzinfo=None)
        if is_missing:  # a minute before, clocks were still before it
            before = (each.astimezone(UTC) - MINUTE).astimezone(here)
            assert before.replace(tzinfo=None) < meant.replace(tzinfo=None) < each.replace(tzinfo=None)
        else:
            assert each.astimezone(UTC) == meant.astimezone(UTC)


@settings(max_examples=30)
@given(zone=st.sampled_from(["Europe/Berlin", "America/New_York", "America/Santiago"]), start=instants(2026))
def test_what_is_hourly_comes_every_hour_that_passes(zone: str, start: datetime) -> None:
    schedule = parse("@hourly", zone)
    first = schedule.next(start)

    assert schedule.last(start, first + 200 * DAY) == first + 200 * DAY
    assert schedule.next(first) == first + timedelta(hours=1)


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        pytest.param("2026-03-28T12:00Z", "2026-03-29T01:00Z", id="in-the-hour-that-is-missing"),
        pytest.param("2026-10-25T00:15Z", "2026-10-25T00:30Z", id="at-the-first-of-the-hours-that-are-the-same"),
        pytest.param("2026-10-25T01:15Z", "2026-10-26T01:30Z", id="not-at-the-second"),
    ],
)
def test_half_past_two_in_berlin_comes_once(after: str, expected: str) -> None:
    assert parse("30 2 * * *", "Europe/Berlin").next(at(after)) == at(expected)


def test_the_day_that_samoa_left_out_is_made_up_for_at_the_beginning_of_the_next() -> None:
    assert parse("0 9 30 12 *", "Pacific/Apia").next(at("2011-12-29T00:00Z")) == at("2011-12-30T10:00Z")


def test_the_last_time_is_found_at_once_even_if_years_have_passed() -> None:
    schedule = parse("* * * * *", "Europe/Berlin")
    began = time.perf_counter()

    assert schedule.last(at("1980-01-01T00:00Z"), at("2026-11-01T00:00:30Z")) == at("2026-11-01T00:00Z")
    assert time.perf_counter() - began < 1


def test_times_are_taken_in_any_time_zone_and_come_in_utc() -> None:
    found = parse("0 3 * * *", "Europe/Berlin").next(at("2026-07-01T00:00-05:00"))

    assert found == at("2026-07-02T01:00Z")
    assert found.tzinfo is UTC


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        pytest.param("@daily", "2026-02-02T00:00Z", id="daily"),
        pytest.param(" @Weekly ", "2026-02-08T00:00Z", id="weekly"),
        pytest.param("@monthly", "2026-03-01T00:00Z", id="monthly"),
        pytest.param("@yearly", "2027-01-01T00:00Z", id="yearly"),
        pytest.param("0 3 * * mon-fri", "2026-02-02T03:00Z", id="names"),
        pytest.param("0 0 L * *", "2026-02-28T00:00Z", id="last-day-of-the-month"),
        pytest.param("0 0 * * 1#2", "2026-02-09T00:00Z", id="second-monday"),
    ],
)
def test_what_is_understood(expression: str, expected: str) -> None:
    assert parse(expression, "UTC").next(at("2026-02-01T12:00Z")) == at(expected)


@pytest.mark.parametrize(
    ("expression", "zone", "message"),
    [
        pytest.param("0 25 * * *", "UTC", "the schedule '0 25 * * *' has '25' as hour: expected 0 to 23", id="hour"),
        pytest.param("0 0 * 13 *", "UTC", "has '13' as month: expected 1 to 12 or JAN to DEC", id="month"),
        pytest.param("0 0 0 * *", "UTC", "has '0' as day-of-month: expected 1 to 31, L or LW", id="day"),
        pytest.param("* * * *", "UTC", "the schedule '* * * *' has 4 fields: expected five, minute, hour", id="four-fields"),
        pytest.param("0 * * * * *", "UTC", "has 6 fields: expected five", id="seconds"),
        pytest.param("", "UTC", "the schedule '' has 0 fields", id="empty"),
        pytest.param("@reboot", "UTC", "the schedule '@reboot' is none of @yearly,", id="reboot"),
        pytest.param("0 0 31 2 *", "UTC", "the schedule '0 0 31 2 *' never comes: its months have no such day", id="never"),
        pytest.param("9" * 5000 + " * * * *", "UTC", "… has 5008 characters: at most 100 are read", id="long"),
        pytest.param("@daily", "Mars/Base", "the time zone 'Mars/Base' is not known: expected one like Europe/Ber", id="zone"),
        pytest.param("@daily", "America", "the time zone 'America' is not known", id="folder-of-zones"),
        pytest.param("@daily", "../../etc/passwd", "the time zone '../../etc/passwd' is not known", id="path"),
        pytest.param("@daily", "", "the time zone '' is not known", id="no-zone"),
    ],
)
def test_what_is_wrong_is_named(expression: str, zone: str, message: str) -> None:
    with pytest.raises(ScheduleRejected) as raised:
        parse(expression, zone)
    assert message in str(raised.value)


@settings(max_examples=300)
@given(
    expression=st.one_of(st.text(max_size=30), st.text("0123456789*/,-#LW@ monfeb", max_size=30), expressions),
    zone=st.one_of(st.sampled_from(ZONES), st.text(max_size=10)),
)
def test_any_text_is_a_schedule_or_rejected(expression: str, zone: str) -> None:
    try:
        schedule = parse(expression, zone)
    except ScheduleRejected:
        return
    assert schedule.next(at("2026-01-01T00:00Z")) > at("2026-01-01T00:00Z")
