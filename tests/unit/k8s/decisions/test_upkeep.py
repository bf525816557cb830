"""Looking at datasets, keeping some of the past, and letting go."""

from __future__ import annotations

from typing import Any

import pytest

from k8s.controller.decisions.dataset import DatasetCheck, check_dataset
from k8s.controller.decisions.finalizer import finalize
from k8s.controller.decisions.retention import POD_POLL_SECONDS, HistoryDecision, enforce_history
from k8s.controller.decisions.steps import Step
from k8s.controller.objects import names
from k8s.controller.objects.documents import condition
from k8s.controller.objects.kinds import Document
from k8s.controller.observed.classifier import MaintenanceJob
from model.run_result import RunResult
from tests.support.kubernetes.sights import IMAGES, SHA, ago, checking, classifier, job, pod, run, seen, served, service

WATCHED = {"triggers": {"datasetChange": True}}  # every 15 minutes
FOUND = RunResult(exit_code=0, dataset_sha256=SHA["b"], test_sha256=SHA["c"])
NOTE = {"sha256": SHA["a"], "checkedAt": ago(2000)}


def said(steps: tuple[Step, ...]) -> list[str]:
    return [f"{type(step).__name__} {step.document['metadata']['name']}" for step in steps]


def checked(*runs: Any, note: Document | None = None, spec: Document | None = None, **more: Any) -> DatasetCheck:
    status = {"dataset": note} if note else {}
    return check_dataset(seen(classifier(status=status, **{**WATCHED, **(spec or {})}), *runs, **more), IMAGES)


OLD = run("v1", age=7200, passed=True)


@pytest.mark.parametrize(
    ("runs", "note", "spec", "begins"),
    [
        pytest.param([OLD], None, {}, True, id="the-training-was-long-ago"),
        pytest.param([run("v1", age=60, passed=True)], None, {}, False, id="the-training-has-just-read-it"),
        pytest.param([OLD], NOTE, {}, True, id="the-last-look-was-long-ago"),
        pytest.param([OLD], {**NOTE, "checkedAt": ago(899)}, {}, False, id="a-second-too-early"),
        pytest.param([OLD], {**NOTE, "checkedAt": ago(900)}, {}, True, id="in-time"),
        pytest.param([OLD], None, {"suspend": True}, False, id="suspended"),
        pytest.param([OLD, run("v2", state="Running")], None, {}, False, id="a-training-goes-on"),
        pytest.param([], None, {}, False, id="nothing-was-trained-yet"),
        pytest.param([OLD], None, {"triggers": {"datasetChange": False}}, False, id="nobody-asked"),
    ],
)
def test_a_look_begins(runs: list[Any], note: Document | None, spec: Document, begins: bool) -> None:
    assert [each.startswith("Create papers-dataset-") for each in said(checked(*runs, note=note, spec=spec).steps)] == [
        True
    ] * begins


def test_a_look_that_goes_on_is_waited_for() -> None:
    found = checked(OLD, note=NOTE, jobs=(checking(how=None, age=10),))
    assert (found.note, found.steps) == (NOTE, ())
    assert found.requeue_after is not None


def test_what_a_look_found_is_noted_before_its_job_goes() -> None:
    looked = checking(how="Complete", age=30, said=FOUND)
    found = checked(OLD, note=NOTE, jobs=(looked,))
    assert (found.note, found.steps) == ({"sha256": SHA["b"], "testSha256": SHA["c"], "checkedAt": ago(30)}, ())
    assert said(checked(OLD, note=found.note, jobs=(looked,)).steps) == ["Delete papers-dataset-1"]


@pytest.mark.parametrize(
    ("looked", "message"),
    [
        pytest.param(
            checking(how="Failed", age=30, said=RunResult(exit_code=65, message="dataset.uri holds no file")),
            "spec.dataset.uri holds no file",
            id="it-could-not-be-read",
        ),
        pytest.param(checking(how="Failed", age=30), "it ended", id="its-job-failed"),
        pytest.param(checking(how="Complete", age=30), "its Pod is gone, and its result with it", id="its-pod-is-gone"),
    ],
)
def test_a_look_that_failed_keeps_what_was_known(looked: MaintenanceJob, message: str) -> None:
    assert checked(OLD, note=NOTE, jobs=(looked,)).note == {"sha256": SHA["a"], "checkedAt": ago(30), "message": message}


