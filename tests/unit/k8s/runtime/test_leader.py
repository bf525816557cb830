"""Leader election: who leads when, whatever clocks, answers and processes do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from k8s.controller.clients.kubernetes import LEASE, Cluster, Kind, Unavailable
from k8s.controller.runtime.leader import LeaderCandidate, Lease, lead
from tests.support.fakes import FakeCluster, Wrapped

PATIENCE = 30.0
START = 100.0
NOW = datetime(2026, 11, 23, 12, 0, 0, 250_000, tzinfo=UTC)
Result = TypeVar("Result")


class Seconds:
    """A clock that a test puts forward."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


@pytest.fixture
def candidate(cluster: FakeCluster, seconds: Seconds) -> Callable[[str], LeaderCandidate]:
    def make(holder: str) -> LeaderCandidate:
        lease = Lease("team", "labelwright", holder)
        return LeaderCandidate(cluster, lease, clock=seconds, now=lambda: NOW + timedelta(seconds=seconds.now - START))

    return make


def lease_of(cluster: FakeCluster) -> dict[str, Any]:
    found = cluster.get(LEASE, "team", "labelwright")
    assert found is not None
    spec: dict[str, Any] = found["spec"]
    return spec


# --- One candidate after another ------------------------------------------------------------------------------------


def test_the_first_to_come_takes_the_lease_and_says_so(cluster: FakeCluster, candidate: Callable[[str], LeaderCandidate]) -> None:
    a = candidate("a")

    assert a.attempt()
    assert a.seconds_left() == 10
    assert lease_of(cluster) == {
        "holderIdentity": "a",
        "leaseDurationSeconds": 15,
        "acquireTime": "2026-11-23T12:00:00.250000Z",
        "renewTime": "2026-11-23T12:00:00.250000Z",
        "leaseTransitions": 0,
    }


def test_another_waits_as_long_as_the_lease_is_renewed(candidate: Callable[[str], LeaderCandidate], seconds: Seconds) -> None:
    a, b = candidate("a"), candidate("b")
    for _ in range(30):
        assert a.attempt()
        assert not b.attempt()
        seconds.now += 2

    assert b.seconds_left() == 0


def test_another_takes_the_lease_after_its_whole_duration_without_a_renewal(
    cluster: FakeCluster, candidate: Callable[[str], LeaderCandidate], seconds: Seconds
) -> None:
    a, b = candidate("a"), candidate("b")
    a.attempt()
    seconds.now += 100
    assert not b.attempt()  # it does not know for how long
    seconds.now += 14.9
    assert not b.attempt()
    seconds.now += 0.1

    assert b.attempt()
    assert a.seconds_left() == 0
    assert not a.attempt()
    assert lease_of(cluster)["holderIdentity"] == "b"
    assert lease_of(cluster)["leaseTransitions"] == 1


def test_the_duration_that_the_holder_wrote_is_kept_if_it_is_longer(cluster: FakeCluster, seconds: Seconds) -> None:
    a = LeaderCandidate(cluster, Lease("team", "labelwright", "a", duration=60, deadline=50), clock=seconds)
    b = LeaderCandidate(cluster, Lease("team", "labelwright", "b"), clock=seconds)
    a.attempt()
    b.attempt()
    seconds.now += 59

    assert not b.attempt()
    seconds.now += 1
    assert b.attempt()


def test_a_released_lease_is_taken_at_once(cluster: FakeCluster, candidate: Callable[[str], LeaderCandidate]) -> None:
    a, b = candidate("a"), candidate("b")
    a.attempt()
    a.release()

    assert a.seconds_left() == 0
    assert "holderIdentity" not in lease_of(cluster)
    assert b.attempt()


def test_no_candidate_releases_anothers_lease(cluster: FakeCluster, candidate: Callable[[str], LeaderCandidate]) -> None:
    candidate("a").attempt()
    candidate("b").release()

    assert lease_of(cluster)["holderIdentity"] == "a"


