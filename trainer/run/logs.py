"""What a run tells on standard error: lines for people, or a JSON object a line for what collects logs.

A caller gives a line fields by `extra=fields(step=100, loss=0.31)`; the text format shows the message alone.
"""

from __future__ import annotations

import json
import logging
import math
import numbers
import sys
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal

from model.printable import TextLines

OURS = ("trainer", "model")
DEEPEST = 8  # levels of a nested field; what is deeper is written as text
log = logging.getLogger(__name__)


def configure(format: Literal["text", "json"]) -> None:  # noqa: A002 - the setting's name
    """Log to standard error from INFO on, other packages from WARNING on; a program that has configured logging keeps its way.

    json: Python's warnings and errors that nothing catches are such lines as well.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if format == "json" else TextLines("%(asctime)s %(message)s", "%H:%M:%S"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    for package in OURS:
        logging.getLogger(package).setLevel(logging.INFO)
    if format == "json":
        logging.captureWarnings(capture=True)
        sys.excepthook = _uncaught
        threading.excepthook = _uncaught_in_thread


def in_json() -> bool:
    """Whether lines are JSON."""
    return any(isinstance(each.formatter, JsonLines) for each in logging.getLogger().handlers)


def fields(**values: object) -> dict[str, dict[str, object]]:
    """What a logging call takes as `extra`, so that a JSON line holds these values by name."""
    return {"fields": values}


class JsonLines(logging.Formatter):
    """A record as one line: `time`, `level`, `logger`, `message`, its fields, and `exception` where there is one.

    `time` is ISO 8601 in UTC, to the millisecond. A number that is not finite is null, and what JSON does not know is
    text. A field with a name that the line has already is written as `fields.NAME`.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Never raises: a line that is hard to write is worth more than none."""
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
    """The value as JSON has it."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        number = float(value)
        return number if math.isfinite(number) else None
    if depth < DEEPEST and isinstance(value, Mapping):
        return {_text(key): _plain(each, depth + 1) for key, each in value.items()}
    if depth < DEEPEST and isinstance(value, list | tuple | set | frozenset):
        return [_plain(each, depth + 1) for each in value]
    return _text(value)


def _text(value: object) -> str:
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - whatever a foreign __str__ raises
        return f"a {type(value).__name__} that cannot be written"


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        log.critical("%s: %s", kind.__name__, error, exc_info=(kind, error, trace))


def _uncaught_in_thread(what: threading.ExceptHookArgs) -> None:
    if what.exc_value is not None:
        _uncaught(what.exc_type, what.exc_value, what.exc_traceback)
