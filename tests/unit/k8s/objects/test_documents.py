"""What Kubernetes' objects have in common."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from k8s.controller.objects.documents import (
    condition,
    ended,
    ended_at,
    format_time,
    is_true,
    owned_by,
    owner,
    parse_time,
    results,
    trouble,
)
from k8s.controller.objects.kinds import Document
from model.run_result import RunResult
from tests.support.kubernetes.sights import ago, job, pod, result, run


def test_times_are_written_as_kubernetes_does() -> None:
    elsewhere = datetime(2026, 3, 2, 13, 0, 0, 999, tzinfo=timezone(timedelta(hours=1)))
    assert format_time(elsewhere) == "2026-03-02T12:00:00Z"
    assert parse_time("2026-03-02T12:00:00Z") == datetime(2026, 3, 2, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("2026-03-02T12:00:00", datetime(2026, 3, 2, 12, tzinfo=UTC), id="without-a-zone"),
        pytest.param("2026-03-02t12:00:00.5z", datetime(2026, 3, 2, 12, 0, 0, 500000, tzinfo=UTC), id="in-small-letters"),
        pytest.param("0000-01-01T00:00:00Z", datetime.min.replace(tzinfo=UTC), id="of-the-year-0"),
    ],
)
def test_a_time_that_somebody_else_wrote_is_read(text: str, expected: datetime) -> None:
    assert parse_time(text) == expected


def test_an_owner_is_known_by_its_uid() -> None:
    document = run("papers-1-aaaaaa").document
    child: Document = {"metadata": {"ownerReferences": [owner(document)]}}
    assert owned_by(child, document["metadata"]["uid"])
    assert not owned_by(child, "another")
    assert not owned_by({"metadata": {}}, "u")


@pytest.mark.parametrize("how", ["Complete", "Failed", None])
def test_how_a_job_ended(how: str | None) -> None:
    assert ended(job(how=how)) == how
    assert ended_at(job(how=how)) == (ago(60) if how else None)
    assert ended({"metadata": {}}) is None


def test_a_condition_that_is_not_there_is_not_true() -> None:
    assert condition(None, "Ready") == {}
    assert not is_true({"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}, "Ready")


FAILED = RunResult(exit_code=75, message="away")


@pytest.mark.parametrize(
    ("pods", "expected"),
    [
        pytest.param([], [], id="no-pod"),
        pytest.param([pod(phase="Running")], [], id="it-runs"),
        pytest.param([pod(None)], [], id="it-said-nothing"),
        pytest.param([pod("OOMKilled")], [], id="the-nodes-words"),
        pytest.param([pod('{"exit_code": 0, "later": 1}')], [], id="another-release"),
        pytest.param([pod(FAILED, phase="Failed"), pod(result())], [0, 75], id="what-succeeded-comes-first"),
        pytest.param([pod(RunResult(exit_code=0)), pod(result())], [0, 0], id="what-was-published-comes-first"),
    ],
)
def test_what_pods_said(pods: list[Document], expected: list[int]) -> None:
    found = results(pods)
    assert [each.exit_code for each in found] == expected
    assert not found or len({each.artifact_uri for each in found}) == 1 or found[0].artifact_uri


def test_of_several_that_failed_the_newest_is_heard() -> None:
    old, new = pod(FAILED, phase="Failed"), pod(RunResult(exit_code=75, message="later"), phase="Failed")
    old["metadata"]["creationTimestamp"] = ago(3000)
    assert [each.message for each in results([old, new])] == ["later", "away"]


def test_the_message_of_a_container_before_its_restart_counts() -> None:
    again = pod(phase="Running")
    terminated = {"terminated": {"exitCode": 0, "message": result().model_dump_json(exclude_none=True)}}
    again["status"]["containerStatuses"][0]["lastState"] = terminated
    assert [each.exit_code for each in results([again])] == [0]


def tried(restarts: int, *, now: str, code: int = 1) -> Document:
    """A container that has failed before, and what it does now."""
    failed = {"exitCode": 1, "reason": "Error", "message": "no S3"}
    state = {now: {**failed, "exitCode": code} if now == "terminated" else {}}
    return {"restartCount": restarts, "state": state, "lastState": {"terminated": failed} if restarts else {}}


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        pytest.param({}, None, id="well"),
        pytest.param(
            {"containerStatuses": [{"state": {"waiting": {"reason": "ContainerCreating"}}}]}, None, id="it-will-pass"
        ),
        pytest.param(
            {"initContainerStatuses": [{"state": {"waiting": {"reason": "ErrImagePull", "message": "no such"}}}]},
            "ErrImagePull: no such",
            id="no-image",
        ),
        pytest.param(
            {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1"}]},
            "Unschedulable: 0/1",
            id="no-node",
        ),
        pytest.param({"initContainerStatuses": [tried(1, now="terminated")]}, "Error: no S3", id="between-two-tries"),
        pytest.param({"initContainerStatuses": [tried(2, now="running")]}, "Error: no S3", id="while-it-tries-again"),
        pytest.param({"initContainerStatuses": [tried(0, now="terminated")]}, None, id="failed-once"),
        pytest.param({"initContainerStatuses": [tried(2, now="terminated", code=0)]}, None, id="came-to-work-at-last"),
    ],
)  # fmt: skip
def test_why_a_pod_does_not_start(status: Document, expected: str | None) -> None:
    assert trouble([{"metadata": {}, "status": status}]) == expected
