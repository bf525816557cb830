"""The cluster in memory behaves as the real one does, and its faults are those that they say they are."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from k8s.controller.clients.kubernetes import SERVICE_ACCOUNT, ClusterError
from tests.support.fakes import Counting, Dying, FakeClock, FakeCluster, Flaky, Killed, Lagging
from tests.support.kubernetes.cluster_contract import (
    ClusterContract,
    Eventually,
    OurKindsContract,
    created,
    owned_by,
    service_account,
)

NAMESPACE = "one"


@pytest.fixture
def namespace() -> str:
    return NAMESPACE


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


@pytest.fixture
def eventually() -> Eventually:
    def at_once(true: Callable[[], Any]) -> Any:
        found = true()
        assert found
        return found

    return at_once


class TestFakeCluster(ClusterContract, OurKindsContract):
    """It does what the real one does."""


def names(cluster: FakeCluster) -> list[str]:
    return [each["metadata"]["name"] for each in cluster.everything()]


def test_creation_times_are_the_clocks() -> None:
    clock = FakeClock()
    cluster = FakeCluster(clock=clock)
    clock.advance(61)
    assert created(cluster, service_account(NAMESPACE))["metadata"]["creationTimestamp"] == "2026-01-01T00:01:01Z"


def test_what_is_read_is_a_copy(cluster: FakeCluster) -> None:
    created(cluster, service_account(NAMESPACE, labels={"a": "1"}))["metadata"]["labels"]["a"] = "2"
    found = cluster.get(SERVICE_ACCOUNT, NAMESPACE, "one")
    assert found is not None
    assert found["metadata"]["labels"] == {"a": "1"}


def test_the_garbage_collector_may_come_late() -> None:
    cluster = FakeCluster(collects=False)
    owner = created(cluster, service_account(NAMESPACE, "owner"))
    created(cluster, service_account(NAMESPACE, "child", ownerReferences=[owned_by(owner)]))
    cluster.delete(SERVICE_ACCOUNT, NAMESPACE, "owner")
    assert names(cluster) == ["child"]
    cluster.collect()
    assert names(cluster) == []


def test_the_watch_gets_changes_in_order() -> None:
    told: list[tuple[str, str]] = []
    cluster = FakeCluster(watch=lambda event, document: told.append((event, document["metadata"]["name"])))
    owner = created(cluster, service_account(NAMESPACE, "owner"))
    created(cluster, service_account(NAMESPACE, "child", ownerReferences=[owned_by(owner)]))
    cluster.merge(SERVICE_ACCOUNT, NAMESPACE, "child", {"metadata": {"labels": {"a": "1"}}})
    cluster.delete(SERVICE_ACCOUNT, NAMESPACE, "owner")
    assert told == [("ADDED", "owner"), ("ADDED", "child"), ("MODIFIED", "child"), ("DELETED", "owner"), ("DELETED", "child")]


@pytest.mark.parametrize(
    ("before", "there"), [pytest.param(True, ["a"], id="before"), pytest.param(False, ["a", "b"], id="after")]
)
def test_a_process_dies_at_its_nth_write_and_does_nothing_more(cluster: FakeCluster, before: bool, there: list[str]) -> None:
    dying = Dying(cluster, after=2, before=before)
    dying.create(service_account(NAMESPACE, "a"))
    dying.get(SERVICE_ACCOUNT, NAMESPACE, "a")
    with pytest.raises(Killed):
        dying.create(service_account(NAMESPACE, "b"))
    assert names(cluster) == there
    with pytest.raises(Killed):
        dying.get(SERVICE_ACCOUNT, NAMESPACE, "a")


def test_a_flaky_cluster_fails_with_and_without_effect(cluster: FakeCluster) -> None:
    flaky = Flaky(cluster, Random(0), share=0.5)
    failed = []
    for number in range(100):
        try:
            flaky.create(service_account(NAMESPACE, f"n{number:03}"))
        except ClusterError:
            failed.append(f"n{number:03}")
    there = set(names(cluster))
    assert 30 < len(failed) < 70
    assert set(failed) & there
    assert set(failed) - there


def test_a_lagging_cluster_reads_the_past_and_writes_the_present(cluster: FakeCluster) -> None:
    lagging = Lagging(cluster, behind=lambda: 2)
    for name in ("a", "b", "c"):
        lagging.create(service_account(NAMESPACE, name))
    assert [each["metadata"]["name"] for each in lagging.list(SERVICE_ACCOUNT, NAMESPACE, labels={})] == ["a"]
    assert lagging.get(SERVICE_ACCOUNT, NAMESPACE, "b") is None
    assert lagging.create(service_account(NAMESPACE, "c")) is None


def test_calls_are_counted_by_verb_and_kind(cluster: FakeCluster) -> None:
    counting = Counting(cluster)
    counting.get(SERVICE_ACCOUNT, NAMESPACE, "a")
    counting.apply(service_account(NAMESPACE, "a"))
    counting.get(SERVICE_ACCOUNT, NAMESPACE, "a")
    assert counting.calls == {("get", "ServiceAccount"): 2, ("apply", "ServiceAccount"): 1}
