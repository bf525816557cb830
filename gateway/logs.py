"""Logging of the gateway to standard error, as text or as lines of JSON. Clients' texts are never logged."""

from __future__ import annotations

import logging
import sys

from model.log_format import JsonLines, TextLines


def configure(log_format: str) -> None:
    """Set up logging for the whole process. log_format: json or text."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if log_format == "json" else TextLines("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for library in ("httpx", "httpcore", "celery", "kombu", "uvicorn", "amqp"):
        logging.getLogger(library).setLevel(logging.WARNING)
