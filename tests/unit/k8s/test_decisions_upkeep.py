"""Looking at datasets, keeping some of the past, and letting go."""

from __future__ import annotations

from typing import Any

import pytest

from k8s.controller import names
from k8s.controller.decisions.dataset import Checked, check
from k8s.controller.decisions.deletion import let_go
from k8s.controller.decisions.history import Kept, keep
from k8s.controller.decisions.seen import SmallJob
from k8s.controller.decisions.steps import Step
from k8s.controller.kinds import Document
from model.run_result import RunResult
from tests.unit.k8s.sights import IMAGES, SHA, ago, checking, classifier, job, pod, run, seen, service

WATCHED = {"triggers": {"datasetChange": True}}  # every 15 minutes
FOUND = RunResult(exit_code=0, dataset_sha256=SHA["b"], test_sha256=SHA["c"])
NOTE = {"sha256": SHA["a"], "checkedAt": ago(2000)}


def said(steps: tuple[Step, ...]) -> list[str]:
    return [f"{type(step).__name__} {step.document['metadata']['name']}" for step in steps]


def checked(*runs: Any, note: Document | None = None, spec: Document | None = None, **more: Any) -> Checked:
    status = {"dataset": note} if note else {}
    return check(seen(classifier(status=status, **{**WATCHED, **(spec or {})}), *runs, **more), IMAGES)


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
    assert found.again is not None


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
        pytest.param(checking(how="Complete", age=30), "its Pod is gone, and what it said with it", id="its-pod-is-gone"),
    ],
)
def test_a_look_that_failed_keeps_what_was_known(looked: SmallJob, message: str) -> None:
    assert checked(OLD, note=NOTE, jobs=(looked,)).note == {"sha256": SHA["a"], "checkedAt": ago(30), "message": message}


def test_nothing_is_known_of_a_dataset_that_nobody_watches() -> None:
    found = checked(OLD, note=NOTE, spec={"triggers": {"datasetChange": False}}, jobs=(checking(how=None, age=30),))
    assert (found.note, said(found.steps)) == (None, ["Delete papers-dataset-1"])


# What is kept.


def runs(number: int, **of_the_oldest: Any) -> list[Any]:
    """The oldest first, all published."""
    made = [run(f"v{each}", sequence=each, age=7200 - each, passed=True) for each in range(2, number + 1)]
    return [run("v1", age=7200, **(of_the_oldest or {"passed": True})), *made]


def kept(*of: Any, in_use: set[str] | None = None, jobs: tuple[SmallJob, ...] = (), **spec: Any) -> Kept:
    return keep(seen(classifier(**spec), *of, jobs=jobs), IMAGES, in_use=in_use or set())


def pruned(found: Kept) -> list[str]:
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
    ],
)  # fmt: skip
def test_versions_beyond_those_to_keep_are_deleted(of: list[Any], spec: Document, in_use: set[str], expected: list[str]) -> None:
    assert pruned(kept(*of, in_use=in_use, **spec)) == expected


@pytest.mark.parametrize(
    ("oldest", "expected"),
    [
        pytest.param({"state": "Failed"}, ["Delete v1"], id="it-failed"),
        pytest.param({"passed": True, "files": "deleted"}, ["Delete v1"], id="its-files-are-deleted"),
        pytest.param({"state": "Superseded"}, ["Delete v1"], id="it-was-stopped"),
    ],
)
def test_runs_beyond_those_to_keep_go_once_they_have_no_files(oldest: Document, expected: list[str]) -> None:
    assert said(kept(*runs(3, **oldest), history={"runs": 2, "versions": 2}).steps) == expected


def pruning(how: str | None, *versions: str, words: str | None = None) -> SmallJob:
    found = job(names.prune_name("papers", versions), how=how, component="prune")
    return SmallJob(found, [pod(RunResult(exit_code=75, message=words), phase="Failed")] if words else [])


def test_that_versions_are_deleted_is_noted_once_it_is_done() -> None:
    spec: Document = {"history": {"versions": 3}}
    assert kept(*runs(4), jobs=(pruning(None, "v1"),), **spec).steps == ()
    assert said(kept(*runs(4), jobs=(pruning("Complete", "v1"),), **spec).steps) == ["Merge v1"]
    gone = runs(4, passed=True, files="deleted")
    assert said(kept(*gone, jobs=(pruning("Complete", "v1"),), **spec).steps) == [f"Delete {names.prune_name('papers', ('v1',))}"]


def test_that_versions_could_not_be_deleted_is_told() -> None:
    assert kept(*runs(4), jobs=(pruning("Failed", "v1", words="no right"),), history={"versions": 3}).problem == "no right"


# Letting go.


def leaving(*of: Any, policy: str = "Delete", held: bool = True, **more: Any) -> Any:
    found = classifier(storage={"deletionPolicy": policy})
    found["metadata"] |= {"deletionTimestamp": ago(1), "finalizers": [names.FINALIZER, "others"] if held else ["others"]}
    return let_go(seen(found, *of, **more), IMAGES)


ALL = names.prune_name("papers", ())


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param({"held": False}, [], id="nobody-holds-it"),
        pytest.param({"policy": "Keep"}, ["Merge papers"], id="versions-stay"),
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


def test_what_hinders_its_deletion_is_told() -> None:
    plan = leaving(jobs=(pruning("Failed", words="no right"),))
    assert plan.status["state"] == "Failed"
    assert "no right; spec.storage.deletionPolicy: Keep lets it go without" in plan.status["message"]
