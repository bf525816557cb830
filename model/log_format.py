"""Formatters of log records for trainer, predictor and controller: text for people, JSON for log collectors."""

from __future__ import annotations

import json
import logging
import math
import numbers
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from model.escaping import printable

MAX_FIELD_DEPTH = 8  # levels of a nested field; deeper ones are written as text


class TextLines(logging.Formatter):
    """Log record as one line of text. Control characters are escaped, so no text can control a terminal or imitate a record.

    Only a traceback takes several lines; they are indented.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the base class's name
        """Return the line, without a traceback."""
        return printable(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802 - the base class's name
        """Return the traceback."""
        return "\n".join(f"  {printable(line)}" for line in super().formatException(ei).split("\n"))


class JsonLines(logging.Formatter):
    """Log record as one line of JSON: `time`, `level`, `logger`, `message`, its fields and, after an error, `exception`.

    `time` is ISO 8601 in UTC, to the millisecond. A number that is not finite becomes null; a value of a type that JSON lacks
    becomes text. A field whose name the line already has is written as `fields.NAME`.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line. Never raises: an incomplete line is more useful than a lost one."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": _message(record),
        }
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = record.stack_info
        given = getattr(record, "fields", None)
        for name, value in given.items() if isinstance(given, Mapping) else ():
            line[f"fields.{name}" if name in line else _text(name)] = _plain(value)
        return json.dumps(line, allow_nan=False)


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 - whatever an argument's own formatting raises
        return f"{_text(record.msg)} {_text(record.args)}"


def _plain(value: object, depth: int = 0) -> object:
    """Return the value as JSON types."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        number = float(value)
        return number if math.isfinite(number) else None
    if depth < MAX_FIELD_DEPTH and isinstance(value, Mapping):
        return {_text(key): _plain(each, depth + 1) for key, each in value.items()}
    if depth < MAX_FIELD_DEPTH and isinstance(value, list | tuple | set | frozenset):
        return [_plain(each, depth + 1) for each in value]
    return _text(value)


def _text(value: object) -> str:
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - whatever a foreign __str__ raises
        return f"a {type(value).__name__} that cannot be written"
