"""The verdict of the gate in a run's status, in the resource's fields."""

from __future__ import annotations

from typing import Any

import pytest

from k8s.controller.decisions.judging import judged
from k8s.controller.objects import names
from k8s.controller.objects.kinds import Document
from model.gate import DataChange, GateRecord
from tests.support.kubernetes.sights import result, run, seen_run, uri


def verdict(record: GateRecord | None, gate: Document, *, version: str = "papers-2", served: str | None = None) -> Document:
    assert record is not None
    compared = {"served": {"version": served, "uri": uri(served)}} if served else {}
    return judged(seen_run(run(version, spec={"gate": gate, **compared})), record)


@pytest.mark.parametrize(
    ("scores", "gate", "passed"),
    [
        pytest.param({"value": 0.0}, {}, True, id="nothing-was-asked-for"),
        pytest.param({"value": 0.5}, {"minimum": 0.5}, True, id="reaches-the-minimum"),
        pytest.param({"value": 0.4999}, {"minimum": 0.5}, False, id="just-below-the-minimum"),
        pytest.param({"value": 0.0}, {"minimum": 0.0}, True, id="a-minimum-of-nothing"),
        pytest.param({"value": 0.75, "served_value": 0.75}, {"tolerance": 0.0}, True, id="as-good-as-the-served"),
        pytest.param({"value": 0.75, "served_value": 0.7501}, {"tolerance": 0.0}, False, id="worse-than-the-served"),
        pytest.param({"value": 0.625, "served_value": 0.75}, {"tolerance": 0.125}, True, id="worse-by-the-tolerance"),
        pytest.param({"value": 0.62, "served_value": 0.75}, {"tolerance": 0.125}, False, id="worse-by-more"),
        pytest.param({"value": 0.9, "served_value": 0.5}, {"minimum": 0.95}, False, id="better-but-below-the-minimum"),
        pytest.param({"value": 0.6, "served_value": 0.9}, {"minimum": 0.5}, False, id="above-the-minimum-but-worse"),
        # What the trainer found by the gate of that time does not count.
        pytest.param({"value": 0.6, "minimum": 0.7, "passed": False}, {"minimum": 0.5}, True, id="the-present-gate-counts"),
    ],
)
def test_a_version_passes(scores: dict[str, Any], gate: dict[str, Any], passed: bool) -> None:
    assert verdict(result(**scores).gate, gate)["passed"] is passed


@pytest.mark.parametrize(
    ("scores", "gate", "message"),
    [
        pytest.param(
            {"value": 0.5},
            {},
            "passes: micro-f1 0.5000, no spec.gate.minimum, nothing served yet",
            id="nothing",
        ),
        pytest.param({"value": 0.5}, {"minimum": 0.6}, "refused: micro-f1 0.5000 is below spec.gate.minimum 0.6", id="minimum"),
        pytest.param(
            {"value": 0.0616, "served_value": 0.0483, "served_version": "papers-1"},
            {"minimum": 0.5, "score": "accuracy"},
            "refused: accuracy 0.0616 is below spec.gate.minimum 0.5 (the served version papers-1: 0.0483)",
            id="minimum-and-better",
        ),
        pytest.param(
            {"value": 0.5, "served_value": 0.8, "served_version": "papers-1"},
            {"minimum": 0.5, "score": "accuracy"},
            "refused: accuracy 0.5000 reaches spec.gate.minimum 0.5, is 0.3000 behind the served version papers-1 (0.8000 on the "
            "same texts), more than spec.gate.tolerance 0.005",
            id="both",
        ),
        pytest.param(
            {"value": 0.5789, "served_value": 0.5822, "served_version": "papers-1"},
            {},
            "passes: micro-f1 0.5789 is 0.0033 behind the served version papers-1 (0.5822 on the same texts), within "
            "spec.gate.tolerance 0.005",
            id="within-the-tolerance",
        ),
        pytest.param(
            {"value": 0.9, "served_value": 0.8, "served_version": "papers-1"},
            {},
            "passes: micro-f1 0.9000 is 0.1000 ahead of the served version papers-1 (0.8000 on the same texts)",
            id="ahead",
        ),
        pytest.param(
            {"value": 0.8, "served_value": 0.8, "served_version": "papers-1"},
            {},
            "passes: micro-f1 0.8000 is as good as the served version papers-1 (0.8000 on the same texts)",
            id="equal",
        ),
    ],
)
def test_the_message_says_what_was_compared(scores: Document, gate: Document, message: str) -> None:
    assert verdict(result(**scores).gate, gate)["message"] == message


