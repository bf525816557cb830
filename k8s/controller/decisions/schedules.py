"""Cron schedules with a time zone.

Changes of the clock are handled as in Debian's cron: a job at set hours runs once, right after a skipped hour, or in the first of
two equal hours; a job that runs every hour or more often follows elapsed time.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

MAX_CHARACTERS = 100  # characters of an expression
SHORTHANDS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
# In the order of an expression, with cronsim's names.
FIELDS = {
    "minute": "0 to 59",
    "hour": "0 to 23",
    "day-of-month": "1 to 31, L or LW",
    "month": "1 to 12 or JAN to DEC",
    "day-of-week": "0 to 7 or SUN to SAT",
}
EPOCH = datetime(2000, 1, 1, tzinfo=UTC)  # a schedule must have a time after this


class ScheduleRejected(ValueError):
    """Error in a schedule or its time zone, or a schedule that never occurs. The message says which."""


class Schedule:
    """Recurring times; `parse` creates it. Arguments have a time zone, results are in UTC."""

    def __init__(self, fields: str, zone: ZoneInfo) -> None:
        self._fields = fields
        self._zone = zone

    def next(self, after: datetime) -> datetime:
        """Return the first time later than `after`."""
        after = after.astimezone(UTC)
        for local in CronSim(self._fields, after.astimezone(self._zone)):
            time = local.astimezone(UTC)
            if time > after:  # in a repeated hour, cronsim starts with the first of the two
                return time
        raise ScheduleRejected(f"the schedule '{self._fields}' does not come after {after:%Y-%m-%d}")

    def last(self, after: datetime, until: datetime) -> datetime | None:
        """Return the latest time after `after` and up to `until`, None if there is none; takes milliseconds even for years."""
        last, late = self.next(after), until
        if last > until:
            return None
        while late - last > timedelta(seconds=1):  # bisection: the next time after `late` is after `until`
            middle = last + (late - last) / 2
            time = self.next(middle)
            if time <= until:
                last = time
            else:
                late = middle
        return last


@lru_cache(maxsize=1024)  # a reconciliation calls it several times with the same arguments
def parse(expression: str, time_zone: str) -> Schedule:
    """Return the schedule of five fields or a word such as `@daily`, in an IANA time zone such as `Europe/Berlin`.

    Raises ScheduleRejected.
    """
    schedule = Schedule(_fields(expression), _zone(time_zone))
    schedule.next(EPOCH)
    return schedule


def _fields(expression: str) -> str:
    shown = repr(expression[:MAX_CHARACTERS])
    if len(expression) > MAX_CHARACTERS:
        raise ScheduleRejected(f"the schedule {shown}… has {len(expression)} characters: at most {MAX_CHARACTERS} are read")
    if expression.strip().startswith("@"):
        return _spelled_out(expression)
    fields = expression.split()
    if len(fields) != len(FIELDS):
        raise ScheduleRejected(f"the schedule {shown} has {len(fields)} fields: expected five, {', '.join(FIELDS)}")
    try:
        CronSim(expression, EPOCH)
    except CronSimError as error:
        raise ScheduleRejected(f"the schedule {shown} {_fault(fields, error)}") from error
    return " ".join(fields)


def _fault(fields: list[str], error: CronSimError) -> str:
    """Describe the error in the fields, by the name at the end of cronsim's message."""
    for (name, expected), value in zip(FIELDS.items(), fields, strict=True):
        if str(error).endswith(name) and not _is_read(name, value):
            return f"has {value!r} as {name}: expected {expected}"
    return "never comes: its months have no such day"


def _is_read(name: str, value: str) -> bool:
    """Return whether the field is valid by itself."""
    try:
        CronSim(" ".join(value if each == name else "*" for each in FIELDS), EPOCH)
    except CronSimError:
        return False
    return True


def _spelled_out(expression: str) -> str:
    try:
        return SHORTHANDS[expression.strip().lower()]
    except KeyError as error:
        raise ScheduleRejected(f"the schedule {expression!r} is none of {', '.join(SHORTHANDS)}") from error


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError) as error:  # unknown; not a name; a folder of names
        raise ScheduleRejected(
            f"the time zone {name[:MAX_CHARACTERS]!r} is not known: expected one like Europe/Berlin or UTC"
        ) from error
