"""SIGTERM, which Kubernetes sends to a Pod before it stops it: end at once, or after a checkpoint during a fine-tuning.

A run may be killed and started again at any point, so only the work since the last checkpoint has to be saved.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from trainer.errors import Terminated


class Interruption:
    """State of whether this process was asked to stop. Raises Terminated when it is, except within `deferred`."""

    def __init__(self) -> None:
        self.asked = False
        self._deferred = False

    def ask(self) -> None:
        """Ask the process to stop, as the signal does."""
        self.asked = True
        if not self._deferred:
            raise Terminated("asked to stop")

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Raise Terminated only at the end of the block. The work within reads `asked` and ends in order."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False
        if self.asked:
            raise Terminated("asked to stop")

    @contextmanager
    def on_sigterm(self) -> Iterator[None]:
        """Call `ask` at SIGTERM within the block. For a process's main thread only."""

        def handle(_: int, __: FrameType | None) -> None:
            self.ask()

        before = signal.signal(signal.SIGTERM, handle)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)
