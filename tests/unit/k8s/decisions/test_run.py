"""A TrainingRun's pass, state by state."""

from __future__ import annotations

from typing import Any

import pytest

from k8s.controller.api.v1alpha1 import read_training_run
from k8s.controller.decisions.run import decide_run
from k8s.controller.decisions.steps import Create, Delete, Merge, Plan
from k8s.controller.objects.kinds import Document
from model.run_result import RunResult
from tests.support.kubernetes.sights import IMAGES, SHA, ago, classifier, job, pod, result, run, seen_run, served

NAME = "papers-1-aaaaaa"
ITS_TURN = classifier(status={"activeRun": NAME})
UNSCHEDULABLE = {
    "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes: 1 Insufficient memory.",
}  # fmt: skip
PULLING = {"name": "trainer", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off"}}}


NO_POD = f"no Pod was created: see `kubectl describe job {NAME}`; possible causes: "
IN_FIELDS = "(not set: expected in spec.training.resources, or resources.trainings of the controller's chart), another quota"
BOTH = {"cpu": "1", "memory": "1Gi"}


def decided(found: Any = None, **more: Any) -> Plan:
    return decide_run(seen_run(found or run(NAME), **{"of": ITS_TURN, **more}), IMAGES)


def steps(plan: Plan) -> list[str]:
    return [f"{type(step).__name__} {step.document['kind']}" for step in plan.steps]


def state(plan: Plan) -> str | None:
    return (plan.status or {}).get("state")


def message(plan: Plan) -> str:
    return str((plan.status or {}).get("message"))


def test_a_run_whose_turn_it_is_gets_its_job() -> None:
    plan = decided()
    assert (steps(plan), state(plan)) == (["Create Job"], "Pending")


def test_several_nodes_meet_at_a_service_that_is_made_first() -> None:
    several = run(NAME, of=classifier(training={"baseModel": "minilm", "nodes": 2}))
    assert steps(decided(several)) == ["Create NetworkPolicy", "Create Service", "Create Job"]


@pytest.mark.parametrize(
    ("active", "said"),
    [
        pytest.param("papers-9-ffffff", "waits for papers-9-ffffff to end", id="another-one-trains"),
        pytest.param(None, "waits for its turn", id="nobody-was-chosen-yet"),
    ],
)
def test_a_run_waits_for_its_turn(active: str | None, said: str) -> None:
    plan = decided(of=classifier(status={"activeRun": active} if active else {}))
    assert (steps(plan), state(plan), message(plan)) == ([], "Pending", said)


def test_a_run_without_a_classifier_does_not_wait() -> None:
    own = run(NAME)
    own.document["metadata"] |= {"labels": {}, "ownerReferences": []}
    assert steps(decided(own, of=None)) == ["Create Job"]


def test_a_run_that_only_has_the_label_of_a_classifier_does_not_wait() -> None:
    """As a copy of another's manifest does."""
    copied = run(NAME)
    copied.document["metadata"]["ownerReferences"] = []
    assert steps(decided(copied, of=classifier(status={"activeRun": "papers-9-ffffff"}))) == ["Create Job"]


def test_a_run_that_was_made_by_hand_takes_what_it_lacks() -> None:
    by_hand = run("hand", spec={"dataset": None, "training": None, "gate": None, "storage": None})
    by_hand.document["spec"] = {"classifier": "papers"}
    (step,) = decided(by_hand, of=classifier(status={"served": served("v1")})).steps
    assert isinstance(step, Merge)
    assert step.change["spec"]["dataset"]["uri"] == "s3://datasets/papers/"
    assert "served" not in step.change["spec"]  # it may have to wait, and another version be served by then
    assert step.change["metadata"]["ownerReferences"][0]["name"] == "papers"
    read_training_run({"spec": {"classifier": "papers", **step.change["spec"]}})  # the API server takes it


def test_a_run_that_was_made_by_hand_needs_a_classifier() -> None:
    by_hand = run("hand")
    by_hand.document["spec"] = {"classifier": "nobody"}
    plan = decided(by_hand, of=None)
    assert state(plan) == "Failed"
    assert "no TextClassifier of this name" in message(plan)


@pytest.mark.parametrize(
    ("pods", "expected", "said"),
    [
        pytest.param([pod(phase="Pending")], "Pending", "its Pod starts", id="it-starts"),
        pytest.param([pod(phase="Running")], "Running", "trains", id="it-runs"),
        pytest.param([pod(result())], "Running", "trains", id="it-has-ended-and-is-not-counted-yet"),
        pytest.param(
            [pod(phase="Pending", conditions=[UNSCHEDULABLE])],
            "Pending",
            "spec.training.resources: Unschedulable: 0/1 nodes: 1 Insufficient memory.",
            id="it-fits-nowhere",
        ),
        pytest.param(
            [pod(phase="Pending", containerStatuses=[PULLING], startTime=ago(60))],
            "Pending",
            "ImagePullBackOff: Back-off",
            id="no-image",
        ),
    ],
)
def test_what_a_job_that_goes_on_does(pods: list[Document], expected: str, said: str) -> None:
    plan = decided(job=job(), pods=pods)
    assert (steps(plan), state(plan), message(plan)) == ([], expected, said)


@pytest.mark.parametrize(
    ("age", "said"),
    [pytest.param(1, "its Pod starts", id="a-moment-ago"), pytest.param(700, "kubectl describe job", id="long-ago")],
)
def test_a_job_without_a_pod_is_reported_after_a_while(age: float, said: str) -> None:
    made = job()
    made["metadata"]["creationTimestamp"] = ago(age)
    plan = decided(job=made)
    assert state(plan) == "Pending"
    assert said in message(plan)


def test_lost_pods_are_reported() -> None:
    going = job(failed=2)
    assert message(decided(job=going, pods=[pod(phase="Running")])) == "trains, attempt 3 of 7"


@pytest.mark.parametrize("code", [64, 65])
def test_an_attempt_that_is_not_repeated_announces_none(code: int) -> None:
    wrong = pod(RunResult(exit_code=code, message="dataset.uri is empty"), phase="Failed")
    assert message(decided(job=job(failed=1), pods=[wrong])) == "ends: spec.dataset.uri is empty"


def killed() -> Document:
    """A Pod that needed more memory than its limit."""
    found = pod(phase="Failed")
    found["status"]["containerStatuses"][0]["state"]["terminated"] = {"exitCode": 137, "reason": "OOMKilled"}
    return found


@pytest.mark.parametrize("phase", ["Pending", "Running"])
def test_a_training_that_failed_several_times_stays_in_trouble_until_one_succeeds(phase: str) -> None:
    going = job(failed=2)
    lost = pod(RunResult(exit_code=75, message="the storage is away"), phase="Failed")
    plan = decided(job=going, pods=[lost, lost, pod(phase=phase)])
    assert (plan.status or {})["trouble"] == "the storage is away"
    assert message(plan).endswith(", attempt 3 of 7; the last ended with: the storage is away")


def test_a_training_without_checkpoints_is_given_up_when_memory_did_not_suffice_twice() -> None:
    assert state(decided(job=job(failed=1), pods=[killed(), pod(phase="Running")])) == "Running"

    plan = decided(job=job(failed=2), pods=[killed(), killed(), pod(phase="Pending")])

    assert (steps(plan), state(plan)) == (["Delete Job"], "Failed")
    assert message(plan) == (
        "spec.training.resources: OOMKilled: it needed more memory than its limit, in 2 attempts: given up, since without "
        "checkpoints every attempt needs the same memory"
    )


def test_a_training_that_goes_on_from_checkpoints_may_run_out_of_memory_more_than_once() -> None:
    resumable = run(NAME, spec={"training": {"baseModel": "s3://models/base/"}})
    assert state(decided(resumable, job=job(failed=2), pods=[killed(), killed(), pod(phase="Running")])) == "Running"


def test_a_version_that_passes_is_published() -> None:
    status = decided(job=job(how="Complete"), pods=[pod(result())]).status or {}
    expected = {"state": "Published", "version": NAME, "score": 0.9, "passed": True, "datasetHash": SHA["a"][:12], "seconds": 540}
    assert expected.items() <= status.items()
    assert {"bestCheckpoint", "mlflowRunId", "artifactUri", "startedAt", "finishedAt", "result"} <= status.keys()


def test_a_version_that_does_not_pass_is_rejected() -> None:
    strict = run(NAME, spec={"gate": {"minimum": 0.95}})
    status = decided(strict, job=job(how="Complete"), pods=[pod(result())]).status or {}
    assert (status["state"], status["passed"], status["minimum"]) == ("Rejected", False, 0.95)


@pytest.mark.parametrize(
    "pods",
    [
        pytest.param([], id="its-pod-is-gone"),
        pytest.param([pod(RunResult(exit_code=0), index="1")], id="the-first-of-several-is-gone"),
    ],
)
def test_a_result_that_was_lost_is_asked_for_again(pods: list[Document]) -> None:
    assert steps(decided(job=job(how="Complete"), pods=pods)) == ["Delete Job"]


@pytest.mark.parametrize(
    "said",
    [
        pytest.param('{"schema_version": 2, "exit_code": 0}', id="of-another-release"),
        pytest.param(None, id="nothing"),
    ],
)
def test_a_result_that_cannot_be_read_is_not_asked_for_without_end(said: str | None) -> None:
    plan = decided(job=job(how="Complete"), pods=[pod(said)])
    assert (steps(plan), state(plan)) == ([], "Failed")
    assert "release" in message(plan)


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"artifact_uri": "s3://models/$(password)/"}, id="elsewhere"),
        pytest.param({"artifact_uri": "s3://models/papers/papers-1-aaaaab/"}, id="beside-it"),
        pytest.param({"version": "papers-1-aaaaab"}, id="another-version"),
        pytest.param({"classifier": "products"}, id="another-classifier"),
    ],
)
def test_a_pod_cannot_say_that_another_version_was_published(changed: Document) -> None:
    plan = decided(job=job(how="Complete"), pods=[pod(result().model_copy(update=changed))])
    assert (steps(plan), state(plan)) == ([], "Failed")
    assert message(plan).startswith("its Pod says that it published ")
    assert message(plan).endswith(f": expected {NAME} of papers at s3://models/papers/{NAME}/")
    assert "artifactUri" not in (plan.status or {})


