"""The demo's TextClassifier: applied as soon as the API server takes it, owned by the release, waited for until it is Ready."""

from __future__ import annotations

from typing import Any

import pytest

from k8s.controller.clients.kubernetes import ClusterError, RequestRefused
from k8s.controller.objects.kinds import CONFIG_MAP, KINDS, TEXT_CLASSIFIER, Document
from k8s.platform.classifier import apply_classifier, wait_until_ready
from tests.support.fakes import FakeCluster

HOME, OWNER = "home", "lw-demo"
DOCUMENT: Document = {"metadata": {"name": "docstrings", "namespace": HOME}, "spec": {"suspend": True}}


def cluster(kinds: Any = KINDS) -> FakeCluster:
    found = FakeCluster(kinds=kinds)
    found.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": OWNER, "namespace": HOME}})
    return found


class Time:
    """A clock that a sleep moves; at each sleep something may happen."""

    def __init__(self, at: dict[int, Any] | None = None) -> None:
        self.now, self.sleeps, self.at = 0.0, 0, at or {}

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.sleeps += 1
        self.at.get(self.sleeps, lambda: None)()


def applied(them: FakeCluster, time: Time, seconds: float = 60) -> Document:
    return apply_classifier(them, DOCUMENT, owner=OWNER, seconds=seconds, clock=lambda: time.now, sleep=time.sleep)


def test_it_goes_with_the_object_that_owns_it() -> None:
    them = cluster()
    applied(them, Time())

    them.remove(CONFIG_MAP, HOME, OWNER)

    assert them.get(TEXT_CLASSIFIER, HOME, "docstrings") is None


def test_a_repetition_changes_nothing() -> None:
    them = cluster()
    applied(them, Time())
    version = them.version
    applied(them, Time())

    assert them.version == version


def test_it_waits_until_its_kind_is_served() -> None:
    them = cluster(kinds=[each for each in KINDS if each is not TEXT_CLASSIFIER])
    time = Time({3: lambda: setattr(them, "kinds", KINDS)})

    applied(them, time)

    assert time.sleeps == 3
    assert them.get(TEXT_CLASSIFIER, HOME, "docstrings") is not None


def test_after_its_time_it_fails_with_the_reason() -> None:
    them, time = cluster(kinds=[each for each in KINDS if each is not TEXT_CLASSIFIER]), Time()

    with pytest.raises(RequestRefused, match="TextClassifier docstrings: 404 page not found"):
        applied(them, time, seconds=10)
    assert time.now == 10


def test_a_release_that_is_gone_gets_no_classifier() -> None:
    with pytest.raises(ClusterError, match="ConfigMap lw-demo is gone"):
        applied(FakeCluster(), Time())


def status(them: FakeCluster, state: str, message: str, *, ready: bool = False, observed: int = 1) -> Any:
    """Return a function that writes the status."""
    conditions = [{"type": "Ready", "status": str(ready), "reason": "Answers", "message": message}]
    values = {"state": state, "message": message, "observedGeneration": observed, "conditions": conditions}

    def write() -> None:
        found = them.get(TEXT_CLASSIFIER, HOME, "docstrings")
        assert found is not None
        them.write_status({**found, "status": values})

    return write


@pytest.mark.parametrize("state", ["Ready", "Training"])
def test_it_is_waited_for_until_the_controller_says_that_every_pod_answers(
    state: str, capsys: pytest.CaptureFixture[str]
) -> None:
    them = cluster()
    time = Time(
        {
            1: lambda: applied(them, Time()),
            3: status(them, "Training", "docstrings-1 trains"),
            5: status(them, "RollingOut", "docstrings-1 is not served by every Pod yet", ready=True),
            9: status(them, state, "answers with docstrings-1", ready=True),
        }
    )

    found = wait_until_ready(them, HOME, "docstrings", seconds=60, clock=lambda: time.now, sleep=time.sleep)

    assert (found["status"]["message"], time.sleeps) == ("answers with docstrings-1", 9)
    assert capsys.readouterr().out.splitlines() == [
        "not yet: it does not exist",
        "not yet: no controller has seen it",
        "not yet: Training: docstrings-1 trains",
        "not yet: RollingOut: docstrings-1 is not served by every Pod yet",
    ]


def test_a_status_of_an_earlier_spec_is_not_ready() -> None:
    them, time = cluster(), Time()
    applied(them, Time())
    status(them, "Ready", "answers with docstrings-1", ready=True, observed=0)()

    with pytest.raises(ClusterError, match="TextClassifier docstrings is not Ready after 10 s: Ready: answers"):
        wait_until_ready(them, HOME, "docstrings", seconds=10, clock=lambda: time.now, sleep=time.sleep)
    assert time.now == 10