BROKEN = {"sha256": SHA["a"], "checkedAt": ago(600), "message": "spec.dataset.uri: there is no bucket of this name"}
ELSEWHERE = {"dataset": {"uri": "s3://other/"}}


@pytest.mark.parametrize(
    ("since", "spec", "stays"),
    [
        pytest.param([], {}, True, id="nothing-has-changed"),
        pytest.param([run("v2", state="Running", age=60)], {}, True, id="a-training-has-not-read-it-yet"),
        pytest.param([run("v2", state="Failed", age=60)], {}, True, id="a-training-has-not-read-it-either"),
        pytest.param([run("v2", passed=True, datasetSha256=SHA["b"], age=60)], {}, False, id="a-training-has-read-it-since"),
        pytest.param([run("v2", passed=False, datasetSha256=SHA["b"], age=700)], {}, True, id="a-training-has-read-it-before"),
        pytest.param([], ELSEWHERE, False, id="it-is-another-dataset-now"),
        pytest.param([], {"dataset": {"testUri": "s3://test/"}}, False, id="it-is-another-test-set-now"),
        pytest.param([run("v2", state="Failed", age=60, spec=ELSEWHERE)], ELSEWHERE, False, id="a-training-of-the-other-failed"),
    ],
)
def test_an_unreadable_dataset_is_reported_until_it_is_readable(since: list[Any], spec: Document, stays: bool) -> None:
    found = checked(OLD, *since, note=BROKEN, spec=spec).note
    assert found == (BROKEN if stays else {"sha256": SHA["a"], "checkedAt": ago(600)})


def test_a_check_of_the_previous_dataset_says_nothing_about_the_present_one() -> None:
    looked = checking(how="Failed", age=30, said=RunResult(exit_code=65, message="dataset.uri holds no file"))
    assert checked(OLD, note=NOTE, spec=ELSEWHERE, jobs=(looked,)).note == {"sha256": SHA["a"], "checkedAt": ago(30)}


def test_what_hindered_a_look_that_is_gone_is_not_said_any_more() -> None:
    assert checked(OLD, run("v2", state="Running"), note={"message": "no node"}).note is None


def test_a_look_that_took_too_long_is_not_blamed_on_the_training() -> None:
    late = checking(how="Failed", age=30)
    late.job["status"]["conditions"][0]["message"] = "Job was active longer than specified deadline"
    note = checked(OLD, note=NOTE, jobs=(late,)).note
    assert note is not None
    assert note["message"] == "Job was active longer than specified deadline"


def test_a_dataset_that_is_not_watched_has_no_state() -> None:
    found = checked(OLD, note=NOTE, spec={"triggers": {"datasetChange": False}}, jobs=(checking(how=None, age=30),))
    assert (found.note, said(found.steps)) == (None, ["Delete papers-dataset-1"])


# What is kept.


FAILED = {"state": "Failed", "startedAt": ago(7100)}
BELOW = {"storage": {"uri": "s3://models/team/", "secretName": "s"}}


def runs(number: int, **of_the_oldest: Any) -> list[Any]:
    """The oldest first, all published."""
    made = [run(f"v{each}", sequence=each, age=7200 - each, passed=True) for each in range(2, number + 1)]
    return [run("v1", age=7200, **(of_the_oldest or {"passed": True})), *made]


def kept(*of: Any, in_use: set[str] | None = None, jobs: tuple[MaintenanceJob, ...] = (), **spec: Any) -> HistoryDecision:
    return enforce_history(seen(classifier(**spec), *of, jobs=jobs), IMAGES, in_use=in_use or set())


def pruned(found: HistoryDecision) -> list[str]:
    """The versions that a Job is made to delete."""
    args = [step.document["spec"]["template"]["spec"]["containers"][0]["args"] for step in found.steps if "Create" in repr(step)]
    return [each for arg in args for each in arg[5:]]