def test_the_message_says_that_a_served_version_was_not_compared() -> None:
    status = verdict(result(value=0.5).gate, {}, served="papers-1")
    assert status["passed"]
    assert status["message"] == (
        "passes: micro-f1 0.5000 was not compared with the served version papers-1, which could not be read"
    )


def test_the_message_says_why_a_served_version_was_not_compared() -> None:
    record = result(value=0.5, not_compared="manifest.json has SHA-256 1, expected 2").gate
    assert verdict(record, {}, served="papers-1")["message"] == (
        "passes: micro-f1 0.5000 was not compared with the served version papers-1, which could not be read: "
        "manifest.json has SHA-256 1, expected 2"
    )


def suspicious(**gate: Any) -> GateRecord:
    """The record of a version whose labels were shuffled: the served version fell on them, and it is better than that."""
    fell = DataChange(score_before=0.9585, texts_before=600, score=0.1194, texts=580)
    scores = {"value": 0.1741, "served_value": 0.1194, "served_version": "papers-1", "data": fell, **gate}
    record = result(**scores).gate
    assert record is not None
    return record


def test_a_version_on_whose_texts_the_served_one_falls_is_held_and_says_what_changed_and_what_to_do() -> None:
    status = verdict(suspicious(), {})

    assert (status["state"], status["passed"]) == ("Held", False)
    assert status["message"] == (
        "held: the dataset changed, not the model: the served version papers-1 scored micro-F1 0.9585 on its own test part (600 "
        "texts) and scores 0.1194 on this one (580 texts), a larger drop than chance and spec.gate.tolerance 0.005 explain. If "
        "the dataset is wrong, correct it. If it is right, set one of: spec.gate.approve: papers-2 (serves this version), "
        "spec.gate.minimum (serves every version that reaches it), spec.gate.servedMayFall: true (lets the dataset of this "
        "classifier change). The version: "
        "micro-f1 0.1741 is 0.0547 ahead of the served version papers-1 (0.1194 on the same texts)"
    )


@pytest.mark.parametrize(
    ("scores", "gate", "state"),
    [
        pytest.param({}, {"approve": "papers-2"}, "Published", id="approved"),
        pytest.param({}, {"approve": "papers-1"}, "Held", id="another-is-approved"),
        pytest.param({}, {"servedMayFall": True}, "Published", id="the-served-version-may-fall"),
        pytest.param({}, {"minimum": 0.15}, "Published", id="a-minimum-that-it-reaches"),
        pytest.param({}, {"minimum": 0.5}, "Rejected", id="a-minimum-that-it-misses"),
        pytest.param({}, {"minimum": 0.5, "approve": "papers-2"}, "Rejected", id="approval-lifts-no-minimum"),
        pytest.param({"value": 0.1}, {}, "Held", id="held-before-it-is-compared"),
        pytest.param({"value": 0.1}, {"servedMayFall": True}, "Rejected", id="worse-on-texts-that-may-change"),
        pytest.param({"value": 0.1}, {"approve": "papers-2"}, "Published", id="approved-though-it-is-worse"),
        pytest.param({"constant": 0.2, "texts": 600, "data": None}, {}, "Held", id="no-better-than-a-constant"),
        pytest.param(
            {"constant": 0.2, "texts": 600}, {"servedMayFall": True}, "Held", id="data-may-change-but-it-learned-nothing"
        ),
        pytest.param(
            {"constant": 0.2, "texts": 600}, {"approve": "papers-2"}, "Published", id="approved-though-it-learned-nothing"
        ),
    ],
)
def test_a_held_version_gets_through_by_one_patch(scores: dict[str, Any], gate: dict[str, Any], state: str) -> None:
    assert verdict(suspicious(**scores), gate)["state"] == state


def test_a_version_that_was_served_when_the_gate_refused_it_stays_served() -> None:
    record, gate = result("papers-2").gate, {"minimum": 0.95}
    assert record is not None
    passed, other = run("papers-2", passed=True, spec={"gate": gate}), run("papers-2", passed=True, spec={"gate": gate})
    passed.document["metadata"]["annotations"][names.STAYS_SERVED] = "true"

    status, refused = judged(seen_run(passed), record), judged(seen_run(other), record)

    assert (status["state"], status["passed"]) == ("Rejected", True)
    assert (
        status["message"] == "refused: micro-f1 0.9000 is below spec.gate.minimum 0.95; "
        "it was already served when the gate changed, so it stays in service"
    )
    assert (refused["state"], refused["passed"]) == ("Rejected", False)