@pytest.mark.parametrize(
    ("pods", "said"),
    [
        pytest.param(
            [pod(RunResult(exit_code=65, message="dataset.uri is empty"), phase="Failed")],
            "spec.dataset.uri is empty",
            id="the-trainers-words-in-the-users-terms",
        ),
        pytest.param([], "it ended", id="the-jobs-own-words"),
    ],
)
def test_a_failure_is_reported(pods: list[Document], said: str) -> None:
    plan = decided(job=job(how="Failed"), pods=pods)
    assert (state(plan), message(plan)) == ("Failed", said)


def test_a_training_that_used_up_its_attempts_says_what_to_do() -> None:
    ended = job(how="Failed")
    ended["status"]["conditions"][0]["reason"] = "BackoffLimitExceeded"
    lost = pod(RunResult(exit_code=75, message="the storage is away"), phase="Failed")
    said = "the storage is away; given up after 7 attempts: create a TrainingRun to train again"
    assert message(decided(job=ended, pods=[lost])) == said


def test_a_cancelled_run_is_over_once_its_job_is_gone() -> None:
    cancelled = run(NAME, spec={"cancelled": True})
    noted = run(NAME, spec={"cancelled": True}, startedAt=ago(600))
    before, first, then = (
        decided(cancelled, job=job(), pods=[pod(phase="Running")]),
        decided(noted, job=job(), pods=[pod(phase="Running")]),
        decided(noted),
    )
    assert (steps(before), before.requeue_after) == ([], 0.0)  # that it has begun, and may have left something, is noted first
    assert steps(first) == ["Delete Job"]
    assert first.status is not None
    assert first.status["message"] == "is being stopped"
    assert (steps(then), state(then)) == ([], "Superseded")