def test_a_leader_that_sees_another_in_the_lease_leads_no_more(
    cluster: FakeCluster, candidate: Callable[[str], LeaderCandidate]
) -> None:
    a = candidate("a")
    a.attempt()
    cluster.merge(LEASE, "team", "labelwright", {"spec": {"holderIdentity": "somebody"}})

    assert not a.attempt()
    assert a.seconds_left() == 0


def test_a_lease_without_a_word_in_it_is_free(cluster: FakeCluster, candidate: Callable[[str], LeaderCandidate]) -> None:
    cluster.create({"apiVersion": LEASE.api_version, "kind": "Lease", "metadata": {"namespace": "team", "name": "labelwright"}})

    assert candidate("a").attempt()


@pytest.mark.parametrize(
    "times",
    [
        pytest.param({"deadline": 15.0}, id="deadline-as-long-as-duration"),
        pytest.param({"period": 10.0}, id="period-as-long-as-deadline"),
        pytest.param({"period": 0.0}, id="no-period"),
    ],
)
def test_times_by_which_two_could_lead_are_refused(times: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected each to be longer than the one before"):
        Lease("team", "labelwright", "a", **times)  # type: ignore[arg-type]


# --- Several at once, in a world where everything takes its time ------------------------------------------------------


class World:
    """Candidates whose clocks run at different rates, on a cluster that is slow to answer, or does not."""

    def __init__(self, random: Random, *, number: int, faults: float) -> None:
        self.random, self.faults, self.now = random, faults, 0.0
        self.cluster = FakeCluster()
        self.replicas = [Replica(self, f"replica-{each}") for each in range(number)]

    def pass_time(self, seconds: float) -> None:
        """Others act meanwhile, be it in the midst of what one does. Never do two lead."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + self.random.uniform(0.1, 2))
            for each in self.replicas:
                each.act()
            leaders = [each.holder for each in self.replicas if each.candidate.seconds_left()]
            assert len(leaders) <= 1, leaders

    def is_fate(self, share: float) -> bool:
        return self.random.random() < share


class Replica(Wrapped):
    """A candidate that tries now and then, and may be killed and come back; on its own way to the cluster."""

    def __init__(self, world: World, name: str) -> None:
        super().__init__(world.cluster)
        self.world, self.name, self.starts, self.busy = world, name, 0, False
        self.rate = world.random.uniform(0.85, 1.15)
        self.start()

    def start(self) -> None:
        self.starts += 1
        self.holder = f"{self.name}-{self.starts}"
        lease = Lease("team", "labelwright", self.holder)
        self.candidate = LeaderCandidate(self, lease, clock=lambda: 1000 + self.world.now * self.rate)
        self.next_try = self.world.now

    def act(self) -> None:
        if self.busy or self.world.now < self.next_try:
            return
        if self.world.is_fate(self.world.faults / 10):
            self.start()
            self.next_try += self.world.random.uniform(0, 20)
            return
        self.busy = True
        try:
            if self.candidate.seconds_left() and self.world.is_fate(self.world.faults / 10):
                self.candidate.release()
            else:
                self.candidate.attempt()
        except Unavailable:
            pass
        finally:
            self.busy = False
            self.next_try = self.world.now + 2 / self.rate

    def around(self, verb: str, kind: Kind, call: Callable[[], Result]) -> Result:
        self.wait()
        if self.world.is_fate(self.world.faults):
            raise Unavailable(verb)
        result = call()
        self.wait()
        if self.world.is_fate(self.world.faults):
            raise Unavailable(verb)
        return result

    def wait(self) -> None:
        slow = self.world.is_fate(self.world.faults)
        self.world.pass_time(self.world.random.uniform(0, 25 if slow else 0.2))


@settings(max_examples=60)
@given(random=st.randoms(use_true_random=True), number=st.integers(2, 4), faults=st.sampled_from([0.0, 0.05, 0.2, 0.5]))
def test_two_never_lead_at_once_and_one_does_once_all_is_well(random: Random, number: int, faults: float) -> None:
    world = World(random, number=number, faults=faults)
    world.pass_time(300)
    world.faults = 0.0
    world.pass_time(100)

    assert len([each for each in world.replicas if each.candidate.seconds_left()]) == 1


# --- The work -----------------------------------------------------------------------------------------------------------


class Gate(Wrapped):
    """A way to the cluster that can be shut: nobody answers then, or only after a while."""

    def __init__(self, cluster: Cluster, *, hangs: bool = False) -> None:
        super().__init__(cluster)
        self.shut, self.hangs, self.end = False, hangs, threading.Event()

    def around(self, verb: str, kind: Kind, call: Callable[[], Result]) -> Result:
        if self.shut:
            if self.hangs:
                self.end.wait(PATIENCE)
            raise Unavailable(verb)
        return call()


def quick(cluster: Cluster, holder: str = "a") -> LeaderCandidate:
    return LeaderCandidate(cluster, Lease("team", "labelwright", holder, duration=1, deadline=0.5, period=0.05))


def unexpected() -> None:
    raise AssertionError


def test_the_lease_is_held_while_the_work_goes_on_and_free_afterwards(cluster: FakeCluster) -> None:
    held: list[str] = []

    def work() -> None:
        time.sleep(0.8)
        held.append(lease_of(cluster)["holderIdentity"])

    assert lead(quick(cluster), on_started=work, on_lost=unexpected)
    assert held == ["a"]
    assert "holderIdentity" not in lease_of(cluster)


def test_the_lease_is_free_after_work_that_failed(cluster: FakeCluster) -> None:
    def work() -> None:
        raise OSError("no disk")

    with pytest.raises(OSError, match="no disk"):
        lead(quick(cluster), on_started=work, on_lost=unexpected)
    assert "holderIdentity" not in lease_of(cluster)


def test_whoever_waits_can_be_stopped(cluster: FakeCluster) -> None:
    quick(cluster, "b").attempt()
    stop = threading.Event()
    threading.Timer(0.1, stop.set).start()

    assert not lead(quick(cluster, "a"), on_started=unexpected, on_lost=unexpected, stop=stop)


def test_the_second_works_once_the_first_has_ended(cluster: FakeCluster) -> None:
    order: list[str] = []
    started = threading.Event()

    def first() -> None:
        started.set()
        time.sleep(0.2)
        order.append("first ends")

    one = threading.Thread(target=lead, args=(quick(cluster, "a"),), kwargs={"on_started": first, "on_lost": unexpected})
    one.start()
    started.wait(PATIENCE)
    lead(quick(cluster, "b"), on_started=lambda: order.append("second begins"), on_lost=unexpected)
    one.join()

    assert order == ["first ends", "second begins"]


@pytest.mark.parametrize("hangs", [pytest.param(False, id="refused"), pytest.param(True, id="hanging")])
def test_the_loss_of_the_lease_is_reported_in_time_if_the_cluster_is_unreachable(cluster: FakeCluster, hangs: bool) -> None:
    gate, lost = Gate(cluster, hangs=hangs), threading.Event()
    shut_at: list[float] = []

    def work() -> None:
        gate.shut = True
        shut_at.append(time.monotonic())
        assert lost.wait(PATIENCE)
        shut_at.append(time.monotonic())
        gate.end.set()

    assert lead(quick(gate), on_started=work, on_lost=lost.set)
    assert shut_at[1] - shut_at[0] < 1


def test_a_short_absence_of_the_cluster_is_survived(cluster: FakeCluster) -> None:
    gate = Gate(cluster)

    def work() -> None:
        gate.shut = True
        time.sleep(0.2)
        gate.shut = False
        time.sleep(0.6)

    assert lead(quick(gate), on_started=work, on_lost=unexpected)


def test_it_waits_for_a_cluster_that_is_away_at_the_start(cluster: FakeCluster) -> None:
    gate = Gate(cluster)
    gate.shut = True
    threading.Timer(0.2, lambda: setattr(gate, "shut", False)).start()

    assert lead(quick(gate), on_started=lambda: None, on_lost=unexpected)