@pytest.mark.parametrize(
    ("of", "spec", "in_use", "expected"),
    [
        pytest.param(runs(3), {"history": {"versions": 3}}, set(), [], id="as-many-as-may-be"),
        pytest.param(runs(4), {"history": {"versions": 3}}, set(), ["v1"], id="one-too-many"),
        pytest.param(runs(4), {"history": {"versions": 2}}, {"v1"}, ["v2"], id="one-is-in-use"),
        pytest.param(runs(4), {"history": {"versions": 3, "runs": 2}}, set(), ["v1", "v2"], id="fewer-runs-than-versions"),
        pytest.param(runs(4, passed=True, files="deleted"), {"history": {"versions": 3}}, set(), [], id="it-is-deleted"),
        pytest.param(runs(4), {"history": {"versions": 1}, "suspend": True}, set(), [], id="suspended"),
        pytest.param([*runs(4), run("v5", state="Running")], {"history": {"versions": 1}}, set(), [], id="a-training-goes-on"),
        pytest.param(
            runs(4, passed=True, artifactUri="s3://before/papers/v1/"), {"history": {"versions": 3}}, set(), [],
            id="it-lies-in-another-storage",
        ),
        pytest.param(
            runs(4, passed=True, artifactUri="s3://models/team/papers/v1/"), {"history": {"versions": 3}}, set(), [],
            id="it-lies-below-the-storage-of-now",
        ),
        pytest.param(runs(3, **FAILED), {"history": {"runs": 2, "versions": 2}}, set(), ["v1"], id="what-a-failed-run-has-left"),
        pytest.param(runs(3, **FAILED), {"history": {"runs": 3, "versions": 1}}, set(), ["v2"], id="a-failed-run-may-be-resumed"),
        pytest.param(
            runs(3, **FAILED, files="deleted"), {"history": {"runs": 2, "versions": 2}}, set(), [], id="that-is-deleted"
        ),
        pytest.param(
            runs(3, **FAILED, spec=BELOW), {"history": {"runs": 2, "versions": 2}}, set(), [], id="that-lies-in-another-storage"
        ),
        pytest.param(
            [run("v0", state="Superseded", startedAt=ago(90), age=7300), *runs(2)], {}, set(), ["v0"], id="what-was-stopped"
        ),
    ],
)  # fmt: skip
def test_versions_beyond_those_to_keep_are_deleted(of: list[Any], spec: Document, in_use: set[str], expected: list[str]) -> None:
    assert pruned(kept(*of, in_use=in_use, **spec)) == expected


@pytest.mark.parametrize(
    ("oldest", "expected"),
    [
        pytest.param({"state": "Failed"}, ["Delete v1"], id="it-failed-before-it-began"),
        pytest.param(FAILED, [f"Create {names.prune_name('papers', ('v1',))}"], id="it-failed-and-left-something"),
        pytest.param({**FAILED, "files": "deleted"}, ["Delete v1"], id="it-failed-and-has-left-nothing"),
        pytest.param({**FAILED, "spec": BELOW}, ["Delete v1"], id="it-failed-in-another-storage"),
        pytest.param({"passed": True, "files": "deleted"}, ["Delete v1"], id="its-files-are-deleted"),
        pytest.param({"state": "Superseded"}, ["Delete v1"], id="it-was-stopped"),
    ],
)
def test_runs_beyond_those_to_keep_go_once_they_have_no_files(oldest: Document, expected: list[str]) -> None:
    assert said(kept(*runs(3, **oldest), history={"runs": 2, "versions": 2}).steps) == expected


def test_failed_runs_do_not_pile_up_where_the_storage_is_away() -> None:
    failed = [run(f"v{each}", age=9000 - each, sequence=each, **FAILED) for each in range(1, 21)]
    history: Document = {"runs": 2, "versions": 2}
    waiting = pruning("Failed", *(f"v{each}" for each in range(1, 19)), words="there is no such bucket")
    assert said(kept(*failed, history=history, jobs=(waiting,)).steps) == [f"Delete v{each}" for each in range(1, 15)]


