"""Which version is served, how far that has come, and the way back."""

from __future__ import annotations

from typing import Any

import pytest

from k8s.controller.decisions.classifier import decide
from k8s.controller.decisions.rollout import SLOW_POLL_SECONDS, Rollout, must_ask, roll_out
from k8s.controller.objects import names
from k8s.controller.objects.kinds import Document
from k8s.controller.observed.run import TrainingRunSummary
from tests.support.kubernetes.sights import IMAGES, NOW, ago, classifier, deployment, run, seen, served, service, uri

V1, V2, REFUSED = (
    run("v1", age=7200, passed=True),
    run("v2", sequence=2, passed=True, score=0.95),
    run("v3", sequence=3, passed=False, age=1800),
)


def given_up(version: str, generation: int = 1) -> Document:
    return {"version": version, "generation": generation, "time": ago(60), "message": "not ready"}


def going(version: str, *, since: float = 60) -> Document:
    return {"version": version, "startedAt": ago(since)}


def rolled(
    *runs: TrainingRunSummary, status: Document | None = None, spec: Document | None = None, generation: int = 1, **more: Any
) -> Rollout:
    noted = {"observedGeneration": 1, **(status or {})}
    return roll_out(seen(classifier(status=noted, generation=generation, **(spec or {})), *runs, **more))


def conditions(*runs: TrainingRunSummary, status: Document, **more: Any) -> dict[str, tuple[str, str]]:
    """Reason and message of each."""
    plan = decide(seen(classifier(status={"observedGeneration": 1, **status}), *runs, **more), IMAGES)
    assert plan.status is not None
    return {each["type"]: (each["reason"], each["message"]) for each in plan.status["conditions"]}


def pod(version: str, **status: Any) -> Document:
    """One that serves, or should."""
    metadata = {"name": "p", "namespace": "one", "annotations": {names.SOURCE: uri(version)}}
    return {"metadata": metadata, "status": status}


def crashing(version: str) -> Document:
    container = {
        "name": "kserve-container",
        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"reason": "Error", "message": "model.onnx differs"}},
    }
    return pod(version, containerStatuses=[container])


def unscheduled(version: str) -> Document:
    full = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available"}
    return pod(version, conditions=[full])


@pytest.mark.parametrize(
    ("runs", "status", "spec", "expected"),
    [
        pytest.param([], {}, {}, None, id="nothing-yet"),
        pytest.param([REFUSED], {}, {}, None, id="only-one-that-was-refused"),
        pytest.param([V1], {}, {}, "v1", id="the-first"),
        pytest.param([V1, V2], {"served": served("v1")}, {}, "v2", id="the-newest"),
        pytest.param([V1, V2, REFUSED], {"served": served("v2")}, {}, "v2", id="the-newest-that-passed"),
        pytest.param([V1, run("v2", passed=True, files="deleted")], {}, {}, "v1", id="one-whose-files-are-there"),
        pytest.param([V1, V2], {"served": served("v2")}, {"serving": {"version": "v1"}}, "v1", id="the-pinned"),
        pytest.param([V1, REFUSED], {"served": served("v1")}, {"serving": {"version": "v3"}}, "v3", id="a-pinned-one-may-be-bad"),
        pytest.param([V1], {"served": served("v1")}, {"serving": {"version": "old"}}, "old", id="a-pinned-one-may-be-forgotten"),
        pytest.param([], {"served": served("v1")}, {}, "v1", id="what-is-served-stays-though-its-run-is-gone"),
        pytest.param(
            [V1, V2], {"served": served("v1"), "failedRollouts": [given_up("v2")]}, {}, "v1", id="not-what-was-given-up"
        ),
        pytest.param(
            [V1, V2], {"served": served("v1"), "failedRollouts": [given_up("v2", 0)]}, {}, "v2", id="a-new-spec-tries-again"
        ),
        pytest.param([V2], {"failedRollouts": [given_up("v2")]}, {}, "v2", id="there-is-no-other"),
        pytest.param(
            [V1, V2],
            {"served": served("v2"), "failedRollouts": [given_up("none")]},
            {"serving": {"version": "none"}},
            "v2",
            id="back-from-a-pin-to-what-was-served",
        ),
        pytest.param([V1, V2], {"served": served("v1")}, {"suspend": True}, "v1", id="suspended-nothing-new-is-served"),
        pytest.param([V1], {}, {"suspend": True}, "v1", id="suspended-while-nothing-is-served"),
        pytest.param(
            [V1, V2], {"served": served("v1"), "rollout": going("v2")}, {"suspend": True}, "v1", id="suspended-on-the-way"
        ),
        pytest.param(
            [V1, V2], {"served": served("v2")}, {"suspend": True, "serving": {"version": "v1"}}, "v1", id="suspended-and-pinned"
        ),
    ],
)
def test_the_version_that_is_wanted(
    runs: list[TrainingRunSummary], status: Document, spec: Document, expected: str | None
) -> None:
    assert rolled(*runs, status=status, spec=spec).version == expected


