"""End the process on SIGTERM and SIGINT while the server starts, when no client waits for a response yet.

In its container the server is process 1, and the kernel does not deliver signals to process 1 without a handler. So a SIGTERM
before the first handler is lost, and the server runs until it is killed.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def end_at_once(cleanup: Callable[[], object] = lambda: None) -> None:
    """On either signal, call `cleanup` and end the process with exit code 0, until other handlers are set.

    It does not raise an exception, because a library could catch it.
    """

    def end(*_: object) -> None:
        try:
            cleanup()
        finally:
            os._exit(0)

    for number in STOP_SIGNALS:
        signal.signal(number, end)
