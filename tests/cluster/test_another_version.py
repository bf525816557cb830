"""Another version is served by a change of one field. An altered version never serves; a change loses no request."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.cluster.namespace import Document, Namespace, wait_until
from tests.support.cluster.served import MAX_START_SECONDS, Served

pytestmark = pytest.mark.cluster

AFTERWARDS = 3.0  # seconds of load once the new version is alone


def answered(served: Served) -> str:
    """The version that the Service answers with."""
    with served.asked() as (http, _):
        versions: list[str] = http.get(f"/v2/models/{served.name}").json()["versions"]
    return versions[0]


def restarts(pod: Document) -> int:
    return sum(each["restartCount"] for each in pod["status"].get("containerStatuses", []))


def is_ready(pod: Document) -> bool:
    return any(each["type"] == "Ready" and each["status"] == "True" for each in pod["status"].get("conditions") or ())


class TestAnAlteredVersion:
    @pytest.fixture(scope="class")
    def good(self, published: Callable[[str], str]) -> str:
        return published("good")

    @pytest.fixture(scope="class")
    def served(self, serve: Callable[[str, str], Served], good: str, altered: str) -> Served:
        """Served with the good version, told to serve the altered one."""
        served = serve("careful", good)
        served.patch(altered)
        return served

    def refused(self, served: Served) -> Document:
        """The altered version's Pod once it gave up."""

        def gave_up() -> Document | None:
            return next((each for each in served.pods() if restarts(each) > 0), None)

        found: Document = wait_until(gave_up, "the Pod of the altered version gives up", seconds=MAX_START_SECONDS)
        return found

    def test_never_gets_ready_and_names_the_file(self, served: Served) -> None:
        pod = self.refused(served)

        name = pod["metadata"]["name"]
        wait_until(
            lambda: re.search(r"/model\.onnx has SHA-256 .*: it was altered", served.namespace.log(name, "kserve-container")),
            f"{name} says what is wrong",
            seconds=MAX_START_SECONDS,
        )
        assert not any(is_ready(each) for each in served.pods() if each["metadata"]["name"] == name)

    def test_leaves_the_old_version_serving(self, served: Served) -> None:
        self.refused(served)

        assert answered(served) == "good"

    def test_is_left_by_writing_the_former_address(self, served: Served, good: str) -> None:
        self.refused(served)
        served.patch(good)
        served.wait_for(good)

        assert answered(served) == "good"


def said(namespace: Namespace) -> dict[str, Any]:
    """The last line of the load's log."""
    lines = namespace.log("load", "load").splitlines()
    return json.loads(lines[-1]) if lines else {"answers": {}, "failures": []}


def is_answered_in_every_way(namespace: Namespace) -> bool:
    answers = said(namespace)["answers"]
    return bool(answers) and all(answers.values())


def test_another_version_under_load_loses_no_request(
    serve: Callable[[str, str], Served], published: Callable[[str], str], load: Callable[[Served], None]
) -> None:
    old, new = published("old"), published("new")
    served = serve("busy", old)
    namespace = served.namespace
    load(served)
    wait_until(lambda: is_answered_in_every_way(namespace), "every way is answered", seconds=MAX_START_SECONDS)

    served.patch(new)
    served.wait_for(new)
    time.sleep(AFTERWARDS)
    namespace.kubectl("exec", "load", "--", "touch", "/tmp/stop")
    namespace.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/load", "--timeout=30s")

    seen = said(namespace)
    assert seen["failures"] == []
    for way, versions in seen["answers"].items():
        assert versions.keys() == {"old", "new"}, way
