"""Logging of the controller to standard error, as text or as lines of JSON."""

from __future__ import annotations

import logging
import sys

from model.log_format import JsonLines, TextLines


def configure(log_format: str) -> None:
    """Set up logging for the whole process. log_format: json or text."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if log_format == "json" else TextLines("%(asctime)s %(levelname)-7s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("kopf").setLevel(logging.WARNING)
    # kopf warns that it cannot handle signals outside of the main thread: the main thread handles them.
    logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)
    logging.getLogger("urllib3").setLevel(logging.ERROR)
