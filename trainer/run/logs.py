"""Log of a run on standard error: lines of text, or one JSON object per line.

A caller adds fields with `extra=fields(step=100, loss=0.31)`. The text format shows the message only.
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
    """Log to standard error: our packages from INFO, others from WARNING. Logging that is already configured stays as it is.

    json: Python's warnings and uncaught errors are logged as JSON too.
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
    """Return whether the log is in JSON."""
    return any(isinstance(each.formatter, JsonLines) for each in logging.getLogger().handlers)


def fields(**values: object) -> dict[str, dict[str, object]]:
    """Return `extra` for a logging call, so that a JSON line holds these values by name."""
    return {"fields": values}


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        log.critical("%s: %s", kind.__name__, error, exc_info=(kind, error, trace))


def _uncaught_in_thread(what: threading.ExceptHookArgs) -> None:
    if what.exc_value is not None:
        _uncaught(what.exc_type, what.exc_value, what.exc_traceback)
