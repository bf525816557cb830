"""A TextClassifier's pass as a whole: what is trained and when not, and what is said of it."""

from __future__ import annotations

from typing import Any

import pytest

from k8s.controller.decisions.classifier import decide
from k8s.controller.decisions.steps import Merge, Plan
from k8s.controller.objects import names
from k8s.controller.objects.documents import condition
from k8s.controller.objects.kinds import Document
from k8s.controller.observed.classifier import MeasuredTraffic
from k8s.controller.observed.run import TrainingRunSummary
from tests.support.kubernetes.sights import IMAGES, ago, classifier, deployment, job, run, seen, served, service

V1, V2 = run("v1", age=7200, passed=True), run("v2", sequence=2, passed=True)
SERVED: dict[str, Any] = {"service": service("v1"), "deployment": deployment("v1")}
STATUS = {"served": served("v1")}


def decided(*runs: TrainingRunSummary, status: Document | None = None, there: dict[str, Any] | None = None, **spec: Any) -> Plan:
    return decide(seen(classifier(status=status, **spec), *runs, **(there or {})), IMAGES)


def steps(plan: Plan) -> list[str]:
    return [f"{type(step).__name__} {step.document['kind']}" for step in plan.steps]


def status(plan: Plan) -> Document:
    assert plan.status is not None
    return plan.status


def test_a_new_classifier_begins_with_a_training() -> None:
    plan = decided()
    assert steps(plan) == ["Create TrainingRun"]
    made = plan.steps[0].document["metadata"]["name"]
    assert (status(plan)["activeRun"], status(plan)["latestRun"], status(plan)["state"]) == (made, made, "Training")
    assert status(plan)["observedGeneration"] == 1


def test_while_one_trains_no_other_begins() -> None:
    assert steps(decided(V1, run("v2", state="Running"), status=STATUS, there=SERVED, triggers={"schedule": "@hourly"})) == [
        "Apply ServingRuntime",
        "Apply InferenceService",
    ]


def test_one_that_trains_what_is_no_longer_asked_for_is_stopped_first() -> None:
    going = run("v1", state="Running")
    (step,) = decided(going, training={"seed": 1}).steps
    assert step.change == {"metadata": {"annotations": {names.SUPERSEDED: "true"}}, "spec": {"cancelled": True}}  # type: ignore[union-attr]
    stopped = run("v1", state="Running", spec={"cancelled": True})
    assert steps(decided(stopped, training={"seed": 1})) == []
    assert steps(decided(run("v1", state="Superseded"), training={"seed": 1})) == ["Create TrainingRun"]


def test_of_several_that_are_not_over_the_one_whose_turn_it_was_goes_on() -> None:
    several = (run("a", age=60), run("b", age=50), run("c", age=40))
    assert status(decided(*several, status={"activeRun": "b"}))["activeRun"] == "b"
    assert status(decided(*several))["activeRun"] == "a"


def test_a_run_is_compared_with_what_is_served() -> None:
    plan = decided(V1, status=STATUS, there=SERVED, training={"seed": 1})
    (made,) = [step.document for step in plan.steps if step.document["kind"] == "TrainingRun"]
    assert made["spec"]["served"] == {"version": "v1", "uri": "s3://models/papers/v1/"}
    assert made["metadata"]["annotations"][names.SEQUENCE] == "2"


def test_a_run_is_compared_with_the_manifest_that_is_served() -> None:
    vouched = {**STATUS, "served": {**STATUS["served"], "manifestSha256": "d" * 64}}
    plan = decided(V1, status=vouched, there=SERVED, training={"seed": 1})
    (made,) = [step.document for step in plan.steps if step.document["kind"] == "TrainingRun"]
    assert made["spec"]["served"] == {"version": "v1", "uri": "s3://models/papers/v1/", "manifestSha256": "d" * 64}


def test_a_version_that_was_refused_for_another_dataset_is_not_judged_again() -> None:
    refused = run("v1", passed=False, spec={"gate": {"score": "micro-f1", "minimum": 0.95, "tolerance": 0.005}})
    plan = decided(refused, gate={"tolerance": 0.1}, dataset={"uri": "s3://datasets/others/"})
    assert steps(plan) == ["Create TrainingRun"]


def test_a_run_reports_that_a_served_version_in_another_storage_is_not_compared() -> None:
    plan = decided(V1, status=STATUS, there=SERVED, storage={"uri": "s3://elsewhere/"})
    (made,) = [step.document for step in plan.steps if step.document["kind"] == "TrainingRun"]
    assert "served" not in made["spec"]
    assert made["spec"]["trigger"]["message"] == (
        "the spec asks for another training; not compared with the served version v1, which is in another storage: "
        "s3://models/papers/v1/"
    )


