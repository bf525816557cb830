"""CPU and memory of a process and its descendants, from /proc."""

from __future__ import annotations

import os
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")


def tree(pid: int) -> list[int]:
    """Return the process and its descendants."""
    pids, at = [pid], 0
    while at < len(pids):
        for children in (PROC / str(pids[at])).glob("task/*/children"):
            pids += [int(each) for each in _read(children).split()]
        at += 1
    return pids


def cpu_seconds(pid: int) -> float:
    """Return the CPU seconds of the tree, user and system, without processes that have ended."""
    return sum(_cpu_seconds(each) for each in tree(pid))


def machine_cpu_seconds() -> float:
    """Return the CPU seconds of the whole machine, including those stolen by the host."""
    user, nice, system, _idle, _waiting, *rest = map(int, _read(PROC / "stat").split("\n", 1)[0].split()[1:9])
    return (user + nice + system + sum(rest)) / TICKS_PER_SECOND


def resident_megabytes(pid: int) -> float:
    """Return the resident memory of the tree. Shared pages count for each process."""
    return sum(_resident_megabytes(each) for each in tree(pid))


def _cpu_seconds(pid: int) -> float:
    fields = _read(PROC / str(pid) / "stat").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND if fields else 0.0


def _resident_megabytes(pid: int) -> float:
    for line in _read(PROC / str(pid) / "status").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def _read(path: Path) -> str:
    """Return the file's text; an empty one if the process is gone."""
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
