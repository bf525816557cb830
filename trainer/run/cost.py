"""Time and memory that a training uses."""

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
    """Cost since the start of a run, or since the start of the fitting of one model.

    gpus: GPUs in use, by this process and by those that train with it.
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
        """GPUs times wall-clock seconds since the start, whether or not the GPUs were busy."""
        return self.gpus * self.seconds

    @property
    def peak_memory_bytes(self) -> int:
        """Peak resident memory of this process or of a child process that has ended, whichever is larger.

        The sum would count the parent twice, since a child's figure starts at its parent's.
        """
        return max(resource.getrusage(who).ru_maxrss for who in PROCESSES) * 1024
