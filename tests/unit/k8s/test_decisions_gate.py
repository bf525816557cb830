"""The gate: which version is good enough."""

from __future__ import annotations

from typing import Any

import pytest

from k8s.controller.decisions.gate import judge
from k8s.controller.kinds import Document
from k8s.controller.resources import GateSpec
from tests.unit.k8s.sights import result


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
    found = result(**scores).gate
    assert found is not None
    assert judge(found, GateSpec(**gate)).passed is passed


@pytest.mark.parametrize(
    ("scores", "gate", "message"),
    [
        pytest.param({"value": 0.5}, {}, "micro-f1 is 0.5000, nothing was asked for", id="nothing"),
        pytest.param({"value": 0.5}, {"minimum": 0.6}, "micro-f1 is 0.5000, below spec.gate.minimum 0.6", id="minimum"),
        pytest.param(
            {"value": 0.5, "score": "accuracy", "served_value": 0.8, "served_version": "papers-1"},
            {"minimum": 0.5},
            "accuracy is 0.5000, reaches spec.gate.minimum 0.5, worse than the served version papers-1 on the same texts "
            "(0.8000, spec.gate.tolerance 0.005)",
            id="both",
        ),
    ],
)
def test_the_message_says_what_was_compared(scores: Document, gate: Document, message: str) -> None:
    found = result(**scores).gate
    assert found is not None
    assert judge(found, GateSpec(**gate)).message == message


def test_the_message_says_that_a_served_version_was_not_compared() -> None:
    found = result(value=0.5).gate
    assert found is not None
    verdict = judge(found, GateSpec(), served="papers-1")
    assert verdict.passed
    assert verdict.message == "micro-f1 is 0.5000, not compared with the served version papers-1, which could not be read"
