"""How many CPU cores this process may use, and how much memory. Knows nothing of what they are used for.

The machine's own count is wrong in a container: it may use a part of them, and threads beyond that part stand in each
other's way until the kernel's next period.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath


def usable_cores(root: Path = Path("/")) -> int:
    """The cores of its affinity, or of the lowest CPU limit of its control groups where that is lower; at least 1.

    A part of a core counts as one. Of 1.5 cores, two busy threads use all and wait for a quarter of each period (100 ms
    by default), where one thread would leave a third unused. root: where `proc` lies, and what is mounted.
    """
    return max(1, math.ceil(min(len(os.sched_getaffinity(0)), cpu_limit(root))))


def cpu_limit(root: Path = Path("/")) -> float:
    """The lowest limit, in cores, of the process's control groups and all above them that can be seen; infinite if none.

    As cgroups(7) and the kernel's cgroup-v2.rst have it: version 1 has a hierarchy for each controller, version 2 one
    for all, and a machine may have both.
    """
    return min((CPU_LIMITS[version](folder) for version, folder in _folders(root, "cpu")), default=math.inf)


def memory_limit(root: Path = Path("/")) -> float:
    """The same in bytes of memory."""
    found = (_number(_read(folder / MEMORY_LIMITS[version])) for version, folder in _folders(root, "memory"))
    return min((each for each in found if each < NO_MEMORY_LIMIT), default=math.inf)


def _folders(root: Path, controller: str) -> Iterator[tuple[str, Path]]:
    """The folder of each control group that may limit the process, with the version of its hierarchy."""
    groups = dict(_groups(root, controller))
    for version, mounted in _mounts(root, controller):
        for folder in _lineage(root / mounted.lstrip("/"), groups.get(version, "/")):
            yield version, folder


def _groups(root: Path, controller: str) -> Iterator[tuple[str, str]]:
    """The version of each hierarchy that may limit it, with the process's group in it."""
    for line in _read(root / "proc" / "self" / "cgroup").splitlines():
        number, controllers, group = line.split(":", 2)
        if number == "0":
            yield "cgroup2", group
        elif controller in controllers.split(","):
            yield "cgroup", group


def _mounts(root: Path, controller: str) -> Iterator[tuple[str, str]]:
    """The version of each such hierarchy, with where it is mounted."""
    for line in _read(root / "proc" / "self" / "mountinfo").splitlines():
        mount, _, system = line.partition(" - ")
        version, _, options = system.split(" ", 2)
        if version == "cgroup2" or (version == "cgroup" and controller in options.split(",")):
            yield version, mount.split(" ")[4]


def _lineage(mounted: Path, group: str) -> Iterator[Path]:
    """The folder of the group and of all above it, up to where the hierarchy is mounted.

    In a container of version 1 the group is the host's and has no folder here: its own is the one that is mounted.
    """
    own = PurePosixPath(group.lstrip("/"))
    for each in (own, *own.parents):
        if ".." not in each.parts:  # a group outside of the container's
            yield mounted / each


def _limit_of_version_1(group: Path) -> float:
    return _quotient(_read(group / "cpu.cfs_quota_us"), _read(group / "cpu.cfs_period_us"))


def _limit_of_version_2(group: Path) -> float:
    return _quotient(*_read(group / "cpu.max").partition(" ")[::2])


CPU_LIMITS: dict[str, Callable[[Path], float]] = {"cgroup": _limit_of_version_1, "cgroup2": _limit_of_version_2}
MEMORY_LIMITS = {"cgroup": "memory.limit_in_bytes", "cgroup2": "memory.max"}
NO_MEMORY_LIMIT = 2**60  # version 1 has no word for it, but a number near 2**63


def _number(text: str) -> float:
    """Infinite where there is none, such as "max"."""
    try:
        return int(text)
    except ValueError:
        return math.inf


def _quotient(quota: str, period: str) -> float:
    """Both in microseconds; without a limit, the quota is "max" or -1."""
    try:
        limit = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return math.inf
    return limit if limit > 0 else math.inf


def _read(path: Path) -> str:
    """The file, or nothing where it is missing or may not be read."""
    try:
        return path.read_text()
    except OSError:
        return ""
