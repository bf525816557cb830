"""Whatever is done to an object, in whatever order: the cluster in memory and the real one come to the same."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest

from k8s.controller.clients.kubernetes import (
    SERVICE,
    SERVICE_ACCOUNT,
    Cluster,
    Document,
    KubernetesCluster,
    RequestRefused,
    WriteConflict,
    from_environment,
)
from tests.support.cluster.namespace import Namespace
from tests.support.fakes import FakeCluster
from tests.support.kubernetes.cluster_contract import created, owned_by, service, service_account

NAME = "one"
LABELS = ("a", "b", "c")
FINALIZERS = ("labelwright.dev/a", "labelwright.dev/b")
WRITES = 80


class Hand:
    """One of the two clusters, what was read from it last, and the owners that objects on it may have."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.cluster, self.namespace = cluster, namespace
        self.read: Document | None = None
        self.owners = [owned_by(created(cluster, service_account(namespace, name))) for name in ("first", "second")]

    def references(self, chosen: list[int]) -> list[Document]:
        return [{**self.owners[each], "controller": False} for each in chosen]


@pytest.fixture
def hands() -> Iterator[tuple[Hand, Hand]]:
    if not os.environ.get("KUBECONFIG"):
        pytest.fail("KUBECONFIG is not set: these tests need a cluster.", pytrace=False)
    made = Namespace(f"labelwright-{uuid.uuid4().hex[:8]}")
    made.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": made.name}}])
    with from_environment() as real:
        yield Hand(FakeCluster(), made.name), Hand(real, made.name)
        _let_go(real, made.name)
    made.kubectl("delete", "namespace", made.name, "--wait=false")


def _let_go(cluster: KubernetesCluster, namespace: str) -> None:
    cluster.merge(SERVICE, namespace, NAME, {"metadata": {"finalizers": None}})


Write = Callable[[Hand], Any]


def _applied(random: Random) -> Write:
    metadata = {key: value for key, value in _fields(random).items() if random.random() < 0.7}
    spec = {"publishNotReadyAddresses": True} if random.random() < 0.5 else {}
    owners = [each for each in (0, 1) if random.random() < 0.3]

    def write(hand: Hand) -> Any:
        document = service(hand.namespace, NAME, **spec)
        references = {"ownerReferences": hand.references(owners)} if owners else {}
        return hand.cluster.apply(document | {"metadata": document["metadata"] | metadata | references})

    return write


def _made(random: Random) -> Write:
    metadata = _fields(random)
    return lambda hand: hand.cluster.create(
        service(hand.namespace) | {"metadata": service(hand.namespace)["metadata"] | metadata}
    )


def _merged(random: Random) -> Write:
    labels = {each: random.choice(["1", "2", None]) for each in LABELS if random.random() < 0.4}
    change: Document = {"metadata": {"labels": labels}}
    if random.random() < 0.3:
        change["metadata"]["finalizers"] = random.choice([None, [], [FINALIZERS[0]], [FINALIZERS[1]], [*FINALIZERS]])
    if random.random() < 0.3:
        change["spec"] = {"publishNotReadyAddresses": random.choice([True, None])}
    owners = [each for each in (0, 1) if random.random() < 0.5] if random.random() < 0.3 else None
    is_guarded = random.random() < 0.4

    def write(hand: Hand) -> Any:
        version = hand.read["metadata"]["resourceVersion"] if hand.read and is_guarded else None
        references = {} if owners is None else {"ownerReferences": hand.references(owners)}
        whole = change | {"metadata": change["metadata"] | references}
        return hand.cluster.merge(SERVICE, hand.namespace, NAME, whole, resource_version=version)

    return write


def _status(random: Random) -> Write:
    condition = {"type": random.choice("XY"), "status": "True", "reason": "Because", "message": ""}
    status = {"conditions": [condition | {"lastTransitionTime": "2026-01-01T00:00:00Z"}]}
    return lambda hand: hand.cluster.write_status({**hand.read, "status": status}) if hand.read else None


def _deleted(random: Random) -> Write:
    is_guarded = random.random() < 0.7

    def write(hand: Hand) -> Any:
        uid = hand.read["metadata"]["uid"] if hand.read and is_guarded else None
        hand.cluster.delete(SERVICE, hand.namespace, NAME, uid=uid)

    return write


def _read(random: Random) -> Write:
    def read(hand: Hand) -> Any:
        hand.read = hand.cluster.get(SERVICE, hand.namespace, NAME) or hand.read

    return read


def _fields(random: Random) -> dict[str, Any]:
    labels = {each: random.choice("12") for each in LABELS if random.random() < 0.5}
    annotations = {each: random.choice("12") for each in LABELS if random.random() < 0.3}
    finalizers = [each for each in FINALIZERS if random.random() < 0.15]
    found = {"labels": labels, "annotations": annotations, "finalizers": finalizers}
    return {name: each for name, each in found.items() if each}  # of what is empty only the real one keeps who applied it


CHOICES = (_applied, _applied, _applied, _made, _merged, _merged, _merged, _status, _status, _deleted, _read, _read)


def _outcome(hand: Hand, write: Write) -> tuple[str, Any]:
    """Return the outcome of a write in one word, and the object afterwards."""
    before = hand.cluster.get(SERVICE, hand.namespace, NAME)
    try:
        word = "none" if write(hand) is None else "done"
    except WriteConflict:
        word = "conflict"
    except RequestRefused:
        word = "refused"
    now = hand.cluster.get(SERVICE, hand.namespace, NAME)
    is_changed = (now or before or {}).get("metadata", {}).get("resourceVersion") != (before or {}).get("metadata", {}).get(
        "resourceVersion"
    )
    return word, (is_changed, _seen(hand, now))


def _seen(hand: Hand, document: Document | None) -> Any:
    if document is None:
        return None
    metadata = document["metadata"]
    names = {each["uid"]: each["name"] for each in hand.owners}
    return {
        "labels": metadata.get("labels") or {},
        "annotations": metadata.get("annotations") or {},
        "finalizers": sorted(metadata.get("finalizers") or []),
        "owners": sorted(names[each["uid"]] for each in metadata.get("ownerReferences") or []),
        "goes": "deletionTimestamp" in metadata,
        "published": document["spec"].get("publishNotReadyAddresses", False),
        "conditions": [each["type"] for each in document.get("status", {}).get("conditions") or ()],
    }


@pytest.mark.parametrize("seed", range(6))
def test_any_writes_in_any_order_come_to_the_same(hands: tuple[Hand, Hand], seed: int) -> None:
    random = Random(seed)
    told = []
    for number in range(WRITES):
        choice = random.choice(CHOICES)
        write = choice(random)
        fake, real = (_outcome(hand, write) for hand in hands)
        told.append((choice.__name__, real))
        assert fake == real, f"after {number} writes: {told[-4:]}"
    assert all(hand.cluster.get(SERVICE_ACCOUNT, hand.namespace, "first") for hand in hands)