@pytest.mark.parametrize(
    ("how", "pods", "expected"),
    [
        pytest.param("Complete", [pod(result())], "Published", id="it-was-faster"),
        pytest.param("Complete", [], "Superseded", id="nobody-knows-its-result"),
        pytest.param("Failed", [], "Superseded", id="it-failed"),
    ],
)
def test_a_cancelled_run_may_have_ended_before(how: str, pods: list[Document], expected: str) -> None:
    assert state(decided(run(NAME, spec={"cancelled": True}), job=job(how=how), pods=pods)) == expected


@pytest.mark.parametrize("ended", ["Published", "Failed"])
def test_nothing_is_done_for_what_is_over(ended: str) -> None:
    assert decided(run(NAME, state=ended, result={"gate": {}}), job=job(how="Complete")) == Plan()


def test_the_job_of_what_was_superseded_goes() -> None:
    plan = decided(run(NAME, state="Superseded"), job=job())
    assert (steps(plan), plan.status) == (["Delete Job"], None)
    assert isinstance(plan.steps[0], Delete)


@pytest.mark.parametrize(
    ("minimum", "expected"), [pytest.param(0.5, "Published", id="lower"), pytest.param(0.95, "Rejected", id="still-too-high")]
)
def test_a_rejected_version_is_judged_by_a_gate_that_was_changed(minimum: float, expected: str) -> None:
    told = {"gate": result().model_dump(mode="json", exclude_none=True)["gate"]}
    rejected = run(NAME, passed=False, result=told, spec={"gate": {"minimum": minimum}})
    plan = decided(rejected)
    assert state(plan) == expected
    assert (plan.status or {})["minimum"] == minimum


