"""What `kubectl describe` tells, and what it does not repeat."""

from __future__ import annotations

from typing import Any

import pytest

from k8s.controller.objects.kinds import Document
from k8s.controller.reconcile.events import events
from tests.support.kubernetes.sights import NOW, classifier, run


def condition(kind: str, status: str, reason: str, message: str = "m") -> Document:
    return {"type": kind, "status": status, "reason": reason, "message": message}


def told(before: list[Document], after: list[Document]) -> list[tuple[str, str]]:
    found = events(classifier(), {"conditions": before}, {"conditions": after}, NOW)
    return [(each["type"], each["reason"]) for each in found]


READY, UNREADY = condition("Ready", "True", "Answers"), condition("Ready", "False", "NoPodReady")


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        pytest.param([], [READY], [("Normal", "Answers")], id="new"),
        pytest.param([READY], [READY], [], id="as-before"),
        pytest.param([READY], [{**READY, "message": "other"}], [], id="only-other-words"),
        pytest.param([READY], [UNREADY], [("Warning", "NoPodReady")], id="bad-news"),
        pytest.param([UNREADY], [READY], [("Normal", "Answers")], id="good-news"),
        pytest.param([], [condition("Degraded", "False", "AsExpected")], [], id="nothing-is-wrong-yet"),
        pytest.param(
            [condition("Degraded", "True", "TrainingFailed")],
            [condition("Degraded", "False", "AsExpected")],
            [("Normal", "AsExpected")],
            id="nothing-is-wrong-any-more",
        ),
        pytest.param([], [condition("Degraded", "True", "SpecRejected")], [("Warning", "SpecRejected")], id="something-is-wrong"),
        pytest.param([], [condition("Ready", "False", "NothingServed")], [], id="nothing-has-happened"),
        pytest.param([], [condition("Trained", "Unknown", "NoRunEnded")], [], id="nothing-has-ended"),
        pytest.param([], [condition("GatePassed", "Unknown", "NothingJudged")], [], id="nothing-was-judged"),
        pytest.param(
            [condition("Trained", "True", "Published", "run 1")],
            [condition("Trained", "True", "Published", "run 2")],
            [("Normal", "Published")],
            id="another-run",
        ),
        pytest.param([], [condition("GatePassed", "False", "Refused")], [("Warning", "Refused")], id="a-version-was-refused"),
    ],
)
def test_a_change_is_reported_once(before: list[Document], after: list[Document], expected: list[tuple[str, str]]) -> None:
    assert told(before, after) == expected


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        pytest.param({}, {"state": "Pending"}, [("Normal", "Pending")], id="it-begins"),
        pytest.param({"state": "Running"}, {"state": "Failed", "message": "why"}, [("Warning", "Failed")], id="it-fails"),
        pytest.param({"state": "Running"}, {"state": "Rejected"}, [("Warning", "Rejected")], id="it-is-refused"),
        pytest.param({"state": "Running"}, {"state": "Running", "message": "other"}, [], id="it-goes-on"),
    ],
)
def test_the_states_of_a_run_are_reported(before: Document, after: Document, expected: list[tuple[str, str]]) -> None:
    found = events(run("papers-1-aaaaaa").document, before, after, NOW)
    assert [(each["type"], each["reason"]) for each in found] == expected


def test_an_event_says_of_what_it_is() -> None:
    (event,) = events(classifier(), {}, {"conditions": [{**READY, "message": "x" * 2000}]}, NOW)
    assert event["involvedObject"] | {"kind": "TextClassifier", "name": "papers", "uid": "u"} == event["involvedObject"]
    assert event["metadata"]["namespace"] == "one"
    assert len(event["message"]) == 1000
    assert event["firstTimestamp"] == event["lastTimestamp"] == "2026-03-02T12:00:00Z"


def test_the_same_event_has_the_same_name_so_that_it_is_created_once() -> None:
    def name(document: Document) -> Any:
        return events(document, {}, {"conditions": [READY]}, NOW)[0]["metadata"]["name"]

    later = classifier()
    later["metadata"]["resourceVersion"] = "8"
    assert name(classifier()) == name(classifier()) != name(later)