def test_a_suspended_classifier_is_not_trained() -> None:
    assert steps(decided(suspend=True)) == []
    assert status(decided(suspend=True))["state"] == "Suspended"


def test_the_newest_run_follows_a_change_of_the_gate() -> None:
    refused = run("v1", passed=False, spec={"gate": {"score": "micro-f1", "minimum": 0.95, "tolerance": 0.005}})
    (step,) = decided(refused, gate={"tolerance": 0.1}).steps
    assert step.change == {"spec": {"gate": {"minimum": None, "score": "micro-f1", "servedMayFall": False, "tolerance": 0.1}}}  # type: ignore[union-attr]


def test_a_served_version_follows_a_change_of_the_gate_and_is_marked_as_served() -> None:
    (merge,) = (
        step for step in decided(V1, status=STATUS, there=SERVED, gate={"minimum": 0.95}).steps if isinstance(step, Merge)
    )
    assert merge.change["spec"]["gate"]["minimum"] == 0.95
    assert merge.change["metadata"] == {"annotations": {names.STAYS_SERVED: "true"}}


def test_a_version_that_is_about_to_be_served_is_not_judged_again() -> None:
    plan = decided(V1, V2, status=STATUS, there=SERVED, gate={"minimum": 0.95})
    assert steps(plan) == ["Apply ServingRuntime", "Apply InferenceService"]


def test_a_version_that_waits_behind_a_pinned_one_is_judged_again_and_not_marked() -> None:
    plan = decided(V1, V2, status=STATUS, there=SERVED, gate={"minimum": 0.95}, serving={"version": "v1"})
    (merge,) = (step for step in plan.steps if isinstance(step, Merge))
    assert (merge.document["metadata"]["name"], "metadata" in merge.change) == ("v2", False)


def test_a_served_version_that_the_gate_refuses_now_stays_before_an_older_one_that_passed() -> None:
    refused = run("v2", sequence=2, passed=True, state="Rejected", message="v2 is refused")
    there = {"service": service("v2"), "deployment": deployment("v2")}
    plan = decided(V1, refused, status={"served": served("v2")}, there=there)
    assert plan.steps[1].document["spec"]["predictor"]["model"]["storageUri"].endswith("/v2/")
    verdict = condition({"status": status(plan)}, "GatePassed")
    assert (verdict["status"], verdict["reason"], verdict["message"]) == ("False", "Refused", "v2: v2 is refused")
    assert status(plan)["state"] == "Ready"


def test_an_approved_version_stays_approved_when_another_is_named() -> None:
    approved = run("v1", passed=True, spec={"gate": {"score": "micro-f1", "approve": "v1"}})
    plan = decided(approved, status=STATUS, there=SERVED, gate={"approve": "v2"})
    (merge,) = (step for step in plan.steps if isinstance(step, Merge))
    assert merge.change["spec"]["gate"]["approve"] == "v1"


def test_the_score_of_what_is_served_is_the_one_that_its_run_was_last_judged_by() -> None:
    judged = run("v1", passed=True, score=0.7)
    assert status(decided(judged, status=STATUS, there=SERVED))["score"] == 0.7


@pytest.mark.parametrize(
    ("policy", "there", "expected"),
    [
        pytest.param("Delete", [], [names.FINALIZER], id="to-be-held"),
        pytest.param("Delete", ["others"], ["others", names.FINALIZER], id="beside-others"),
        pytest.param("Delete", [names.FINALIZER], None, id="held"),
        pytest.param("Keep", [names.FINALIZER], [], id="no-longer-to-be-held"),
        pytest.param("Keep", ["others"], None, id="not-to-be-held"),
    ],
)
def test_a_classifier_that_takes_its_versions_with_it_is_held(policy: str, there: list[str], expected: list[str] | None) -> None:
    document = classifier(storage={"deletionPolicy": policy})
    document["metadata"]["finalizers"] = there
    plan = decide(seen(document), IMAGES)
    changes = [step.change for step in plan.steps if isinstance(step, Merge) and step.document["kind"] == "TextClassifier"]
    assert changes == ([] if expected is None else [{"metadata": {"finalizers": expected}}])


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        pytest.param({"triggers": {"schedule": "61 * * * *"}}, "spec.triggers.schedule", id="schedule"),
        pytest.param({"triggers": {"schedule": "@daily", "timeZone": "Mars/Base"}}, "spec.triggers.timeZone", id="time-zone"),
    ],
)
def test_for_a_spec_that_cannot_be_followed_nothing_is_trained(spec: Document, field: str) -> None:
    plan = decided(V1, V2, status=STATUS, there=SERVED, training={"seed": 1}, **spec)
    assert steps(plan) == ["Apply ServingRuntime", "Apply InferenceService"]
    assert plan.steps[1].document["spec"]["predictor"]["model"]["storageUri"].endswith("/v2/")
    assert status(plan)["state"] == "Invalid"
    assert field in condition({"status": status(plan)}, "Degraded")["message"]
    assert status(plan)["version"] == "v1"