def test_a_versions_address_is_the_one_of_its_run() -> None:
    elsewhere = run("v1", passed=True, artifactUri="s3://before/papers/v1/")
    assert rolled(elsewhere, spec={"serving": {"version": "v1"}}).uri == "s3://before/papers/v1/"
    assert rolled(spec={"serving": {"version": "v1"}}).uri == uri("v1")


ALL = {"service": service("v2"), "deployment": deployment("v2"), "answers": {"a": "v2", "b": "v2"}}


@pytest.mark.parametrize(
    "missing",
    [
        pytest.param({"service": service("v1")}, id="the-service-asks-for-another"),
        pytest.param({"service": None}, id="there-is-no-service"),
        pytest.param({"deployment": None}, id="there-is-no-deployment"),
        pytest.param({"deployment": deployment("v1")}, id="the-deployment-is-of-another"),
        pytest.param({"deployment": deployment("v2", updated=0)}, id="a-pod-is-of-before"),
        pytest.param({"deployment": deployment("v2", available=0)}, id="a-pod-is-not-ready"),
        pytest.param({"deployment": deployment("v2", generation=2)}, id="the-deployment-was-not-looked-at"),
        pytest.param({"deployment": deployment("v2", wanted=0)}, id="there-are-to-be-none"),
        pytest.param({"answers": {"a": "v2", "b": "v1"}}, id="a-pod-answers-with-another"),
        pytest.param({"answers": {"a": "v2", "b": None}}, id="a-pod-does-not-answer"),
        pytest.param({"answers": {}}, id="nobody-answers"),
    ],
)
def test_a_rollout_goes_on_until_every_pod_says_so_itself(missing: Document) -> None:
    found = rolled(V1, V2, status={"served": served("v1"), "rollout": going("v2", since=20)}, **{**ALL, **missing})
    assert found.in_progress == going("v2", since=20)
    assert found.served == served("v1")
    assert found.requeue_after is not None


def test_a_rollout_ends_when_every_pod_says_so() -> None:
    found = rolled(V1, V2, status={"served": served("v1"), "rollout": going("v2")}, **ALL)
    assert found.in_progress is None
    assert found.served == {"version": "v2", "uri": uri("v2"), "score": 0.95, "since": ago(0)}


def test_pods_of_a_served_version_come_and_go() -> None:
    found = rolled(V1, status={"served": served("v1")}, service=service("v1"), deployment=deployment("v1", available=0))
    assert (found.in_progress, found.served) == (None, served("v1"))


def test_the_time_of_a_rollout_begins_with_its_version() -> None:
    found = rolled(V1, V2, status={"served": served("v1"), "rollout": going("v1")})
    assert found.in_progress == {"version": "v2", "startedAt": ago(0)}


def test_another_spec_restarts_a_rollouts_deadline() -> None:
    status = {"served": served("v1"), "rollout": going("v2", since=700)}
    found = rolled(V1, V2, status=status, generation=2, service=service("v2"), deployment=deployment("v2", updated=0))
    assert (found.in_progress, found.failed) == ({"version": "v2", "startedAt": ago(0)}, ())


