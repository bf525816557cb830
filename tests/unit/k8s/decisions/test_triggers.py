"""Why a classifier is trained, and why not."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from k8s.controller.decisions.triggers import due
from k8s.controller.objects.documents import parse_time
from k8s.controller.objects.kinds import Document
from k8s.controller.observed.classifier import MeasuredTraffic
from tests.support.kubernetes.sights import IMAGES, NOW, SHA, ago, classifier, result, run, seen, served

HOURLY = {"schedule": "@hourly"}
NOTED = {"expression": "@hourly UTC", "since": ago(86400)}
WATCHED = {"datasetChange": True}


def checked(letter: str, *, age: float) -> Document:
    return {"dataset": {"sha256": SHA[letter], "checkedAt": ago(age)}}


def reason(*arguments: Any, **more: Any) -> str | None:
    found = due(seen(*arguments, **more), "trainer:1")
    return found["reason"] if found else None


def test_a_new_classifier_is_trained() -> None:
    assert reason(classifier()) == "NewSpec"


@pytest.mark.parametrize("state", ["Published", "Rejected", "Failed"])
def test_what_has_ended_is_not_repeated(state: str) -> None:
    assert reason(classifier(), run("papers-1-aaaaaa", state=state)) is None


@pytest.mark.parametrize(
    ("superseded", "expected"),
    [pytest.param(True, "NewSpec", id="for-another-spec"), pytest.param(False, None, id="by-hand")],
)
def test_what_was_stopped_for_another_spec_is_made_up_for(superseded: bool, expected: str | None) -> None:
    assert reason(classifier(), run("papers-1-aaaaaa", state="Superseded", superseded=superseded)) == expected


@pytest.mark.parametrize(
    ("change", "state", "expected"),
    [
        pytest.param({"dataset": {"uri": "s3://datasets/other/"}}, "Published", "NewSpec", id="another-dataset"),
        pytest.param({"dataset": {"labelColumn": "topic"}}, "Rejected", "NewSpec", id="another-column"),
        pytest.param({"training": {"seed": 1}}, "Published", "NewSpec", id="another-seed"),
        pytest.param({"storage": {"uri": "s3://elsewhere"}}, "Published", "NewSpec", id="another-storage"),
        pytest.param({"gate": {"score": "macro-f1"}}, "Published", "NewSpec", id="another-score-that-nothing-holds"),
        pytest.param({"gate": {"score": "macro-f1"}}, "Rejected", "NewSpec", id="the-same-of-what-was-refused"),
        pytest.param({"gate": {"score": "macro-f1"}}, "Failed", None, id="another-score-of-what-failed"),
        pytest.param({"gate": {"score": "macro-f1"}}, "Running", None, id="another-score-of-what-goes-on"),
        pytest.param({"gate": {"minimum": 0.9}}, "Published", None, id="another-minimum"),
        pytest.param({"training": {"timeout": "1h"}}, "Published", None, id="place-of-what-succeeded"),
        pytest.param({"training": {"timeout": "1h"}}, "Failed", "NewSpec", id="place-of-what-failed"),
        pytest.param({"storage": {"secretName": "other"}}, "Published", None, id="credentials-of-what-succeeded"),
        pytest.param({"storage": {"secretName": "other"}}, "Failed", "NewSpec", id="credentials-of-what-failed"),
        pytest.param({"serving": {"replicas": {"minimum": 3}}}, "Failed", None, id="serving"),
        pytest.param({"history": {"runs": 3}}, "Failed", None, id="history"),
    ],
)
def test_a_change_of_the_spec_asks_for_a_training_if_the_result_would_change(
    change: Document, state: str, expected: str | None
) -> None:
    assert reason(classifier(**change), run("papers-1-aaaaaa", state=state)) == expected


GATES: list[Document] = [
    {"score": "macro-f1"},
    {"score": "accuracy", "minimum": 0.95},
    {"minimum": 0.95},
    {"minimum": 0.1},
    {"tolerance": 0.5},
    {"servedMayFall": True},
    {"approve": "papers-1-aaaaaa"},
]


@pytest.mark.parametrize("state", ["Published", "Held", "Rejected"])
@pytest.mark.parametrize("gate", GATES, ids="-".join)
def test_another_gate_trains_nothing_where_all_scores_were_measured(gate: Document, state: str) -> None:
    measured = {"result": result().model_dump(mode="json", exclude_none=True)}
    assert reason(classifier(gate=gate), run("papers-1-aaaaaa", state=state, **measured)) is None


def test_a_score_that_an_earlier_release_did_not_measure_is_trained_for_and_said() -> None:
    gate = {"score": "micro-f1", "value": 0.9, "baseline": 0.1, "micro_f1": 0.9, "macro_f1": 0.5, "tolerance": 0.005}
    before = run("papers-1-aaaaaa", state="Published", result={"exit_code": 0, "gate": gate})
    trigger = due(seen(classifier(gate={"score": "accuracy"}), before), IMAGES.trainer)
    assert trigger is not None
    assert (trigger["reason"], trigger["message"]) == (
        "NewSpec", "spec.gate.score is accuracy, which was not measured for papers-1-aaaaaa",
    )  # fmt: skip
    assert due(seen(classifier(gate={"minimum": 0.95}), before), IMAGES.trainer) is None


@pytest.mark.parametrize(
    ("status", "age", "expected"),
    [
        pytest.param({"schedule": NOTED}, 3700, "Schedule", id="it-came-since-the-last-run"),
        pytest.param({"schedule": NOTED}, 0, None, id="the-last-run-began-at-that-time"),
        pytest.param({}, 3700, None, id="a-new-schedule-asks-for-nothing-of-before"),
        pytest.param({"schedule": {**NOTED, "expression": "@daily UTC"}}, 3700, None, id="a-changed-one-neither"),
    ],
)
def test_a_schedule_comes(status: Document, age: float, expected: str | None) -> None:
    assert reason(classifier(triggers=HOURLY, status=status), run("papers-1-aaaaaa", age=age, passed=True)) == expected


def test_a_time_of_the_schedule_comes_once_where_the_api_servers_clock_is_behind_ours() -> None:
    at = "2026-03-02T12:00:00Z"
    before = run("papers-1-aaaaaa", age=2, passed=True, spec={"trigger": {"reason": "Schedule", "token": at, "message": ""}})
    found = seen(classifier(triggers=HOURLY, status={"schedule": NOTED}), before)
    assert due(replace(found, now=parse_time(at) + timedelta(seconds=1)), "trainer:1") is None


def test_of_several_times_that_were_missed_the_last_one_counts() -> None:
    found = due(
        seen(classifier(triggers=HOURLY, status={"schedule": NOTED}), run("papers-1-aaaaaa", age=20000, passed=True)), "trainer:1"
    )
    assert found is not None
    assert found["token"] == "2026-03-02T12:00:00Z"


@pytest.mark.parametrize(
    ("triggers", "status", "last", "expected"),
    [
        pytest.param(WATCHED, checked("b", age=10), {"datasetSha256": SHA["a"]}, "DatasetChange", id="other-content"),
        pytest.param(WATCHED, checked("a", age=10), {"datasetSha256": SHA["a"]}, None, id="same-content"),
        pytest.param(
            WATCHED, checked("a", age=10), {"datasetSha256": SHA["a"], "testSha256": SHA["c"]}, "DatasetChange", id="no-test-set"
        ),
        pytest.param(WATCHED, {}, {"datasetSha256": SHA["a"]}, None, id="never-looked-at"),
        pytest.param({}, checked("b", age=10), {"datasetSha256": SHA["a"]}, None, id="nobody-asked"),
        pytest.param(WATCHED, checked("b", age=7200), {"datasetSha256": SHA["a"]}, None, id="looked-at-before-that-run"),
    ],
)
def test_the_content_of_the_dataset_has_changed(
    triggers: Document, status: Document, last: Document, expected: str | None
) -> None:
    newest = run("papers-1-aaaaaa", age=3600, passed=True, **last)
    assert reason(classifier(triggers=triggers, status=status), newest) == expected


@pytest.mark.parametrize(
    ("dataset", "test_set", "expected"),
    [
        pytest.param("b", "c", f"the dataset has changed: its SHA-256 is now {SHA['b'][:12]}…", id="dataset"),
        pytest.param("a", "b", f"the test set has changed: its SHA-256 is now {SHA['b'][:12]}…", id="test-set"),
        pytest.param("a", None, "the test set was removed", id="no-test-set"),
    ],
)
def test_the_trigger_names_what_has_changed(dataset: str, test_set: str | None, expected: str) -> None:
    status = checked(dataset, age=10)
    status["dataset"]["testSha256"] = SHA[test_set] if test_set else None
    known = run("papers-1-aaaaaa", age=3600, datasetSha256=SHA["a"], testSha256=SHA["c"])
    found = due(seen(classifier(triggers=WATCHED, status=status), known, now=NOW), "trainer:1")
    assert found is not None
    assert found["message"] == expected


def test_a_training_for_a_change_that_failed_is_not_repeated() -> None:
    failed = run("papers-2-bbbbbb", state="Failed", spec={"trigger": {"reason": "DatasetChange", "token": SHA["b"]}})
    assert reason(classifier(triggers=WATCHED, status=checked("b", age=10)), failed) is None


@pytest.mark.parametrize(
    ("corrections", "expected"),
    [
        pytest.param(100, "Feedback", id="enough"),
        pytest.param(99, None, id="one-less"),
        pytest.param(None, None, id="unknown"),
    ],
)
def test_people_have_corrected_enough(corrections: int | None, expected: str | None) -> None:
    found = classifier(triggers={"feedback": {"corrections": 100}})
    assert reason(found, run("papers-1-aaaaaa", passed=True), measured=MeasuredTraffic(corrections=corrections)) == expected


@pytest.mark.parametrize(
    ("index", "runs", "expected"),
    [
        pytest.param(0.2, [run("v1", passed=True)], "Drift", id="as-much-as-was-named"),
        pytest.param(0.19, [run("v1", passed=True)], None, id="less"),
        pytest.param(None, [run("v1", passed=True)], None, id="unknown"),
        pytest.param(
            0.3,
            [run("v1", passed=True), run("v2", state="Failed", spec={"trigger": {"reason": "Drift", "token": "v1"}})],
            None,
            id="once-a-version",
        ),
        pytest.param(0.3, [run("v1", passed=True), run("v2", passed=True)], None, id="its-successor-is-on-its-way"),
        pytest.param(0.3, [run("v1", passed=True), run("v2", passed=False)], "Drift", id="its-successor-was-refused"),
    ],
)
def test_texts_have_drifted(index: float | None, runs: list[Any], expected: str | None) -> None:
    found = classifier(triggers={"drift": {"index": 0.2}}, status={"served": served("v1")})
    assert reason(found, *runs, measured=MeasuredTraffic(drift=index)) == expected


def test_nothing_has_drifted_where_nothing_is_served() -> None:
    found = classifier(triggers={"drift": {"index": 0.2}})
    assert reason(found, run("v1", passed=True), measured=MeasuredTraffic(drift=1.0)) is None


def test_the_token_tells_one_occasion_from_the_next() -> None:
    first, second = (due(seen(classifier(training={"seed": seed})), "trainer:1") for seed in (1, 2))
    assert first is not None
    assert second is not None
    assert first["token"] != second["token"]
    assert due(seen(classifier(training={"seed": 1}), now=NOW), "trainer:1") == first