def test_versions_are_deleted_by_one_job_after_the_other() -> None:
    found = kept(*runs(4), jobs=(pruning(None, "v0"),), history={"versions": 3})
    assert (found.steps, found.requeue_after) == ((), POD_POLL_SECONDS)


def test_the_run_by_which_a_drift_is_known_to_have_been_answered_stays() -> None:
    answered = run("v1", age=900, state="Failed", spec={"trigger": {"reason": "Drift", "token": "v0", "message": ""}})
    newer = (run("v2", age=600, state="Failed"), run("v3", age=300, state="Failed"))
    for served_now, expected in (("v0", ["Delete v2"]), ("v3", ["Delete v1", "Delete v2"])):
        document = classifier(status={"served": served(served_now)}, history={"runs": 1})
        assert said(enforce_history(seen(document, answered, *newer), IMAGES, in_use=set()).steps) == expected


def pruning(how: str | None, *versions: str, words: str | None = None) -> MaintenanceJob:
    found = job(names.prune_name("papers", versions), how=how, component="prune")
    return MaintenanceJob(found, [pod(RunResult(exit_code=75, message=words), phase="Failed")] if words else [])


def test_that_versions_are_deleted_is_noted_once_it_is_done() -> None:
    spec: Document = {"history": {"versions": 3}}
    assert kept(*runs(4), jobs=(pruning(None, "v1"),), **spec).steps == ()
    assert said(kept(*runs(4), jobs=(pruning("Complete", "v1"),), **spec).steps) == ["Merge v1"]
    gone = runs(4, passed=True, files="deleted")
    assert said(kept(*gone, jobs=(pruning("Complete", "v1"),), **spec).steps) == [f"Delete {names.prune_name('papers', ('v1',))}"]


def test_versions_that_could_not_be_deleted_are_reported() -> None:
    assert kept(*runs(4), jobs=(pruning("Failed", "v1", words="no right"),), history={"versions": 3}).problem == "no right"


STUCK = {"state": {"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "s3" not found'}}}
SECRET = 'spec.storage.secretName: CreateContainerConfigError: secret "s3" not found'
NO_POD = "no Pod was created: see `kubectl describe job {}`; possible causes: a ServiceAccount that does not exist"


def stuck(*versions: str) -> MaintenanceJob:
    return MaintenanceJob(pruning(None, *versions).job, [pod(phase="Pending", containerStatuses=[STUCK])])


def test_versions_that_are_not_deleted_are_reported_while_their_job_waits() -> None:
    found = kept(*runs(4), jobs=(stuck("v1"),), history={"versions": 3})
    assert (found.steps, found.problem) == ((), SECRET)
    assert found.requeue_after is not None


@pytest.mark.parametrize(("age", "told"), [(10, False), (30, True)], ids=["it-has-just-begun", "for-long"])
def test_a_job_that_gets_no_pod_is_reported(age: float, told: bool) -> None:
    begun = pruning(None, "v1")
    begun.job["metadata"]["creationTimestamp"] = ago(age)
    problem = kept(*runs(4), jobs=(begun,), history={"versions": 3}).problem or ""
    assert problem.startswith(NO_POD.format(begun.job["metadata"]["name"])) == told


# Letting go.


def leaving(*of: Any, policy: str = "Delete", held: bool = True, status: Document | None = None, **more: Any) -> Any:
    found = classifier(storage={"deletionPolicy": policy}, status=status)
    found["metadata"] |= {"deletionTimestamp": ago(1), "finalizers": [names.FINALIZER, "others"] if held else ["others"]}
    return finalize(seen(found, *of, **more), IMAGES)


ALL = names.prune_name("papers", ())


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param({"held": False}, [], id="nobody-holds-it"),
        pytest.param({"policy": "Keep"}, ["Merge papers"], id="versions-stay"),
        pytest.param({"policy": "Keep", "jobs": (stuck(),)}, ["Merge papers"], id="versions-stay-though-their-deletion-began"),
        pytest.param({"policy": "Keep", "training_pods_left": True}, ["Merge papers"], id="versions-stay-whatever-goes-on"),
        pytest.param({"jobs": (pruning(None),)}, [], id="versions-are-being-deleted"),
        pytest.param({}, [f"Create {ALL}"], id="nothing-uses-them-any-more"),
        pytest.param({"jobs": (pruning("Complete"),)}, ["Merge papers"], id="versions-are-deleted"),
        pytest.param({"jobs": (pruning("Failed", words="no right"),)}, [f"Delete {ALL}"], id="that-failed-and-is-tried-again"),
    ],
)
def test_a_classifier_is_let_go(arguments: Document, expected: list[str]) -> None:
    assert said(leaving(**arguments).steps) == expected


