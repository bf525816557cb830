"""What a training takes of the machine."""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass, field

PROCESSES = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)


def _cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in PROCESSES]
    return sum(each.ru_utime + each.ru_stime for each in used)


@dataclass(frozen=True)
class Cost:
    """A clock that was started at the beginning of a stretch: a whole run, or the fitting of one model.

    gpus: that the stretch holds, in this process and in those that train with it.
    """

    gpus: int = 0
    started: float = field(default_factory=time.perf_counter)
    cpu_started: float = field(default_factory=_cpu_seconds)

    @property
    def seconds(self) -> float:
        """Wall-clock seconds since the start."""
        return time.perf_counter() - self.started

    @property
    def cpu_seconds(self) -> float:
        """Seconds of all cores since the start; those of child processes count once they have ended."""
        return _cpu_seconds() - self.cpu_started

    @property
    def gpu_seconds(self) -> float:
        """GPUs times wall-clock seconds since the start: what is paid for, however busy they were."""
        return self.gpus * self.seconds

    @property
    def peak_memory_bytes(self) -> int:
        """The most resident memory that this process or a child that has ended has had, from its own start on.

        Not their sum: a child begins with its parent's figure, so that the sum would count the parent twice.
        """
        return max(resource.getrusage(who).ru_maxrss for who in PROCESSES) * 1024
