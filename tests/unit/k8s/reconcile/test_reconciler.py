"""A pass from its beginning to its end, with what may come in between."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from k8s.controller.clients.kubernetes import RequestRefused, WriteConflict
from k8s.controller.objects import names
from k8s.controller.objects.documents import condition
from k8s.controller.objects.kinds import (
    INFERENCE_SERVICE,
    JOB,
    POD,
    SERVING_RUNTIME,
    TEXT_CLASSIFIER,
    TRAINING_RUN,
    Document,
    Kind,
)
from k8s.controller.reconcile.observe import PROBE_SECONDS, Observer
from k8s.controller.runtime.queue import Key
from tests.support.fakes import Wrapped
from tests.support.kubernetes.invariants import nothing_is_left, nothing_is_written
from tests.support.kubernetes.simulation import API, NAME, SPACE, Simulation

ITSELF = Key("TextClassifier", SPACE, NAME)


class Refusing(Wrapped):
    """An API server that does not allow this."""

    def __init__(self, cluster: Any, *, verb: str, kind: Kind) -> None:
        super().__init__(cluster)
        self.what = verb, kind

    def around(self, verb: str, kind: Kind, call: Callable[[], Any]) -> Any:
        if (verb, kind) == self.what:
            raise RequestRefused(f"{verb} {kind.kind}: exceeded quota")
        return call()


@pytest.fixture
def ready() -> Simulation:
    """A classifier that is trained and served."""
    simulation = Simulation()
    simulation.add()
    simulation.settle()
    assert simulation.status["state"] == "Ready"
    return simulation


def test_a_new_classifier_comes_to_be_served(ready: Simulation) -> None:
    status = ready.status
    assert ready.states() == ["Published"]
    assert status["version"] == ready.runs()[0]["metadata"]["name"]
    assert (status["score"], status["url"]) == (0.9, "http://papers-predictor.one")
    reasons = {each["type"]: each["reason"] for each in status["conditions"]}
    assert reasons == {
        "Ready": "Answers", "Trained": "Published", "GatePassed": "Passed", "Served": "EveryPod", "Progressing": "Idle",
        "Degraded": "AsExpected",
    }  # fmt: skip


def test_what_cannot_be_served_hinders_no_training(ready: Simulation) -> None:
    ready.restart(lambda cluster: Refusing(cluster, verb="apply", kind=SERVING_RUNTIME))
    ready.edit({"training": {"seed": 1}})
    with pytest.raises(RequestRefused):
        ready.reconciler.reconcile(ITSELF)
    assert ready.status["activeRun"] == ready.runs()[-1]["metadata"]["name"]
    assert ready.status["version"] == ready.runs()[0]["metadata"]["name"]
    assert condition(ready.classifier, "Degraded")["reason"] == "Refused"


def test_a_refused_object_is_reported_and_tried_again() -> None:
    simulation = Simulation()
    simulation.restart(lambda cluster: Refusing(cluster, verb="create", kind=TRAINING_RUN))
    simulation.add()
    with pytest.raises(RequestRefused):
        simulation.reconciler.reconcile(ITSELF)
    assert simulation.status["state"] == "Degraded"
    assert condition(simulation.classifier, "Degraded")["reason"] == "Refused"
    assert "exceeded quota" in condition(simulation.classifier, "Degraded")["message"]
    simulation.restart()
    simulation.settle()
    assert simulation.status["state"] == "Ready"


def test_what_stays_refused_is_written_once() -> None:
    simulation = Simulation()
    simulation.restart(lambda cluster: Refusing(cluster, verb="create", kind=TRAINING_RUN))
    simulation.add()
    seen: list[str] = []
    simulation.listeners.append(lambda event, document: seen.append(f"{event} {document['kind']}"))
    for _ in range(4):
        with pytest.raises(RequestRefused):
            simulation.reconciler.reconcile(ITSELF)
        simulation.advance(60)
    assert seen == ["MODIFIED TextClassifier"]


THEIRS = {"predictor": {"model": {"modelFormat": {"name": "sklearn"}, "storageUri": "s3://theirs/"}}}


@pytest.mark.parametrize(
    ("kind", "said"),
    [(INFERENCE_SERVICE, "an InferenceService"), (SERVING_RUNTIME, "a ServingRuntime")],
    ids=["service", "runtime"],
)
def test_what_has_the_name_and_is_somebody_elses_stays_as_it_is(kind: Kind, said: str) -> None:
    simulation = Simulation()
    theirs = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": NAME, "namespace": SPACE}, "spec": THEIRS}
    simulation.cluster.create(theirs)
    simulation.add()
    simulation.settle()
    found = simulation.cluster.get(kind, SPACE, NAME)
    assert found is not None
    assert found["spec"] == THEIRS
    degraded = condition(simulation.classifier, "Degraded")
    assert degraded["reason"] == "NameTaken"
    assert degraded["message"].startswith(f"{said} {NAME} exists that does not belong to this TextClassifier")
    simulation.cluster.delete(kind, SPACE, NAME)
    simulation.settle()
    assert simulation.status["state"] == "Ready"


def make(simulation: Simulation, kind: Kind, *, owner: str | None = None) -> None:
    """Create an object of the classifier's name. owner: uid of a TextClassifier."""
    references = [{"apiVersion": API, "kind": "TextClassifier", "name": NAME, "uid": owner}] if owner else []
    metadata = {"name": NAME, "namespace": SPACE, "ownerReferences": references}
    simulation.cluster.create({"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, "spec": THEIRS})


@pytest.mark.parametrize("kind", [INFERENCE_SERVICE, SERVING_RUNTIME], ids=["service", "runtime"])
@pytest.mark.parametrize("failed", [False, True], ids=["before-the-first-training", "after-one-that-failed"])
def test_nothing_is_trained_while_somebody_else_has_the_name(kind: Kind, failed: bool) -> None:
    simulation = Simulation()
    if failed:
        simulation.trainer.codes = [65]
        simulation.add()
        simulation.settle()
        assert simulation.states() == ["Failed"]
    make(simulation, kind)
    if failed:
        simulation.edit({"training": {"seed": 1}})
    else:
        simulation.add()
    simulation.settle()

    assert simulation.states() == ["Failed"] * failed
    assert (
        "that does not belong to this TextClassifier: delete one of them"
        in condition(simulation.classifier, "Degraded")["message"]
    )
    simulation.cluster.delete(kind, SPACE, NAME)
    simulation.settle()
    assert simulation.states() == [*["Failed"] * failed, "Published"]
    assert simulation.status["state"] == "Ready"


@pytest.mark.parametrize(
    ("kind", "owner", "taken"),
    [
        pytest.param(INFERENCE_SERVICE, "its-own", None, id="its-own-service"),
        pytest.param(SERVING_RUNTIME, "its-own", None, id="its-own-runtime"),
        pytest.param(INFERENCE_SERVICE, "one-before", "an InferenceService", id="a-service-of-one-of-the-name-before"),
        pytest.param(SERVING_RUNTIME, "one-before", "a ServingRuntime", id="a-runtime-of-one-of-the-name-before"),
        pytest.param(SERVING_RUNTIME, None, "a ServingRuntime", id="a-runtime-without-an-owner"),
    ],
)
def test_a_name_is_taken_by_what_another_owns(kind: Kind, owner: str | None, taken: str | None) -> None:
    simulation = Simulation(collects=False)  # what one of before made is still there
    simulation.add()
    uid = simulation.classifier["metadata"]["uid"]
    make(simulation, kind, owner=uid if owner == "its-own" else owner)

    observed = Observer(simulation.cluster, simulation.world).classifier(simulation.classifier, simulation.clock())

    assert observed.name_conflict == taken
    assert (observed.service is not None) == (kind == INFERENCE_SERVICE and taken is None)


def test_a_refused_serving_object_is_reported_for_serving(ready: Simulation) -> None:
    ready.restart(lambda cluster: Refusing(cluster, verb="apply", kind=INFERENCE_SERVICE))
    ready.edit({"serving": {"replicas": {"minimum": 2}}})
    with pytest.raises(RequestRefused):
        ready.reconciler.reconcile(ITSELF)
    assert condition(ready.classifier, "Degraded")["message"].startswith("spec.serving.resources: ")


def test_old_versions_that_are_not_deleted_are_reported_while_their_job_waits(ready: Simulation) -> None:
    (first,) = [run["metadata"]["name"] for run in ready.runs()]
    ready.world.unschedulable.add(names.prune_name(NAME, (first,)))
    ready.edit({"history": {"versions": 1}, "training": {"seed": 1}})
    ready.settle(120)
    degraded = condition(ready.classifier, "Degraded")
    assert degraded["reason"] == "VersionsNotDeleted"
    assert degraded["message"].startswith("old versions and checkpoints could not be deleted: Unschedulable: ")
    nothing_is_written(ready)


def test_a_refused_job_is_reported_by_its_run() -> None:
    simulation = Simulation()
    simulation.restart(lambda cluster: Refusing(cluster, verb="create", kind=JOB))
    simulation.add()
    simulation.rest()
    (run,) = simulation.runs()
    assert run["status"]["state"] == "Pending"
    assert "exceeded quota" in run["status"]["message"]


@pytest.mark.parametrize("text", ["abc", "-1", "1e9", "9" * 5000, "²"])
def test_an_annotation_that_somebody_wrote_fails_no_pass(ready: Simulation, text: str) -> None:
    name = ready.runs()[0]["metadata"]["name"]
    ready.cluster.merge(TRAINING_RUN, SPACE, name, {"metadata": {"annotations": {names.SEQUENCE: text}}})
    ready.edit({"training": {"seed": 1}})
    ready.settle()

    assert [each.get("status", {}).get("state") for each in ready.all(TRAINING_RUN)] == ["Published", "Published"]
    assert ready.status["state"] == "Ready"


def test_a_result_that_somebody_wrote_fails_no_pass() -> None:
    simulation = Simulation()
    simulation.add({"gate": {"minimum": 0.95}})
    simulation.settle()
    (run,) = simulation.runs()
    assert run["status"]["state"] == "Rejected"
    simulation.cluster.write_status({**run, "status": {**run["status"], "result": {"gate": {"value": "much"}}}})

    simulation.reconciler.reconcile(Key("TrainingRun", SPACE, run["metadata"]["name"]))

    assert simulation.states() == ["Rejected"]


def test_a_pod_that_only_has_the_label_is_not_asked(ready: Simulation) -> None:
    served = next(each for each in ready.all(POD) if names.SERVED_BY in each["metadata"]["labels"])
    stranger = {**served, "metadata": {**served["metadata"], "name": "stranger", "uid": "s", "ownerReferences": []}}
    asked: list[str] = []

    class Asked:
        def version(self, pod: Document, classifier: str) -> str | None:
            asked.append(pod["metadata"]["name"])
            return ready.world.version(pod, classifier)

    ready.cluster.put(stranger)
    ready.reconciler = dataclasses.replace(ready.reconciler, observer=Observer(ready.cluster, Asked()))
    ready.edit({"training": {"seed": 1}})
    ready.settle()

    assert asked
    assert "stranger" not in asked
    assert ready.status["state"] == "Ready"


def test_pods_are_not_asked_for_longer_than_a_pass_may_take(ready: Simulation) -> None:
    (pod,) = (each for each in ready.all(POD) if names.SERVED_BY in each["metadata"]["labels"])
    time = iter([0.0, PROBE_SECONDS - 1, PROBE_SECONDS + 1])
    asked: list[str] = []

    class Slow:
        def version(self, pod: Document, classifier: str) -> str | None:
            asked.append(pod["metadata"]["name"])
            return None

    for number in range(2):
        ready.cluster.put(
            {**pod, "metadata": {**pod["metadata"], "name": f"{pod['metadata']['name']}-{number}", "uid": str(number)}}
        )
    observer = Observer(ready.cluster, Slow(), clock=lambda: next(time, PROBE_SECONDS + 1))
    classifier = ready.classifier
    classifier["status"]["served"]["uri"] = "s3://models/papers/before/"
    seen = observer.classifier(classifier, ready.clock())

    assert (len(asked), len(seen.answers)) == (1, 3)


def test_a_spec_that_cannot_be_read_changes_nothing_but_the_status(ready: Simulation) -> None:
    ready.cluster.defaults = lambda document: document
    ready.edit({"later": "a field of another release"})
    before = ready.cluster.get(INFERENCE_SERVICE, SPACE, NAME)
    ready.settle()
    assert ready.status["state"] == "Invalid"
    assert condition(ready.classifier, "Degraded")["message"] == "spec.later is not a field"
    assert condition(ready.classifier, "Ready")["status"] == "True"
    assert ready.cluster.get(INFERENCE_SERVICE, SPACE, NAME) == before


def test_what_came_of_a_run_stays_though_its_spec_cannot_be_read(ready: Simulation) -> None:
    ready.cluster.defaults = lambda document: document
    (run,) = ready.runs()
    ready.cluster.merge(TRAINING_RUN, SPACE, run["metadata"]["name"], {"spec": {"later": 1}})
    ready.settle()
    assert ready.runs()[0]["status"] == run["status"]


def test_a_schedule_that_never_comes_is_reported_and_the_served_version_stays(ready: Simulation) -> None:
    ready.edit({"triggers": {"schedule": "0 0 30 2 *"}, "training": {"seed": 1}})
    ready.settle()
    assert ready.status["state"] == "Invalid"
    assert "spec.triggers.schedule" in condition(ready.classifier, "Degraded")["message"]
    assert len(ready.runs()) == 1
    assert condition(ready.classifier, "Ready")["status"] == "True"


@pytest.mark.parametrize("kind", [INFERENCE_SERVICE, SERVING_RUNTIME], ids=lambda kind: kind.kind)
def test_what_was_deleted_is_made_again(ready: Simulation, kind: Kind) -> None:
    before = ready.cluster.get(kind, SPACE, NAME)
    ready.cluster.delete(kind, SPACE, NAME)
    ready.settle()
    after = ready.cluster.get(kind, SPACE, NAME)
    assert before is not None
    assert after is not None
    assert after["spec"] == before["spec"]
    assert ready.status["state"] == "Ready"


@pytest.mark.parametrize("kind", [INFERENCE_SERVICE, SERVING_RUNTIME], ids=lambda kind: kind.kind)
def test_an_object_that_was_deleted_during_a_broken_watch_is_made_again(ready: Simulation, kind: Kind) -> None:
    ready.is_deaf = True
    ready.cluster.delete(kind, SPACE, NAME)
    ready.world.settle()
    ready.is_deaf = False
    ready.settle(7200)
    assert ready.cluster.get(kind, SPACE, NAME) is not None
    assert ready.status["state"] == "Ready"


def test_what_was_changed_by_hand_is_changed_back(ready: Simulation) -> None:
    change = {"spec": {"predictor": {"minReplicas": 7}}}
    ready.cluster.merge(INFERENCE_SERVICE, SPACE, NAME, change)
    ready.settle()
    service = ready.cluster.get(INFERENCE_SERVICE, SPACE, NAME)
    assert service is not None
    assert service["spec"]["predictor"]["minReplicas"] == 1


def test_an_object_that_changed_since_it_was_read_is_left_for_the_next_pass(ready: Simulation) -> None:
    class Meanwhile(Wrapped):
        def around(self, verb: str, kind: Kind, call: Callable[[], Any]) -> Any:
            if (verb, kind) == ("write_status", TEXT_CLASSIFIER):
                ready.cluster.merge(TEXT_CLASSIFIER, SPACE, NAME, {"metadata": {"annotations": {"by": "somebody"}}})
            return call()

    ready.restart(Meanwhile)
    ready.edit({"suspend": True})
    with pytest.raises(WriteConflict):
        ready.reconciler.reconcile(ITSELF)


def test_a_version_that_never_becomes_ready_is_given_up_for_the_one_before(ready: Simulation) -> None:
    first = ready.status["version"]
    ready.world.outcome = lambda job: _broken(ready, job)
    ready.edit({"training": {"seed": 1}})
    ready.settle()
    assert ready.states() == ["Published", "Published"]
    assert ready.status["version"] == first
    assert ready.status["state"] == "Degraded"
    assert condition(ready.classifier, "Ready")["status"] == "True"
    (failed,) = ready.status["failedRollouts"]
    assert failed["version"] == ready.runs()[1]["metadata"]["name"]


def _broken(simulation: Simulation, job: Document) -> Any:
    found = simulation.trainer(job)
    simulation.world.broken_versions.add(str(found.artifact_uri))
    return found


def test_a_dataset_check_from_before_the_last_training_starts_none(ready: Simulation) -> None:
    """The note on the old content stays; the training for another reason has read the new one."""
    ready.edit({"triggers": {"datasetChange": True, "datasetCheckInterval": "10m"}})
    ready.settle(700)
    assert "sha256" in ready.status["dataset"]
    ready.trainer.contents["s3://datasets/papers/"] = "new"
    ready.edit({"training": {"seed": 1}})
    ready.settle(1500)
    assert [run["spec"]["trigger"]["reason"] for run in ready.runs()] == ["NewSpec", "NewSpec"]


def test_a_dataset_that_could_not_be_read_is_forgotten_once_another_is_named(ready: Simulation) -> None:
    ready.trainer.codes.append(65)
    ready.edit({"triggers": {"datasetChange": True, "datasetCheckInterval": "10m"}})
    ready.settle(60)
    assert condition(ready.classifier, "Degraded")["reason"] == "DatasetUnreadable"
    ready.edit({"dataset": {"uri": "s3://datasets/mended/"}})
    ready.settle(60)
    assert ready.states() == ["Published", "Published"]
    assert condition(ready.classifier, "Degraded")["reason"] == "AsExpected"


def test_a_change_of_the_gate_judges_again_and_trains_nothing() -> None:
    simulation = Simulation()
    simulation.add({"gate": {"minimum": 0.95}})
    simulation.settle()
    assert simulation.states() == ["Rejected"]
    simulation.edit({"gate": {"minimum": 0.1, "score": "macro-f1"}})
    simulation.settle()
    assert simulation.states() == ["Published"]
    assert simulation.status["state"] == "Ready"
    version = simulation.status["version"]
    simulation.edit({"gate": {"minimum": 0.95}})
    simulation.settle()
    assert simulation.states() == ["Rejected"]
    assert (simulation.status["state"], simulation.status["version"]) == ("Ready", version)
    assert condition(simulation.classifier, "GatePassed")["reason"] == "Refused"
    simulation.edit({"gate": {"minimum": 0.5}})
    simulation.settle()
    assert simulation.states() == ["Published"]
    assert condition(simulation.classifier, "GatePassed")["reason"] == "Passed"


@pytest.mark.parametrize(("policy", "left"), [("Keep", 1), ("Delete", 0)])
def test_of_a_deleted_classifier_nothing_is_left_but_versions_that_are_to_be_kept(policy: str, left: int) -> None:
    simulation = Simulation()
    simulation.add({"storage": {"deletionPolicy": policy}})
    simulation.settle()
    simulation.remove()
    simulation.settle()
    assert simulation.cluster.get(TEXT_CLASSIFIER, SPACE, NAME) is None
    nothing_is_left(simulation)
    assert len(simulation.trainer.published) == left


def test_a_deletion_that_does_not_go_on_says_so_once_and_may_be_given_up() -> None:
    simulation = Simulation()
    simulation.add({"storage": {"deletionPolicy": "Delete"}})
    simulation.settle()
    simulation.world.unschedulable.add(names.prune_name(NAME, ()))
    simulation.remove()
    simulation.settle()
    degraded = condition(simulation.classifier, "Degraded")
    assert (simulation.status["state"], degraded["reason"]) == ("Failed", "VersionsNotDeleted")
    assert "Insufficient memory" in degraded["message"]
    assert degraded["message"].endswith("to delete the TextClassifier without them, set spec.storage.deletionPolicy to Keep")
    assert [each.split(":")[0] for each in simulation.log if each.startswith("  event ")][-2:] == [
        "  event Deleting",
        "  event VersionsNotDeleted",
    ]
    nothing_is_written(simulation)
    simulation.edit({"storage": {"deletionPolicy": "Keep"}})
    simulation.settle()
    assert simulation.cluster.get(TEXT_CLASSIFIER, SPACE, NAME) is None
    nothing_is_left(simulation)
    assert len(simulation.trainer.published) == 1


def test_checkpoints_of_a_failed_training_are_deleted_before_the_run_is() -> None:
    simulation = Simulation()
    pruned: list[list[str]] = []
    simulation.listeners.append(lambda event, document: pruned.extend(_pruned(event, document)))
    simulation.trainer.codes.append(64)
    simulation.add({"history": {"runs": 2, "versions": 2}})
    simulation.settle()
    (failed,) = [run["metadata"]["name"] for run in simulation.runs()]
    for seed in (1, 2):
        assert not pruned
        simulation.edit({"training": {"seed": seed}})
        simulation.settle()
    assert pruned == [[failed]]
    assert simulation.states() == ["Published", "Published"]


def _pruned(event: str, document: Document) -> list[list[str]]:
    """The versions that a Job is made to delete."""
    if event != "ADDED" or document["kind"] != JOB.kind:
        return []
    args = document["spec"]["template"]["spec"]["containers"][0]["args"]
    return [args[5:]] if args[0] == "prune" else []


def test_a_classifier_of_another_mind_about_its_versions_is_let_go_without_them() -> None:
    simulation = Simulation()
    simulation.add({"storage": {"deletionPolicy": "Delete"}})
    simulation.settle()
    assert simulation.classifier["metadata"]["finalizers"] == [names.FINALIZER]
    simulation.edit({"storage": {"deletionPolicy": "Keep"}})
    simulation.settle()
    assert not simulation.classifier["metadata"].get("finalizers")


def test_what_is_gone_needs_nothing() -> None:
    simulation = Simulation()
    assert simulation.reconciler.reconcile(ITSELF) is None
    assert simulation.reconciler.reconcile(Key("TrainingRun", SPACE, "gone")) is None


def test_a_run_that_is_deleted_while_it_trains_takes_its_job_with_it(ready: Simulation) -> None:
    ready.make_run("hand")
    while not ready.cluster.get(JOB, SPACE, "hand"):
        assert ready.work_once()
    ready.cluster.delete(TRAINING_RUN, SPACE, "hand")
    ready.settle()
    assert ready.cluster.get(JOB, SPACE, "hand") is None
    assert "activeRun" not in ready.status
