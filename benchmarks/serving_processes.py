"""A process and its children, as Linux sees them: CPU and memory."""

from __future__ import annotations

import os
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")


def tree(pid: int) -> list[int]:
    """The process and all that descend from it."""
    found, at = [pid], 0
    while at < len(found):
        for children in (PROC / str(found[at])).glob("task/*/children"):
            found += [int(each) for each in _read(children).split()]
        at += 1
    return found


def cpu_seconds(pid: int) -> float:
    """CPU time that the tree has used, user and system; processes that have ended count no more."""
    return sum(_cpu_seconds(each) for each in tree(pid))


def machine_cpu_seconds() -> float:
    """CPU time that the whole machine has used, whoever used it; what the host took from it too."""
    user, nice, system, _idle, _waiting, *rest = map(int, _read(PROC / "stat").split("\n", 1)[0].split()[1:9])
    return (user + nice + system + sum(rest)) / TICKS


def resident_megabytes(pid: int) -> float:
    """Resident memory of the tree. Pages that several of its processes share count in each of them."""
    return sum(_resident_megabytes(each) for each in tree(pid))


def _cpu_seconds(pid: int) -> float:
    fields = _read(PROC / str(pid) / "stat").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS if fields else 0.0


def _resident_megabytes(pid: int) -> float:
    for line in _read(PROC / str(pid) / "status").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def _read(path: Path) -> str:
    """The file, or nothing if the process is gone."""
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
