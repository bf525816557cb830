"""The world around the controller does what Kubernetes and KServe were seen to do."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from k8s.controller.clients.kubernetes import DEPLOYMENT, INFERENCE_SERVICE, JOB, POD, SERVING_RUNTIME, Document
from model.run_result import RunResult
from tests.support.fakes import FakeClock, FakeCluster
from tests.support.kubernetes.world import World

SPACE = "one"
POLICY = {
    "rules": [
        {"action": "FailJob", "onExitCodes": {"containerName": "trainer", "operator": "In", "values": [64, 65]}},
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "Ignore", "onExitCodes": {"containerName": "trainer", "operator": "In", "values": [143]}},
    ]
}


class Outcomes:
    """What the Pods of a Job come to, one after the other; the last again and again."""

    def __init__(self) -> None:
        self.codes = [0]

    def __call__(self, job: Document) -> RunResult:
        code = self.codes.pop(0) if len(self.codes) > 1 else self.codes[0]
        return RunResult(exit_code=code, version=job["metadata"]["name"])


@pytest.fixture
def outcomes() -> Outcomes:
    return Outcomes()


@pytest.fixture
def world(outcomes: Outcomes) -> World:
    clock = FakeClock()
    return World(FakeCluster(clock=clock), clock=clock, random=Random(0), outcome=outcomes)


def add_job(world: World, **spec: Any) -> None:
    template = {"metadata": {"labels": {"a": "1"}}, "spec": {"containers": [{"name": "trainer", "image": "trainer:1"}]}}
    spec = {"backoffLimit": 1, "podFailurePolicy": POLICY, "template": template, **spec}
    world.cluster.create({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "job", "namespace": SPACE}, "spec": spec})


def add_runtime(world: World) -> None:
    metadata = {"name": "papers", "namespace": SPACE}
    spec = {"containers": [{"name": "kserve-container", "image": "predictor:1"}]}
    world.cluster.apply(
        {"apiVersion": "serving.kserve.io/v1alpha1", "kind": "ServingRuntime", "metadata": metadata, "spec": spec}
    )


def serve(world: World, version: str, *, replicas: int = 1) -> None:
    model = {"runtime": "papers", "modelFormat": {"name": "labelwright"}, "storageUri": uri(version)}
    metadata = {"name": "papers", "namespace": SPACE}
    spec = {"predictor": {"minReplicas": replicas, "model": model}}
    document = {"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService", "metadata": metadata, "spec": spec}
    world.cluster.apply(document)


def uri(version: str) -> str:
    return f"s3://models/papers/{version}/"


def job(world: World) -> Document:
    found = world.cluster.get(JOB, SPACE, "job")
    assert found is not None
    return found


def conditions(document: Document | None) -> dict[str, str | None]:
    """The reasons of those that are true."""
    assert document is not None
    found = document.get("status", {}).get("conditions", [])
    return {each["type"]: each.get("reason") for each in found if each["status"] == "True"}


def said(world: World) -> list[tuple[int, str | None]]:
    """Exit code and message of each Pod that has ended."""
    states = [each["status"]["containerStatuses"][0]["state"]["terminated"] for each in world.all(POD)]
    return [(each["exitCode"], each.get("message")) for each in states]


def answers(world: World) -> list[str | None]:
    return [world.version(each, "papers") for each in world.all(POD)]


def do(world: World, beginning: str, *, among: str = "possible") -> None:
    """The first action whose label contains this."""
    actions = {"possible": world.possible, "mishaps": world.mishaps, "by hand": world.by_hand}[among]()
    next(each for each in actions if beginning in each.label).do()


def test_a_job_completes_and_its_pod_tells_the_result(world: World) -> None:
    add_job(world)
    world.settle()
    assert conditions(job(world)) == {"SuccessCriteriaMet": "CompletionsReached", "Complete": "CompletionsReached"}
    assert {"startTime", "completionTime"} <= job(world)["status"].keys()
    ((code, message),) = said(world)
    assert code == 0
    assert RunResult.model_validate_json(message or "").version == "job"


def test_what_cannot_be_helped_fails_the_job_at_once(world: World, outcomes: Outcomes) -> None:
    outcomes.codes = [64]
    add_job(world)
    world.settle()
    assert conditions(job(world)) == {"FailureTarget": "PodFailurePolicy", "Failed": "PodFailurePolicy"}
    assert [code for code, _ in said(world)] == [64]


@pytest.mark.parametrize(
    ("codes", "ending"),
    [
        pytest.param([75, 0], "CompletionsReached", id="the-second-attempt-succeeds"),
        pytest.param([75], "BackoffLimitExceeded", id="all-fail"),
        pytest.param([143, 143, 143, 0], "CompletionsReached", id="interruptions-do-not-count"),
    ],
)
def test_a_pod_that_fails_is_replaced(world: World, outcomes: Outcomes, codes: list[int], ending: str) -> None:
    outcomes.codes = codes
    add_job(world)
    world.settle()
    assert set(conditions(job(world)).values()) == {ending}


def test_a_job_that_takes_too_long_fails_and_its_pod_goes(world: World) -> None:
    add_job(world, activeDeadlineSeconds=60)
    while not any(each["status"]["phase"] == "Running" for each in world.all(POD)):
        world.step()
    do(world, "is counted")
    world.clock.advance(60)
    do(world, "is counted")
    assert conditions(job(world)) == {"FailureTarget": "DeadlineExceeded"}
    do(world, "stops a pod")
    world.settle()
    assert conditions(job(world)) == {"FailureTarget": "DeadlineExceeded", "Failed": "DeadlineExceeded"}
    assert world.all(POD) == []


@pytest.mark.parametrize("mishap", ["is lost", "is deleted", "is evicted", "is killed"])
def test_a_job_whose_pod_goes_gets_another(world: World, mishap: str) -> None:
    add_job(world)
    while not any(each["status"]["phase"] == "Running" for each in world.all(POD)):
        world.step()
    do(world, mishap, among="mishaps")
    world.settle()
    assert "Complete" in conditions(job(world))


def test_the_pods_of_a_job_that_was_deleted_go(world: World) -> None:
    add_job(world)
    while not any(each["status"]["phase"] == "Running" for each in world.all(POD)):
        world.step()
    do(world, "deletes Job", among="by hand")
    assert len(world.all(POD)) == 1
    world.settle()
    assert world.all(POD) == []


def test_every_index_of_a_job_gets_a_pod_and_the_first_tells_the_version(world: World) -> None:
    add_job(world, completionMode="Indexed", completions=3, parallelism=3)
    world.settle()
    assert job(world)["status"]["completedIndexes"] == "0,1,2"
    assert "Complete" in conditions(job(world))
    assert [RunResult.model_validate_json(message or "").version for _, message in said(world)] == ["job", None, None]


def test_a_pod_without_its_image_waits_until_it_is_there(world: World) -> None:
    world.missing_images.add("trainer:1")
    add_job(world)
    world.settle()
    (pod,) = world.all(POD)
    assert pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "ImagePullBackOff"
    world.missing_images.clear()
    world.settle()
    assert "Complete" in conditions(job(world))


def test_a_finished_job_is_cleaned_up_in_its_time(world: World) -> None:
    add_job(world, ttlSecondsAfterFinished=100)
    world.settle()
    world.clock.advance(100)
    world.settle()
    assert [*world.all(JOB), *world.all(POD)] == []


@pytest.mark.parametrize("replicas", [1, 3])
def test_another_version_replaces_the_pods_and_never_too_many(world: World, replicas: int) -> None:
    add_runtime(world)
    serve(world, "papers-1", replicas=replicas)
    world.settle()
    assert answers(world) == ["papers-1"] * replicas
    serve(world, "papers-2", replicas=replicas)
    while world.step():
        assert sum(each is not None for each in answers(world)) >= replicas
    assert answers(world) == ["papers-2"] * replicas
    deployment = world.cluster.get(DEPLOYMENT, SPACE, "papers-predictor")
    assert deployment is not None
    assert deployment["status"]["observedGeneration"] == deployment["metadata"]["generation"] == 2
    assert {deployment["status"][each] for each in ("replicas", "updatedReplicas", "availableReplicas")} == {replicas}
    assert "Ready" in conditions(world.cluster.get(INFERENCE_SERVICE, SPACE, "papers"))


def test_a_broken_version_never_replaces_the_one_before(world: World) -> None:
    world.broken_versions.add(uri("papers-2"))
    add_runtime(world)
    serve(world, "papers-1")
    world.settle()
    serve(world, "papers-2")
    world.settle()
    assert sorted(answers(world), key=str) == [None, "papers-1"]
    assert "Ready" not in conditions(world.cluster.get(INFERENCE_SERVICE, SPACE, "papers"))
    world.clock.advance(601)
    world.settle()
    deployment = world.cluster.get(DEPLOYMENT, SPACE, "papers-predictor")
    assert deployment is not None
    assert "Progressing" not in conditions(deployment)
    serve(world, "papers-1")
    world.settle()
    assert answers(world) == ["papers-1"]
    assert "Ready" in conditions(world.cluster.get(INFERENCE_SERVICE, SPACE, "papers"))


def test_without_its_runtime_nothing_is_served(world: World) -> None:
    serve(world, "papers-1")
    world.settle()
    assert world.all(POD) == []
    add_runtime(world)
    world.settle()
    assert answers(world) == ["papers-1"]


def test_a_deleted_service_goes_with_all_that_served_it(world: World) -> None:
    add_runtime(world)
    serve(world, "papers-1")
    world.settle()
    do(world, "deletes InferenceService", among="by hand")
    assert world.cluster.get(INFERENCE_SERVICE, SPACE, "papers") is not None
    world.settle()
    assert [*world.all(INFERENCE_SERVICE), *world.all(DEPLOYMENT), *world.all(POD)] == []
    assert len(world.all(SERVING_RUNTIME)) == 1


@pytest.mark.parametrize("seed", range(20))
def test_after_any_failures_of_pods_the_state_is_right(outcomes: Outcomes, seed: int) -> None:
    clock, random = FakeClock(), Random(seed)
    world = World(FakeCluster(clock=clock, collects=seed % 2 == 0), clock=clock, random=random, outcome=outcomes)
    add_job(world, backoffLimit=1000)
    add_runtime(world)
    serve(world, "papers-1", replicas=2)
    for _ in range(150):
        mishaps = world.mishaps()
        if mishaps and random.random() < 0.2:
            random.choice(mishaps).do()
        elif random.random() < 0.05:
            serve(world, f"papers-{random.randint(1, 3)}", replicas=random.randint(1, 3))
        else:
            world.step()
    serve(world, "papers-9", replicas=2)
    world.settle()
    assert answers(world) == ["papers-9"] * 2 or set(answers(world)) == {"papers-9", None}
    assert "Complete" in conditions(job(world))
