"""Two replicas, a real Lease: one works, and the other takes over when it ends, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.cluster.namespace import Namespace, wait_until

PROGRAM = Path(__file__).parents[1] / "support/cluster/leading.py"
ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.cluster


class Replica:
    """A process, and what it printed."""

    def __init__(self, namespace: str, holder: str) -> None:
        command = [sys.executable, str(PROGRAM), namespace, holder]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.holder = holder
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        self.lines: list[str] = []
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as said:
            for line in said:
                self.lines.append(line.strip())

    @property
    def works(self) -> bool:
        return self.lines == ["works"]

    def end(self, how: signal.Signals) -> int:
        """The exit status."""
        self.process.send_signal(how)
        status = self.process.wait(30)
        self._reading.join(30)
        return status

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reading.join(30)


@pytest.fixture(scope="module")
def own_namespace() -> Iterator[Namespace]:
    if not os.environ.get("KUBECONFIG"):
        pytest.fail("KUBECONFIG is not set: these tests need a cluster.", pytrace=False)
    made = Namespace(f"labelwright-{uuid.uuid4().hex[:8]}")
    made.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": made.name}}])
    yield made
    made.kubectl("delete", "namespace", made.name, "--wait=false")


@pytest.fixture
def start(own_namespace: Namespace) -> Iterator[Callable[[], Replica]]:
    """Starts a replica; killed at the end if it still runs."""
    started: list[Replica] = []

    def start() -> Replica:
        replica = Replica(own_namespace.name, f"replica-{uuid.uuid4().hex[:8]}")
        started.append(replica)
        return replica

    yield start
    for each in started:
        each.kill()
    own_namespace.kubectl("delete", "lease", "test", "--ignore-not-found")


def holder(namespace: Namespace) -> str | None:
    found: str | None = (namespace.get("lease", "test") or {"spec": {}})["spec"].get("holderIdentity")
    return found


def test_one_of_two_works_and_its_name_is_in_the_lease(start: Callable[[], Replica], own_namespace: Namespace) -> None:
    replicas = [start(), start()]
    wait_until(lambda: any(each.works for each in replicas), "one works", seconds=30)
    time.sleep(6)

    (working,) = [each for each in replicas if each.works]
    assert holder(own_namespace) == working.holder


@pytest.mark.parametrize(
    ("how", "status", "seconds"),
    [
        pytest.param(signal.SIGTERM, 0, 4.0, id="stopped"),
        pytest.param(signal.SIGKILL, -signal.SIGKILL, 20.0, id="killed"),
    ],
)
def test_the_other_takes_over(
    start: Callable[[], Replica], own_namespace: Namespace, how: signal.Signals, status: int, seconds: float
) -> None:
    first = start()
    wait_until(lambda: first.works, "the first works", seconds=30)
    second = start()
    time.sleep(5)
    assert not second.lines

    assert first.end(how) == status
    wait_until(lambda: second.works, "the other works", seconds=seconds)
    assert holder(own_namespace) == second.holder
    assert second.end(signal.SIGTERM) == 0
    assert second.lines == ["works", "ended"]
    assert holder(own_namespace) is None
