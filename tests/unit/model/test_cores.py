"""Cores that a process may use, on invented machines and in containers."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from model.cores import cpu_limit, usable_cores

V2 = "31 24 0:27 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = "32 31 0:29 {root} /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n"
OTHERS = (
    "24 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
    "33 31 0:30 / /sys/fs/cgroup/cpuset ro shared:9 - cgroup cgroup rw,cpuset\n"
)


def machine(root: Path, *, mounts: str, groups: str, files: dict[str, str]) -> Path:
    """Files below `root` as they are below `/`; `files` lie below /sys/fs/cgroup."""
    contents = {"proc/self/mountinfo": OTHERS + mounts, "proc/self/cgroup": groups}
    for name, content in (contents | {f"sys/fs/cgroup/{name}": content for name, content in files.items()}).items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


@pytest.mark.parametrize(
    ("group", "files", "limit"),
    [
        pytest.param("/", {"cpu.max": "150000 100000\n"}, 1.5, id="container-with-its-own-namespace"),
        pytest.param("/", {}, math.inf, id="no-controller"),
        pytest.param("/", {"cpu.max": "max 100000\n"}, math.inf, id="no-limit"),
        pytest.param("/", {"cpu.max": "rubbish\n"}, math.inf, id="unknown-format"),
        pytest.param("/a/b", {"a/b/cpu.max": "300000 100000\n", "a/cpu.max": "200000 100000\n"}, 2.0, id="parent-is-stricter"),
        pytest.param("/a/b", {"a/b/cpu.max": "50000 100000\n", "a/cpu.max": "max 100000\n"}, 0.5, id="parent-without-limit"),
        pytest.param("/a", {"a/cpu.max": "max 100000\n", "b/cpu.max": "100000 100000\n"}, math.inf, id="not-the-neighbours"),
        pytest.param("/../other", {"cpu.max": "400000 100000\n"}, 4.0, id="group-outside-of-what-is-mounted"),
    ],
)
def test_limits_of_version_2(group: str, files: dict[str, str], limit: float, tmp_path: Path) -> None:
    assert cpu_limit(machine(tmp_path, mounts=V2, groups=f"0::{group}\n", files=files)) == limit


@pytest.mark.parametrize(
    ("root", "folder", "quota", "limit"),
    [
        pytest.param("/docker/abc", "", "250000", 2.5, id="container-sees-its-group-at-the-mount"),
        pytest.param("/", "docker/abc/", "250000", 2.5, id="host-sees-it-below"),
        pytest.param("/", "docker/", "100000", 1.0, id="parent"),
        pytest.param("/", "docker/abc/", "-1", math.inf, id="no-limit"),
    ],
)
def test_limits_of_version_1(root: str, folder: str, quota: str, limit: float, tmp_path: Path) -> None:
    files = {f"cpu,cpuacct/{folder}cpu.cfs_quota_us": quota, f"cpu,cpuacct/{folder}cpu.cfs_period_us": "100000"}
    groups = "4:cpuset:/\n3:cpu,cpuacct:/docker/abc\n0::/docker/abc\n"
    assert cpu_limit(machine(tmp_path, mounts=V1.format(root=root), groups=groups, files=files)) == limit


def test_the_lower_limit_counts_where_both_versions_are_mounted(tmp_path: Path) -> None:
    mounts = V1.format(root="/") + V2.replace("/sys/fs/cgroup", "/sys/fs/cgroup/unified")
    files = {
        "cpu,cpuacct/cpu.cfs_quota_us": "300000",
        "cpu,cpuacct/cpu.cfs_period_us": "100000",
        "unified/cpu.max": "200000 100000",
    }
    assert cpu_limit(machine(tmp_path, mounts=mounts, groups="3:cpu,cpuacct:/\n0::/\n", files=files)) == 2.0


def test_what_cannot_be_read_is_no_limit(tmp_path: Path) -> None:
    (tmp_path / "sys" / "fs" / "cgroup" / "cpu.max").mkdir(parents=True)  # reading a folder fails for root as well
    assert cpu_limit(machine(tmp_path, mounts=V2, groups="0::/\n", files={})) == math.inf


def test_without_control_groups_the_affinity_counts(tmp_path: Path) -> None:
    assert usable_cores(tmp_path) == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        pytest.param("1000", 1, id="at-least-one"),
        pytest.param("100000", 1, id="one"),
        pytest.param("100001", 2, id="a-part-counts-as-one"),
        pytest.param("6400000000", 64, id="not-more-than-the-affinity"),
    ],
)
def test_cores_are_whole(quota: str, cores: int, tmp_path: Path) -> None:
    found = usable_cores(machine(tmp_path, mounts=V2, groups="0::/\n", files={"cpu.max": f"{quota} 100000"}))
    assert found == min(cores, len(os.sched_getaffinity(0)))


def test_this_machine_has_cores() -> None:
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)
