"""The gateway as the chart installs it, with default-deny policies: its tasks outlive the Pods that hold them.

Needs the image of valkey.image, under its reference without the digest.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.support.cluster.load_pod import Asking, start_tasks
from tests.support.cluster.namespace import Namespace, wait_until
from tests.support.cluster.whole_chart import CLASSIFIER, FULL

pytestmark = pytest.mark.cluster

GATEWAY, WORKER, VALKEY = f"{FULL}-gateway", f"{FULL}-gateway-worker", f"{FULL}-valkey-0"
TASKS = 1000
SECONDS = 300.0


@pytest.fixture(scope="module")
def tasks(platform: Namespace, image: str) -> Iterator[Asking]:
    """A client that has several tasks open at any moment, with a token that the release generated."""
    start_tasks(platform, CLASSIFIER, gateway=GATEWAY, image=image)
    yield Asking(platform, "tasks")
    platform.kubectl("delete", "pod/tasks", "configmap/tasks", "--wait=false")


def answered(tasks: Asking) -> int:
    return int(tasks.said().get("answered", 0))


def wait_for(tasks: Asking, number: int) -> None:
    what = f"{number} tasks are answered"
    wait_until(lambda: answered(tasks) >= number, what, seconds=SECONDS, instead=lambda: str(tasks.said()))


def uid_of(platform: Namespace, pod: str) -> str | None:
    found = platform.get("pod", pod)
    return str(found["metadata"]["uid"]) if found else None


def test_every_task_is_answered_while_a_worker_and_valkey_are_deleted(platform: Namespace, tasks: Asking) -> None:
    wait_for(tasks, 100)
    (worker, *_) = platform.pods("app.kubernetes.io/component=gateway-worker")
    platform.kubectl("delete", "pod", worker["metadata"]["name"], "--now")
    platform.kubectl("rollout", "status", f"deployment/{WORKER}", "--timeout=110s")
    wait_for(tasks, answered(tasks) + 100)

    before, refused = uid_of(platform, VALKEY), tasks.said()["refused"]
    platform.kubectl("delete", "pod", VALKEY, "--now")
    wait_until(lambda: uid_of(platform, VALKEY) not in (None, before), "another Pod of Valkey", seconds=60)
    platform.kubectl("wait", "--for=condition=Ready", f"pod/{VALKEY}", "--timeout=110s")
    wait_for(tasks, max(TASKS, answered(tasks) + 100))
    tasks.stop(seconds=110)

    said = tasks.said()
    assert said["faults"] == []
    assert said["accepted"] == said["answered"] >= TASKS
    assert said["refused"] > refused  # clients noticed that Valkey was away


def test_nothing_waits_afterwards_and_the_parts_are_ready(platform: Namespace, tasks: Asking) -> None:
    ask = "import urllib.request as r; print(r.urlopen('http://localhost:8000/%s').read().decode())"

    def said(path: str) -> str:
        return platform.kubectl("exec", f"deployment/{GATEWAY}", "--", "python", "-c", ask % path)

    assert json.loads(said("health/ready")) == {"ready": True, "redis": "ready", "predictors": {CLASSIFIER: "ready"}}
    none = {f'labelwright_gateway_open_tasks{{state="{state}"}} 0.0' for state in ("pending", "processing")}
    wait_until(lambda: none <= set(said("metrics").splitlines()), "no task is open", seconds=30, instead=lambda: said("metrics"))