@pytest.mark.parametrize("there", [None, service("v1")], ids=["none", "of-another"])
def test_the_time_in_which_the_service_was_not_let_in_does_not_count(there: Document | None) -> None:
    found = rolled(V1, V2, status={"served": served("v1"), "rollout": going("v2", since=700)}, service=there)
    assert (found.in_progress, found.failed) == ({"version": "v2", "startedAt": ago(0)}, ())
    soon = rolled(V1, V2, status={"served": served("v1"), "rollout": going("v2", since=20)}, service=there)
    assert soon.in_progress == going("v2", since=20)  # a status that is another one each time would be looked at each time


UNSERVED = [
    pytest.param({"serving_unavailable": "is KServe installed?"}, "NotServable", "is KServe installed?", id="there-is-no-kserve"),
    pytest.param({"name_conflict": "a ServingRuntime"}, "NameTaken", "a ServingRuntime papers exists", id="the-name-is-taken"),
]


@pytest.mark.parametrize(("there", "reason", "message"), UNSERVED)
@pytest.mark.parametrize("before", [{}, {"served": served("v1")}], ids=["the-first", "another"])
def test_while_nothing_can_be_asked_for_no_time_runs(before: Document, there: Document, reason: str, message: str) -> None:
    status = {**before, "rollout": going("v2", since=700)}
    found = rolled(V1, V2, status=status, **there)
    assert (found.version, found.in_progress, found.failed, found.requeue_after) == ("v2", None, (), SLOW_POLL_SECONDS)
    said = conditions(V1, V2, status=status, **there)
    assert said["Served"][0] == said["Degraded"][0] == reason
    assert message in said["Served"][1]
    assert said["Progressing"][0] == "Idle"


@pytest.mark.parametrize(("since", "version"), [pytest.param(600, "v2", id="in-time"), pytest.param(601, "v1", id="late")])
def test_a_version_that_does_not_become_ready_in_time_is_given_up(since: float, version: str) -> None:
    status = {"served": served("v1"), "rollout": going("v2", since=since)}
    found = rolled(V1, V2, status=status, service=service("v2"), deployment=deployment("v2", updated=0))
    assert found.version == version
    assert [each["version"] for each in found.failed] == ["v2"][: version == "v1"]
    assert bool(found.problem) is (version == "v1")


def test_a_rollout_that_was_given_up_reports_kserves_message() -> None:
    failing = service("v2") | {"status": {"modelStatus": {"lastFailureInfo": {"message": "model.onnx  differs"}}}}
    status = {"served": served("v1"), "rollout": going("v2", since=700)}
    found = rolled(V1, V2, status=status, service=failing, deployment=deployment("v1"))
    assert found.failed[0]["message"] == "not ready within spec.serving.rollout.deadline 10m: model.onnx differs"
    assert found.failed[0]["generation"] == 1


@pytest.mark.parametrize(
    ("pods", "version"),
    [
        pytest.param([unscheduled("v2"), pod("v2")], "v2", id="no-node-for-one"),
        pytest.param([unscheduled("v2"), crashing("v1")], "v2", id="one-of-before-crashes"),
        pytest.param([unscheduled("v2"), crashing("v2")], "v1", id="no-node-for-one-and-another-crashes"),
        pytest.param([unscheduled("v1"), pod("v2")], "v1", id="no-node-for-one-of-before"),
    ],
)
def test_what_fits_nowhere_is_waited_for_unless_the_version_itself_fails(pods: list[Document], version: str) -> None:
    status = {"served": served("v1"), "rollout": going("v2", since=700)}
    found = rolled(V1, V2, status=status, service=service("v2"), deployment=deployment("v2", updated=0), pods=tuple(pods))
    assert found.version == version
    assert found.problem


def test_the_failure_of_a_version_is_reported_before_the_reason_why_a_pod_waits() -> None:
    status = {"served": served("v1"), "rollout": going("v2", since=700)}
    pods = (unscheduled("v2"), crashing("v2"))
    found = rolled(V1, V2, status=status, service=service("v2"), deployment=deployment("v2", updated=0), pods=pods)
    assert "model.onnx differs" in (found.problem or "")