def test_first_goes_what_uses_the_versions() -> None:
    there = service("v1")
    there["metadata"] |= {"uid": "s"}
    assert said(leaving(OLD, service=there).steps) == ["Delete v1", "Delete papers"]


def test_others_hold_on_to_what_is_theirs() -> None:
    (step,) = leaving(policy="Keep").steps
    assert step.change == {"metadata": {"finalizers": ["others"]}}


BEFORE = {
    "state": "Ready",
    "version": "v1",
    "conditions": [{"type": "Degraded", "status": "False", "lastTransitionTime": ago(900)}],
}
FREES = "to delete the TextClassifier without them, set spec.storage.deletionPolicy to Keep"


def said_of(plan: Any, kind: str) -> tuple[str, ...]:
    found = condition(plan, kind)
    return found["status"], found["reason"], found["message"]


@pytest.mark.parametrize(
    ("arguments", "state", "message"),
    [
        pytest.param({"training_pods_left": True}, "Deleting", "waits for its Pods to stop", id="a-training-goes-on"),
        pytest.param({}, "Deleting", "its versions are being deleted", id="its-job-is-made"),
        pytest.param({"jobs": (pruning(None),)}, "Failed", "cannot be deleted: no Pod was created", id="its-job-has-no-pod"),
        pytest.param({"jobs": (stuck(),)}, "Failed", f"cannot be deleted: {SECRET}; {FREES}", id="its-pod-does-not-start"),
        pytest.param(
            {"jobs": (pruning("Failed", words="no right"),)}, "Failed", f"cannot be deleted: no right; {FREES}", id="failed"
        ),
    ],
)
def test_a_waiting_deletion_is_reported_with_its_reason(arguments: Document, state: str, message: str) -> None:
    status = leaving(status=BEFORE, **arguments).status
    assert (status["state"], status["version"]) == (state, "v1")
    assert message in status["message"]
    assert leaving(status=status, **arguments).status in (status, None)


def test_what_hinders_its_deletion_is_degraded_and_nothing_answers_any_more() -> None:
    found = {"status": leaving(status=BEFORE, jobs=(stuck(),)).status}
    assert said_of(found, "Degraded") == ("True", "VersionsNotDeleted", f"its versions cannot be deleted: {SECRET}; {FREES}")
    assert said_of(found, "Ready") == ("False", "NothingServed", "is being deleted")
    assert said_of(found, "Progressing")[:2] == ("True", "Deleting")
    assert condition(found, "Degraded")["lastTransitionTime"] == ago(0)


def test_a_failed_deletion_is_reported_until_the_next_attempt_succeeds() -> None:
    failed = leaving(status=BEFORE, jobs=(pruning("Failed", words="no right"),)).status
    assert leaving(status=failed).status is None
    running = MaintenanceJob(pruning(None).job, [pod(phase="Running")])
    assert leaving(status=failed, jobs=(running,)).status is None


def test_what_was_wrong_before_is_nothing_that_hinders_its_deletion() -> None:
    before = {"state": "Failed", "conditions": [{"type": "Degraded", "status": "True", "lastTransitionTime": ago(900)}]}
    found = {"status": leaving(status=before).status}
    assert said_of(found, "Degraded") == ("False", "AsExpected", "no problem is known")
