"""What a training takes of the machine."""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass, field


def _cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


@dataclass(frozen=True)
class Cost:
    """A clock that was started; child processes that have ended count."""

    started: float = field(default_factory=time.perf_counter)
    cpu_started: float = field(default_factory=_cpu_seconds)

    @property
    def seconds(self) -> float:
        """Wall-clock seconds since the start."""
        return time.perf_counter() - self.started

    @property
    def cpu_seconds(self) -> float:
        """Seconds of all cores since the start."""
        return _cpu_seconds() - self.cpu_started

    @property
    def peak_memory_bytes(self) -> int:
        """The most resident memory that this process has had."""
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