SILENT = {**ALL, "answers": {"a": None, "b": None}}
UNHEARD = (
    "every Pod is ready, but 2 of 2 did not answer the controller at http://<pod>:8080/v2/models/papers "
    "(does a NetworkPolicy block it?)"
)


@pytest.mark.parametrize("before", [{}, {"served": served("v1")}], ids=["the-first", "another"])
def test_a_version_whose_pods_are_ready_but_cannot_be_heard_stays(before: Document) -> None:
    status = {**before, "rollout": going("v2", since=700)}
    found = rolled(V1, V2, status=status, **SILENT)
    noted = {**going("v2", since=700), "deadlinePausedAt": ago(0)}
    assert (found.version, found.in_progress, found.failed, found.requeue_after) == ("v2", noted, (), SLOW_POLL_SECONDS)
    assert found.problem == f"v2: not confirmed within spec.serving.rollout.deadline 10m: {UNHEARD}"


@pytest.mark.parametrize(
    "there",
    [
        pytest.param({"answers": {"a": "v2", "b": None}}, id="one-is-heard-now"),
        pytest.param({"deployment": deployment("v2", available=0), "answers": {}}, id="a-pod-begins-anew"),
    ],
)
def test_a_delay_that_is_not_the_versions_fault_restarts_the_deadline(there: Document) -> None:
    for since, version in ((60, "v2"), (601, "v1")):
        noted = {**going("v2", since=7000), "deadlinePausedAt": ago(since)}
        found = rolled(V1, V2, status={"served": served("v1"), "rollout": noted}, **{**SILENT, **there})
        assert found.version == version
    recently = {**going("v2", since=700), "deadlinePausedAt": ago(30)}
    found = rolled(V1, V2, status={"served": served("v1"), "rollout": recently}, **SILENT)
    assert found.in_progress == recently  # a status that is another one each time would be looked at each time


def test_a_pause_that_was_noted_under_its_former_name_holds_after_an_upgrade() -> None:
    noted = {**going("v2", since=7000), "excusedAt": ago(60)}
    found = rolled(V1, V2, status={"served": served("v1"), "rollout": noted}, **{**SILENT, "answers": {"a": "v2", "b": None}})
    assert (found.version, found.in_progress) == ("v2", {**going("v2", since=7000), "deadlinePausedAt": ago(60)})


def test_unreachable_pods_are_reported_before_the_deadline() -> None:
    said = conditions(V1, V2, status={"served": served("v1"), "rollout": going("v2")}, **SILENT)
    assert said["Served"] == ("RollingOut", UNHEARD)
    assert said["Ready"] == ("Answers", "Pods are ready, but none answered the controller's question whether it serves v1 or v2")


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        pytest.param({"a": "v2", "b": "v1"}, "1 of 2 answered with version v1", id="another"),
        pytest.param({"a": "v2", "b": None}, "1 of 2 did not answer the controller at", id="one-is-not-heard"),
    ],
)
def test_a_version_that_only_some_pods_answer_with_is_given_up(answers: Document, told: str) -> None:
    status = {"served": served("v1"), "rollout": going("v2", since=700)}
    found = rolled(V1, V2, status=status, **{**ALL, "answers": answers})
    assert found.version == "v1"
    assert f"every Pod is ready, but {told}" in found.failed[0]["message"]


@pytest.mark.parametrize("asked", ["v1", "v2"], ids=["not-asked-for-yet", "no-pod-yet"])
def test_answers_of_previous_pods_are_no_reason(asked: str) -> None:
    status = {"served": served("v1"), "rollout": going("v2", since=20)}
    there = {"service": service(asked), "deployment": deployment("v1"), "answers": {"a": "v1"}}
    assert conditions(V1, V2, status=status, **there)["Served"][1] == "v2 is not served by every Pod yet"
    late = rolled(V1, V2, status={**status, "rollout": going("v2", since=700)}, **there)
    assert "every Pod is ready" not in (late.problem or "")


def test_without_another_version_there_is_no_way_back_and_no_haste() -> None:
    found = rolled(V1, status={"rollout": going("v1", since=700)}, service=service("v1"))
    assert (found.version, found.failed) == ("v1", ())
    assert "v1: not ready within" in (found.problem or "")
    assert (found.requeue_after or 0) >= 15


