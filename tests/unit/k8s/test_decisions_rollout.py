"""Which version is served, how far that has come, and the way back."""

from __future__ import annotations

from typing import Any

import pytest

from k8s.controller.decisions.rollout import RollOut, must_ask, roll_out
from k8s.controller.decisions.seen import Run
from k8s.controller.kinds import Document
from tests.unit.k8s.sights import NOW, ago, classifier, deployment, run, seen, served, service, uri

V1, V2, REFUSED = (
    run("v1", age=7200, passed=True),
    run("v2", sequence=2, passed=True, score=0.95),
    run("v3", sequence=3, passed=False, age=1800),
)


def given_up(version: str, generation: int = 1) -> Document:
    return {"version": version, "generation": generation, "time": ago(60), "message": "not ready"}


def going(version: str, *, since: float = 60) -> Document:
    return {"version": version, "startedAt": ago(since)}


def rolled(*runs: Run, status: Document | None = None, spec: Document | None = None, **more: Any) -> RollOut:
    return roll_out(seen(classifier(status=status, **(spec or {})), *runs, **more))


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
def test_the_version_that_is_wanted(runs: list[Run], status: Document, spec: Document, expected: str | None) -> None:
    assert rolled(*runs, status=status, spec=spec).version == expected


def test_a_version_lies_where_its_run_has_published_it() -> None:
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
def test_a_roll_out_goes_on_until_every_pod_says_so_itself(missing: Document) -> None:
    found = rolled(V1, V2, status={"served": served("v1"), "rollout": going("v2")}, **{**ALL, **missing})
    assert found.going == going("v2")
    assert found.served == served("v1")
    assert found.again is not None


def test_a_roll_out_ends_when_every_pod_says_so() -> None:
    found = rolled(V1, V2, status={"served": served("v1"), "rollout": going("v2")}, **ALL)
    assert found.going is None
    assert found.served == {"version": "v2", "uri": uri("v2"), "score": 0.95, "since": ago(0)}


def test_pods_of_a_served_version_come_and_go() -> None:
    found = rolled(V1, status={"served": served("v1")}, service=service("v1"), deployment=deployment("v1", available=0))
    assert (found.going, found.served) == (None, served("v1"))


def test_the_time_of_a_roll_out_begins_with_its_version() -> None:
    found = rolled(V1, V2, status={"served": served("v1"), "rollout": going("v1")})
    assert found.going == {"version": "v2", "startedAt": ago(0)}


@pytest.mark.parametrize(("since", "version"), [pytest.param(600, "v2", id="in-time"), pytest.param(601, "v1", id="late")])
def test_a_version_that_does_not_become_ready_in_time_is_given_up(since: float, version: str) -> None:
    status = {"served": served("v1"), "rollout": going("v2", since=since)}
    found = rolled(V1, V2, status=status, service=service("v2"), deployment=deployment("v2", updated=0))
    assert found.version == version
    assert [each["version"] for each in found.failed] == ["v2"][: version == "v1"]
    assert bool(found.problem) is (version == "v1")


def test_why_it_was_given_up_is_told_in_kserves_words() -> None:
    failing = service("v2") | {"status": {"modelStatus": {"lastFailureInfo": {"message": "model.onnx  differs"}}}}
    status = {"served": served("v1"), "rollout": going("v2", since=700)}
    found = rolled(V1, V2, status=status, service=failing, deployment=deployment("v1"))
    assert found.failed[0]["message"] == "not ready within spec.serving.rollout.deadline 10m: model.onnx differs"
    assert found.failed[0]["generation"] == 1


def test_without_another_version_there_is_no_way_back_and_no_haste() -> None:
    found = rolled(V1, status={"rollout": going("v1", since=700)}, service=service("v1"))
    assert (found.version, found.failed) == ("v1", ())
    assert "v1: not ready within" in (found.problem or "")
    assert (found.again or 0) >= 15


def test_only_the_last_failures_are_remembered() -> None:
    before = [given_up(f"old-{each}") for each in range(10)]
    status = {"served": served("v1"), "rollout": going("v2", since=700), "failedRollouts": before}
    found = rolled(V1, V2, status=status)
    assert len(found.failed) == 10
    assert found.failed[-1]["version"] == "v2"


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