WORDS = [
    pytest.param([], {}, {}, {}, "Training", id="a-run-was-just-made"),
    pytest.param([run("v1", state="Running")], {}, {}, {}, "Training", id="it-trains"),
    pytest.param([V1], {}, {}, {}, "RollingOut", id="a-version-is-on-its-way"),
    pytest.param([V1], STATUS, SERVED, {}, "Ready", id="it-answers"),
    pytest.param([V1], STATUS, {"service": service("v1")}, {}, "Degraded", id="no-pod-answers"),
    pytest.param([V1, run("v2", state="Failed")], STATUS, SERVED, {}, "Degraded", id="the-last-training-failed"),
    pytest.param([run("v1", state="Failed")], {}, {}, {}, "Failed", id="the-first-training-failed"),
    pytest.param([run("v1", passed=False)], {}, {}, {}, "Rejected", id="the-first-version-was-refused"),
    pytest.param([V1], STATUS, SERVED, {"suspend": True}, "Suspended", id="suspended"),
    pytest.param([V1], STATUS, SERVED, {"triggers": {"schedule": "x y z 1 1"}}, "Invalid", id="a-schedule-that-is-none"),
    pytest.param(
        [V1], STATUS, SERVED | {"measured": MeasuredTraffic(problem="no Prometheus")}, {}, "Degraded", id="it-cannot-be-measured"
    ),
]


@pytest.mark.parametrize(("runs", "before", "there", "spec", "word"), WORDS)
def test_the_word_for_it(
    runs: list[TrainingRunSummary], before: Document, there: dict[str, Any], spec: Document, word: str
) -> None:
    assert status(decided(*runs, status=before, there=there, **spec))["state"] == word


CONDITIONS = [
    pytest.param([], {}, {}, "Ready", "False", "NothingServed", id="nothing-served"),
    pytest.param([V1], STATUS, SERVED, "Ready", "True", "Answers", id="answers"),
    pytest.param([V1], STATUS, {"service": service("v1")}, "Ready", "False", "NoPodReady", id="no-pod"),
    pytest.param([], {}, {}, "Trained", "Unknown", "NoRunEnded", id="no-run-ended"),
    pytest.param([V1], {}, {}, "Trained", "True", "Published", id="trained"),
    pytest.param([V1, run("v2", state="Failed")], {}, {}, "Trained", "False", "TrainingFailed", id="failed"),
    pytest.param([V1, run("v2", state="Superseded")], {}, {}, "Trained", "True", "Published", id="what-was-stopped-says-nothing"),
    pytest.param([run("v1", state="Failed")], {}, {}, "GatePassed", "Unknown", "NothingJudged", id="nothing-judged"),
    pytest.param([V1], {}, {}, "GatePassed", "True", "Passed", id="passed"),
    pytest.param([V1, run("v2", passed=False)], {}, {}, "GatePassed", "False", "Refused", id="refused"),
    pytest.param([], {}, {}, "Served", "False", "NothingToServe", id="nothing-to-serve"),
    pytest.param([V1], {}, {}, "Served", "False", "RollingOut", id="rolling-out"),
    pytest.param([V1], STATUS, SERVED, "Served", "True", "EveryPod", id="every-pod"),
    pytest.param(
        [V1, V2],
        {**STATUS, "failedRollouts": [{"version": "v2", "generation": 1, "time": ago(60), "message": "why"}]},
        SERVED, "Served", "False", "RollOutFailed", id="given-up",
    ),
    pytest.param([run("v1", state="Running")], {}, {}, "Progressing", "True", "Training", id="training"),
    pytest.param([V1], {}, {}, "Progressing", "True", "RollingOut", id="progress-of-a-rollout"),
    pytest.param([V1], STATUS, SERVED, "Progressing", "False", "Idle", id="idle"),
    pytest.param([V1], STATUS, SERVED, "Degraded", "False", "AsExpected", id="as-expected"),
    pytest.param([run("v1", state="Failed")], {}, {}, "Degraded", "True", "TrainingFailed", id="degraded"),
]  # fmt: skip