@pytest.mark.parametrize("generation", [0, 1], ids=["of-another-spec", "of-versions-that-are-gone"])
def test_only_the_last_failures_are_remembered(generation: int) -> None:
    before = [given_up(f"old-{each}", generation) for each in range(10)]
    status = {"served": served("v1"), "rollout": going("v2", since=700), "failedRollouts": before}
    found = rolled(V1, V2, status=status, service=service("v2"))
    assert len(found.failed) == 10
    assert found.failed[-1]["version"] == "v2"


def test_no_version_is_tried_again_before_each_other_was_tried() -> None:
    runs = [run(f"v{each}", sequence=each, age=9000 - each, passed=True) for each in range(1, 14)]
    tried: list[str | None] = []
    status: Document = {"rollout": going("v13", since=700)}
    while len(tried) < 12:
        wanted = status["rollout"]["version"]
        found = rolled(*runs, status=status, service=service(wanted), deployment=deployment(wanted, available=0))
        tried.append(found.version)
        status = {"rollout": going(str(found.version), since=700), "failedRollouts": list(found.failed)}
    assert tried == [f"v{each}" for each in range(12, 0, -1)]


def test_a_version_that_comes_after_all_is_no_longer_among_those_that_did_not() -> None:
    status = {"rollout": going("v2"), "failedRollouts": [given_up("v2"), given_up("v1")]}
    found = rolled(V1, V2, status=status, **ALL)
    assert (found.in_progress, found.problem) == (None, None)
    assert found.failed == (given_up("v1"),)


@pytest.mark.parametrize(
    ("status", "there", "expected"),
    [
        pytest.param({}, deployment("v1"), True, id="all-are-of-one-that-is-not-known"),
        pytest.param({"served": served("v1")}, deployment("v1"), False, id="that-is-known"),
        pytest.param({"served": served("v1"), "rollout": going("v1")}, deployment("v1"), True, id="on-the-way-back"),
        pytest.param({}, deployment("v1", available=0), False, id="not-all-yet"),
        pytest.param({}, None, False, id="there-are-none"),
    ],
)
def test_pods_are_asked_only_when_it_matters(status: Document, there: Document | None, expected: bool) -> None:
    assert must_ask(seen(classifier(status=status), V1, deployment=there, now=NOW)) is expected


DIGEST, ANOTHER = "d" * 64, "e" * 64


@pytest.mark.parametrize(
    ("runs", "status", "spec", "expected"),
    [
        pytest.param([run("v1", passed=True, manifestSha256=DIGEST)], {}, {}, DIGEST, id="its-run-tells-it"),
        pytest.param([V1], {}, {}, None, id="its-run-is-of-a-release-before"),
        pytest.param([], {"served": served("v1", manifestSha256=DIGEST)}, {}, DIGEST, id="its-run-is-gone"),
        pytest.param([V1], {"served": served("v1", manifestSha256=DIGEST)}, {}, DIGEST, id="what-is-vouched-for-stays-so"),
        pytest.param([], {}, {"version": "v1", "manifestSha256": DIGEST}, DIGEST, id="pinned-and-the-spec-tells-it"),
        pytest.param(
            [run("v1", passed=True, manifestSha256=DIGEST)], {}, {"version": "v1"}, DIGEST, id="pinned-and-its-run-tells-it"
        ),
        pytest.param(
            [run("v1", passed=True, manifestSha256=ANOTHER)],
            {},
            {"version": "v1", "manifestSha256": DIGEST},
            DIGEST,
            id="the-spec-has-the-last-word",
        ),
        pytest.param([], {}, {"version": "v1"}, None, id="pinned-and-nobody-tells-it"),
    ],
)
def test_a_version_is_asked_for_with_the_digest_of_its_manifest(
    runs: list[TrainingRunSummary], status: Document, spec: Document, expected: str | None
) -> None:
    assert rolled(*runs, status=status, spec={"serving": spec}).manifest_sha256 == expected


