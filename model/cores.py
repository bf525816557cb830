"""CPU cores and memory that this process may use, from its affinity and its control groups.

The machine's own number of cores is wrong in a container with a CPU limit: more threads than that limit are throttled
until the kernel's next period.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath


def usable_cores(root: Path = Path("/")) -> int:
    """Return the lower of the cores in the process's affinity and its CPU limit, rounded up; at least 1.

    Rounded up, because at a limit of 1.5 cores two busy threads use all of it and wait for a quarter of each period (100 ms
    by default), while one thread would leave a third unused. root: folder of `proc` and of the mounts.
    """
    return max(1, math.ceil(min(len(os.sched_getaffinity(0)), cpu_limit(root))))


def cpu_limit(root: Path = Path("/")) -> float:
    """Return the lowest CPU limit, in cores, of the process's control groups and their visible ancestors; infinite if none.

    Version 1 has a hierarchy for each controller, version 2 one for all, and a machine may have both (cgroups(7), the
    kernel's cgroup-v2.rst).
    """
    return min((CPU_LIMITS[version](folder) for version, folder in _folders(root, "cpu")), default=math.inf)


def memory_limit(root: Path = Path("/")) -> float:
    """Return the lowest memory limit, in bytes, of the same control groups; infinite if none."""
    limits = (_number(_read(folder / MEMORY_LIMITS[version])) for version, folder in _folders(root, "memory"))
    return min((each for each in limits if each < NO_MEMORY_LIMIT_BYTES), default=math.inf)


def _folders(root: Path, controller: str) -> Iterator[tuple[str, Path]]:
    """Yield the hierarchy's version and the folder of each control group that may limit the process."""
    groups = dict(_groups(root, controller))
    for version, mounted in _mounts(root, controller):
        for folder in _lineage(root / mounted.lstrip("/"), groups.get(version, "/")):
            yield version, folder


def _groups(root: Path, controller: str) -> Iterator[tuple[str, str]]:
    """Yield the version of each hierarchy that may limit the process, and the process's group in it."""
    for line in _read(root / "proc" / "self" / "cgroup").splitlines():
        number, controllers, group = line.split(":", 2)
        if number == "0":
            yield "cgroup2", group
        elif controller in controllers.split(","):
            yield "cgroup", group


def _mounts(root: Path, controller: str) -> Iterator[tuple[str, str]]:
    """Yield the version and the mount point of each hierarchy that may limit the process."""
    for line in _read(root / "proc" / "self" / "mountinfo").splitlines():
        mount, _, system = line.partition(" - ")
        version, _, options = system.split(" ", 2)
        if version == "cgroup2" or (version == "cgroup" and controller in options.split(",")):
            yield version, mount.split(" ")[4]


def _lineage(mounted: Path, group: str) -> Iterator[Path]:
    """Yield the folders of the group and its ancestors, up to the mount point.

    In a container with version 1, the group's path is the host's and has no folder; the container's own group is the mount
    point.
    """
    own = PurePosixPath(group.lstrip("/"))
    for each in (own, *own.parents):
        if ".." not in each.parts:  # else it is outside of the container's group
            yield mounted / each


def _limit_of_version_1(group: Path) -> float:
    return _quotient(_read(group / "cpu.cfs_quota_us"), _read(group / "cpu.cfs_period_us"))


def _limit_of_version_2(group: Path) -> float:
    return _quotient(*_read(group / "cpu.max").partition(" ")[::2])


CPU_LIMITS: dict[str, Callable[[Path], float]] = {"cgroup": _limit_of_version_1, "cgroup2": _limit_of_version_2}
MEMORY_LIMITS = {"cgroup": "memory.limit_in_bytes", "cgroup2": "memory.max"}
NO_MEMORY_LIMIT_BYTES = 2**60  # from here on: version 1 writes a number near 2**63 for "no limit"


def _number(text: str) -> float:
    """Return the number; infinity for anything else, such as "max"."""
    try:
        return int(text)
    except ValueError:
        return math.inf


def _quotient(quota: str, period: str) -> float:
    """Return the limit in cores of a quota and a period in microseconds. Without a limit, the quota is "max" or -1."""
    try:
        limit = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return math.inf
    return limit if limit > 0 else math.inf


def _read(path: Path) -> str:
    """Return the file's text, or an empty one if it is missing or may not be read."""
    try:
        return path.read_text()
    except OSError:
        return ""