@pytest.mark.parametrize(("runs", "before", "there", "kind", "value", "reason"), CONDITIONS)
def test_conditions(
    runs: list[TrainingRunSummary], before: Document, there: dict[str, Any], kind: str, value: str, reason: str
) -> None:
    found = condition({"status": status(decided(*runs, status=before, there=there))}, kind)
    assert (found["status"], found["reason"]) == (value, reason)
    assert found["message"]


def test_the_time_of_a_condition_is_that_of_its_last_change() -> None:
    before = [{"type": "Ready", "status": "True", "reason": "Other", "message": "", "lastTransitionTime": ago(5000)}]
    found = status(decided(V1, status={**STATUS, "conditions": before}, there=SERVED))
    assert condition({"status": found}, "Ready")["lastTransitionTime"] == ago(5000)
    assert condition({"status": found}, "Served")["lastTransitionTime"] == ago(0)


def test_a_pass_that_sees_what_it_saw_says_what_it_said() -> None:
    once = status(decided(V1, status=STATUS, there=SERVED))
    assert status(decided(V1, status=once, there=SERVED)) == once


@pytest.mark.parametrize(
    ("spec", "there", "expected"),
    [
        pytest.param({}, {}, 1800, id="now-and-then"),
        pytest.param({"triggers": {"drift": {"index": 0.2}}}, {}, 60, id="to-measure"),
        pytest.param({"triggers": {"schedule": "10 12 * * *"}}, {}, 601, id="when-the-schedule-comes"),
        pytest.param({"triggers": {"schedule": "10 12 * * *"}, "suspend": True}, {}, 1800, id="not-while-suspended"),
    ],
)
def test_when_to_look_again(spec: Document, there: dict[str, Any], expected: float) -> None:
    assert decided(V1, status=STATUS, there={**SERVED, **there}, **spec).requeue_after == expected


def test_previous_versions_and_jobs_are_kept_in_order() -> None:
    old = [run(f"v{each}", sequence=each, age=9000 - each, passed=True) for each in range(1, 5)]
    plan = decided(*old, status={"served": served("v4")}, there={"service": service("v4"), "deployment": deployment("v4")},
                   history={"versions": 2})  # fmt: skip
    assert "Create Job" in steps(plan)
    assert job(component="prune")["metadata"]["labels"]["app.kubernetes.io/component"] == "prune"


def test_a_cancelled_first_run_is_reported() -> None:
    told = status(decided(run("v1", state="Superseded", startedAt=ago(60))))
    said = "v1 was cancelled by spec.cancelled, and no version is served: create a TrainingRun to train again"
    assert (told["state"], told["message"]) == ("Cancelled", said)
    conditions = {each["type"]: (each["status"], each["reason"], each["message"]) for each in told["conditions"]}
    assert conditions["Trained"] == ("False", "Cancelled", said)
    assert conditions["Ready"][2] == conditions["Degraded"][2] == said


def test_nothing_is_trained_under_a_name_that_is_taken() -> None:
    plan = decided(there={"name_conflict": "an InferenceService"})
    assert steps(plan) == []
    assert status(plan)["state"] == "Failed"
    assert "an InferenceService papers exists that does not belong to this TextClassifier" in status(plan)["message"]


def test_a_training_that_does_not_start_makes_the_classifier_stuck() -> None:
    told = status(decided(run("v1", state="Pending", trouble="no node"), status={"activeRun": "v1"}))
    assert (told["state"], told["message"]) == ("Stuck", "v1: no node")


@pytest.mark.parametrize(
    ("state", "word", "gate"),
    [
        pytest.param("Held", "Degraded", "Held", id="held"),
        pytest.param("Rejected", "Ready", "Refused", id="refused"),
    ],
)
def test_a_version_that_is_not_served_is_seen_beside_the_one_that_is(state: str, word: str, gate: str) -> None:
    newest = run("v2", age=60, sequence=2, passed=False, state=state, message="why not")
    told = status(decided(V1, newest, status=STATUS, there=SERVED))
    assert told["state"] == word
    assert "v2" in told["message"]
    assert "why not" in told["message"]
    (judged,) = (each for each in told["conditions"] if each["type"] == "GatePassed")
    assert judged["reason"] == gate


def test_a_held_version_that_is_approved_is_judged_again_though_it_is_not_the_newest() -> None:
    held = run("v2", age=120, sequence=2, passed=False, state="Held")
    newest = run("v3", age=60, sequence=3, state="Failed")
    plan = decided(V1, held, newest, status=STATUS, there=SERVED, gate={"approve": "v2"})
    (merge,) = [step for step in plan.steps if type(step).__name__ == "Merge"]
    assert merge.document["metadata"]["name"] == "v2"
    assert merge.change["spec"]["gate"]["approve"] == "v2"