def vouched_for(version: str, digest: str | None) -> Document:
    """A Deployment all Pods of which were told that digest, or none."""
    found = deployment(version)
    args = [uri(version), "/mnt/models", *([f"--manifest-sha256={digest}"] if digest else [])]
    found["spec"]["template"]["spec"] = {"initContainers": [{"name": "storage-initializer", "args": args}]}
    return found


@pytest.mark.parametrize(
    ("found", "expected"), [pytest.param(DIGEST, DIGEST, id="once-every-pod-was-told-it"), pytest.param(None, None, id="not-yet")]
)
def test_the_served_version_has_its_digest(found: str | None, expected: str | None) -> None:
    told = run("v1", passed=True, manifestSha256=DIGEST)

    after = rolled(told, status={"served": served("v1")}, service=service("v1"), deployment=vouched_for("v1", found))

    assert after.served is not None
    assert after.served.get("manifestSha256") == expected
    assert (after.in_progress is None) is (expected is not None)  # the Pods are exchanged for the sake of it


def test_a_digest_that_no_pod_has_is_not_reported_as_served() -> None:
    after = rolled(
        status={"served": served("v0"), "rollout": going("v1")},
        spec={"serving": {"version": "v1", "manifestSha256": DIGEST}},
        service=service("v1"),
        deployment=vouched_for("v1", None),
        answers={"p": "v1"},
    )

    assert after.served is not None
    assert after.served["version"] == "v1"
    assert "manifestSha256" not in after.served


def test_a_pinned_version_without_a_digest_is_served_and_reported_as_such() -> None:
    status = {"served": served("old")}
    found = conditions(status=status, service=service("old"), deployment=deployment("old"))
    pinned = decide(
        seen(classifier(status={"observedGeneration": 1, **status}, serving={"version": "old"}), service=service("old"),
             deployment=deployment("old")), IMAGES,
    ).status  # fmt: skip

    assert pinned is not None
    (said,) = [each["message"] for each in pinned["conditions"] if each["type"] == "Served"]
    assert "its files are not verified" in said
    assert "not verified" not in found["Served"][1]


PINNED: Document = {"serving": {"version": "v1", "manifestSha256": DIGEST}}


def asking(version: str, digest: str | None) -> Document:
    """An InferenceService whose downloader has to find that digest."""
    found, container = service(version), vouched_for(version, digest)["spec"]["template"]["spec"]["initContainers"]
    found["spec"]["predictor"]["initContainers"] = container
    return found


def exchanging(version: str, digest: str, *, updated: int = 0) -> Document:
    """A Deployment whose new Pod, of that digest, is not ready."""
    found = vouched_for(version, digest)
    found["status"]["updatedReplicas"] = updated
    return found


def refusing(version: str) -> Document:
    """A Pod that has found another manifest than it was told."""
    ended = {"terminated": {"reason": "Error", "exitCode": 65, "message": "manifest.json has SHA-256 1, expected 2"}}
    waiting = {"waiting": {"reason": "CrashLoopBackOff"}}
    return pod(version, initContainerStatuses=[{"name": "storage-initializer", "state": waiting, "lastState": ended}])


@pytest.mark.parametrize("before", [{}, {"manifestSha256": ANOTHER}], ids=["none-before", "another-before"])
def test_another_digest_for_the_served_version_is_rolled_out_with_a_deadline(before: Document) -> None:
    found = rolled(
        status={"served": served("v1", **before)},
        spec=PINNED,
        generation=2,
        service=asking("v1", before.get("manifestSha256")),
        deployment=vouched_for("v1", before.get("manifestSha256")),
    )

    assert found.in_progress == {"version": "v1", "manifestSha256": DIGEST, "startedAt": ago(0)}
    assert (found.served, found.manifest_sha256) == (served("v1", **before), DIGEST)
    assert found.requeue_after is not None


