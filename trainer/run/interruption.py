"""SIGTERM, as Kubernetes sends it to a Pod that has to go: at once where nothing is lost, after a checkpoint where it is.

A run may be killed at any point and begun again, so all that a signal has to spare is the work since the last checkpoint.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from trainer.errors import Terminated


class Interruption:
    """Whether this process was asked to stop; raises Terminated when it is, except within `deferred`."""

    def __init__(self) -> None:
        self.asked = False
        self._deferred = False

    def ask(self) -> None:
        """What the signal does."""
        self.asked = True
        if not self._deferred:
            raise Terminated("asked to stop")

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Within, nothing is raised: who does the work looks at `asked`, ends in order, and it is raised at the end."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False
        if self.asked:
            raise Terminated("asked to stop")

    @contextmanager
    def on_sigterm(self) -> Iterator[None]:
        """Within, SIGTERM asks. Only in a process's main thread."""

        def handle(_: int, __: FrameType | None) -> None:
            self.ask()

        before = signal.signal(signal.SIGTERM, handle)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)
