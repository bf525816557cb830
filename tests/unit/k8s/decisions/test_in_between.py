"""What changes while something goes on: the gate during a training, the storage while a version is served, a run that waits."""

from __future__ import annotations

from typing import Any

import pytest

from k8s.controller.decisions.classifier import decide
from k8s.controller.decisions.finalizer import finalize
from k8s.controller.decisions.run import decide_run
from k8s.controller.decisions.steps import Apply, Create, Delete, Merge, Plan, Step
from k8s.controller.decisions.triggers import due
from k8s.controller.objects.kinds import Document
from k8s.controller.objects.names import FINALIZER, prune_name
from k8s.controller.observed.classifier import MaintenanceJob
from tests.support.kubernetes.sights import IMAGES, SHA, ago, classifier, deployment, job, run, seen, seen_run, served, service

SERVED: dict[str, Any] = {"service": service("v1"), "deployment": deployment("v1")}


def steps(plan: Plan, kind: type[Step]) -> list[Any]:
    return [each for each in plan.steps if isinstance(each, kind)]


def created(plan: Plan, kind: str) -> list[Document]:
    return [each.document for each in steps(plan, Create) if each.document["kind"] == kind]


def test_a_training_that_goes_on_is_judged_by_the_gate_of_now() -> None:
    document = classifier(gate={"minimum": 0.95}, status={"activeRun": "v1"})
    (step,) = steps(decide(seen(document, run("v1", state="Running")), IMAGES), Merge)
    assert step.change["spec"]["gate"]["minimum"] == 0.95


def test_what_is_served_from_another_storage_is_not_compared_with() -> None:
    document = classifier(storage={"uri": "s3://elsewhere"}, status={"served": served("v1")})
    (made,) = created(decide(seen(document, run("v1", passed=True), **SERVED), IMAGES), "TrainingRun")
    assert "served" not in made["spec"]


def test_what_is_served_from_another_storage_keeps_its_keys() -> None:
    document = classifier(storage={"uri": "s3://elsewhere", "secretName": "other"}, status={"served": served("v1")})
    applied = steps(decide(seen(document, run("v1", passed=True), **SERVED), IMAGES), Apply)
    assert [each.document["kind"] for each in applied] == ["ServingRuntime"]


@pytest.mark.parametrize("state", ["Running", "Failed"])
def test_the_end_of_versions_is_no_reason_to_train_again(state: str) -> None:
    before = run("v1", state=state)
    plan = decide(seen(classifier(storage={"deletionPolicy": "Delete"}), before), IMAGES)  # the finalizer
    (finalized,) = steps(plan, Merge)
    document = classifier(storage={"deletionPolicy": "Delete"})
    document["metadata"]["finalizers"] = finalized.change["metadata"]["finalizers"]
    after = decide(seen(document, before), IMAGES)
    assert not created(after, "TrainingRun")
    assert not [each for each in steps(after, Merge) if each.change.get("spec", {}).get("cancelled")]


@pytest.mark.parametrize("ending", [{"state": "Failed"}, {"state": "Superseded"}], ids=["failed", "stopped-by-hand"])
def test_a_dataset_that_is_as_it_was_starts_nothing_after_a_training_that_read_nothing(ending: Document) -> None:
    looked = {"dataset": {"sha256": SHA["a"], "checkedAt": ago(60)}}
    runs = [run("v1", passed=True, datasetSha256=SHA["a"], age=7200), run("v2", age=3600, **ending)]
    assert due(seen(classifier(triggers={"datasetChange": True}, status=looked), *runs), "trainer:1") is None


def test_a_run_by_hand_is_compared_with_what_is_served_when_its_turn_comes() -> None:
    by_hand = run("hand", spec={"trigger": {"reason": "Manual", "token": "", "message": "made by hand"}})
    status = {"activeRun": "hand", "served": served("v2")}
    (step,) = decide_run(seen_run(by_hand, of=classifier(status=status)), IMAGES).steps
    assert isinstance(step, Merge)
    assert step.change == {"spec": {"served": {"version": "v2", "uri": "s3://models/papers/v2/"}}}


def test_a_training_that_took_too_long_says_so_and_not_what_an_attempt_said_before() -> None:
    late = job(how="Failed")
    late["status"]["conditions"][0] |= {"reason": "DeadlineExceeded", "message": "Job was active longer than specified deadline"}
    plan = decide_run(seen_run(run("papers-1-aaaaaa", state="Running"), job=late), IMAGES)
    assert plan.status is not None
    assert plan.status["message"].startswith("spec.training.timeout: Job was active longer")


@pytest.mark.parametrize(("age", "deleted"), [(20, 0), (90, 1)], ids=["not-at-once", "after-a-minute"])
def test_deleting_versions_is_tried_again_after_a_pause(age: float, deleted: int) -> None:
    document = classifier(storage={"deletionPolicy": "Delete"})
    document["metadata"] |= {"finalizers": [FINALIZER], "deletionTimestamp": ago(300)}
    failed = job(prune_name("papers", ()), how="Failed", component="prune")
    failed["status"]["conditions"][0]["lastTransitionTime"] = ago(age)
    assert len(steps(finalize(seen(document, jobs=(MaintenanceJob(failed),)), IMAGES), Delete)) == deleted
