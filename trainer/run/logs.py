"""What a run tells on standard error: lines for people, or a JSON object a line for what collects logs.

A caller gives a line fields by `extra=fields(step=100, loss=0.31)`; the text format shows the message alone.
"""

from __future__ import annotations

import logging
import sys
import threading
from types import TracebackType
from typing import Literal

from model.log_format import JsonLines, TextLines

OURS = ("trainer", "model")
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


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        log.critical("%s: %s", kind.__name__, error, exc_info=(kind, error, trace))


def _uncaught_in_thread(what: threading.ExceptHookArgs) -> None:
    if what.exc_value is not None:
        _uncaught(what.exc_type, what.exc_value, what.exc_traceback)