def test_another_digest_is_served_once_every_pod_has_found_it_and_says_so() -> None:
    status = {"served": served("v1", manifestSha256=ANOTHER), "rollout": {**going("v1"), "manifestSha256": DIGEST}}
    there = {"service": asking("v1", DIGEST), "answers": {"p": "v1"}}

    before = rolled(status=status, spec=PINNED, deployment=vouched_for("v1", ANOTHER), **there)
    after = rolled(status=status, spec=PINNED, deployment=vouched_for("v1", DIGEST), **there)

    assert (before.in_progress, before.served) == (status["rollout"], status["served"])  # KServe has not told the Pods yet
    assert (after.in_progress, after.served) == (None, served("v1", manifestSha256=DIGEST))


def test_a_digest_that_is_not_that_of_the_manifest_is_given_up_for_the_one_that_was_served() -> None:
    status = {
        "served": served("v1", manifestSha256=ANOTHER),
        "rollout": {**going("v1", since=700), "manifestSha256": DIGEST},
    }
    there = {"service": asking("v1", DIGEST), "deployment": exchanging("v1", DIGEST), "pods": (refusing("v1"),)}

    found = rolled(status=status, spec=PINNED, **there)

    assert (found.version, found.manifest_sha256) == ("v1", ANOTHER)
    assert found.in_progress == {"version": "v1", "manifestSha256": ANOTHER, "startedAt": ago(0)}
    assert [(each["version"], each["manifestSha256"]) for each in found.failed] == [("v1", DIGEST)]
    assert found.problem is not None
    assert found.problem.startswith(f"spec.serving.manifestSha256 {DIGEST} of v1 was given up: not ready within ")
    assert "manifest.json has SHA-256 1, expected 2" in found.problem


def test_a_digest_that_was_given_up_stays_so_until_the_spec_changes() -> None:
    failed = {**given_up("v1"), "manifestSha256": DIGEST}
    status = {"served": served("v1", manifestSha256=ANOTHER), "failedRollouts": [failed]}
    there = {"service": asking("v1", ANOTHER), "deployment": vouched_for("v1", ANOTHER)}
    returning = {**status, "rollout": {**going("v1"), "manifestSha256": ANOTHER}}

    back = rolled(status=returning, spec=PINNED, answers={"p": "v1"}, **there)
    settled = rolled(status=status, spec=PINNED, **there)
    changed = rolled(status=status, spec=PINNED, generation=2, **there)

    for each in (back, settled):
        assert (each.manifest_sha256, each.in_progress, each.failed) == (ANOTHER, None, (failed,))
        assert each.problem == f"spec.serving.manifestSha256 {DIGEST} of v1 was given up: not ready"
    assert (changed.manifest_sha256, changed.problem) == (DIGEST, None)
    assert changed.in_progress is not None


def test_a_served_version_that_nothing_vouched_for_does_not_lose_the_digest_it_was_given() -> None:
    status = {"served": served("v1"), "rollout": {**going("v1", since=700), "manifestSha256": DIGEST}}
    there = {"service": asking("v1", DIGEST), "deployment": exchanging("v1", DIGEST), "pods": (refusing("v1"),)}

    found = rolled(V1, V2, status=status, spec=PINNED, **there)
    document = classifier(status={"observedGeneration": 1, **status}, **PINNED)
    written = decide(seen(document, V1, V2, **there), IMAGES).status
    assert written is not None
    said = {each["type"]: each["message"] for each in written["conditions"]}

    assert (found.version, found.manifest_sha256, found.failed) == ("v1", DIGEST, ())
    assert found.in_progress == status["rollout"]
    for condition in ("Served", "Degraded"):
        assert f"spec.serving.manifestSha256 {DIGEST} of v1: not ready within" in said[condition]
        assert "manifest.json has SHA-256 1, expected 2" in said[condition]


def test_a_digest_that_cannot_reach_the_pods_starts_no_rollout() -> None:
    """What lies in a storage of before is fetched as before: nothing about it is changed."""
    before = run("v1", passed=True, artifactUri="s3://before/papers/v1/")
    status = {"served": {**served("v1"), "uri": "s3://before/papers/v1/"}}
    asked = {"metadata": {"name": "papers"}, "spec": {"predictor": {"model": {"storageUri": "s3://before/papers/v1/"}}}}

    found = rolled(before, status=status, spec=PINNED, service=asked)

    assert found.in_progress is None