@pytest.mark.parametrize(
    ("gate", "expected"),
    [
        pytest.param({"minimum": 0.5}, ("Published", True, 0.9), id="reaches-it"),
        pytest.param({"minimum": 0.95}, ("Rejected", False, 0.9), id="misses-it"),
        pytest.param({"score": "accuracy"}, ("Rejected", False, 0.4), id="another-score-by-which-it-is-behind"),
        pytest.param({"score": "accuracy", "tolerance": 0.5}, ("Published", True, 0.4), id="another-score-and-tolerance"),
    ],
)
def test_a_published_version_is_judged_by_a_gate_that_was_changed(gate: Document, expected: tuple[str, bool, float]) -> None:
    told = result(served_value=0.8, served_version="v0").model_dump(mode="json", exclude_none=True)
    told["gate"]["scores"]["accuracy"] = 0.4
    status = decided(run(NAME, passed=True, result=told, spec={"gate": gate})).status or {}
    assert (status["state"], status["passed"], status["score"]) == expected
    assert (status["baselineScore"], status["servedScore"], status["servedVersion"]) == (0.1, 0.8, "v0")


def test_what_an_earlier_release_recorded_is_judged_by_a_gate_that_was_changed() -> None:
    gate = {
        "score": "macro-f1",
        "value": 0.9,
        "baseline": 0.1,
        "micro_f1": 0.8,
        "macro_f1": 0.9,
        "tolerance": 0.005,
        "minimum": 0.95,
    }
    rejected = run(
        NAME, passed=False, result={"exit_code": 0, "gate": gate}, spec={"gate": {"score": "macro-f1", "minimum": 0.5}}
    )
    status = decided(rejected).status or {}
    assert (status["state"], status["score"], status["baselineScore"]) == ("Published", 0.9, 0.1)


def test_deleted_files_are_reported() -> None:
    plan = decided(run(NAME, passed=True, files="deleted"))
    assert (plan.status or {})["deleted"] is True


def test_nothing_is_done_for_what_is_being_deleted() -> None:
    going = run(NAME)
    going.document["metadata"]["deletionTimestamp"] = ago(1)
    assert decided(going, job=job()) == Plan()


def test_its_job_belongs_to_it() -> None:
    (step,) = decided().steps
    assert isinstance(step, Create)
    assert step.document["metadata"]["ownerReferences"][0]["uid"] == f"u-{NAME}"


def without_pod(resources: Document, *, age: float = 60, **spec: Any) -> str:
    """What is said of a Job, made so many seconds ago, whose Pod is refused."""
    refused = job()
    refused["metadata"]["creationTimestamp"] = ago(age)
    refused["spec"] = {"backoffLimit": 6, "template": {"spec": {"containers": [{"name": "trainer", "resources": resources}]}}}
    plan = decided(run(NAME, of=classifier(**spec)), job=refused)
    assert (plan.status or {}).get("trouble") == (message(plan) if age > 20 else None)
    return message(plan)


@pytest.mark.parametrize(
    ("resources", "missing"),
    [
        pytest.param({"requests": BOTH, "limits": {"memory": "8Gi"}}, "limits.cpu", id="the-default"),
        pytest.param({"requests": BOTH}, "limits.cpu or limits.memory", id="requests-alone"),
        pytest.param({"limits": {"cpu": "1"}}, "requests.memory or limits.memory", id="a-limit-is-a-request-too"),
        pytest.param({}, "requests.cpu or requests.memory or limits.cpu or limits.memory", id="nothing"),
    ],
)
def test_a_training_that_gets_no_pod_names_what_a_quota_may_miss_and_where_to_set_it(resources: Document, missing: str) -> None:
    assert without_pod(resources) == f"{NO_POD}a quota on {missing} {IN_FIELDS} or Pod Security"


def test_a_training_that_has_all_a_quota_may_ask_for_misses_nothing() -> None:
    assert without_pod({"limits": BOTH}) == f"{NO_POD}a quota or Pod Security"


def test_a_training_that_gets_no_pod_names_its_serviceaccount() -> None:
    said = without_pod({"limits": BOTH}, storage={"secretName": None, "serviceAccountName": "cloud"})
    assert said.startswith(f"{NO_POD}a ServiceAccount 'cloud' that does not exist (spec.storage.serviceAccountName), a quota")


def test_a_job_that_was_just_made_may_have_no_pod_yet() -> None:
    assert without_pod({}, age=5) == "its Pod starts"
