"""What SIGTERM and SIGINT do while the server starts: end the process, since nobody waits for an answer yet.

To a process 1, which the server is in its container, the kernel gives no signal that it has no handler for: until then a
SIGTERM is lost, and the server starts, and runs until it is killed.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

STOPPING = (signal.SIGTERM, signal.SIGINT)


def end_at_once(cleanup: Callable[[], object] = lambda: None) -> None:
    """From now on end the process with 0 at either signal, after `cleanup` and nothing else; until they are handled anew.

    An exception in place of this could get lost in whatever code of others it is raised in.
    """

    def end(*_: object) -> None:
        try:
            cleanup()
        finally:
            os._exit(0)

    for number in STOPPING:
        signal.signal(number, end)
