"""The door to the Kubernetes API does on a real API server what the cluster in memory does."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.client.api_client import ApiClient
from kubernetes.client.configuration import Configuration

from k8s.controller.clients.kubernetes import (
    CRD,
    JOB,
    KINDS,
    SERVICE_ACCOUNT,
    Cluster,
    KubernetesCluster,
    RequestRefused,
    Unavailable,
    from_environment,
)
from tests.support.cluster.namespace import Namespace, wait_until
from tests.support.kubernetes.cluster_contract import ClusterContract, Eventually, OurKindsContract, job, service_account

CRDS = Path(__file__).parents[2] / "k8s" / "manifests" / "controller" / "00-crds.yaml"


@pytest.fixture(scope="module")
def cluster() -> Iterator[KubernetesCluster]:
    if not os.environ.get("KUBECONFIG"):
        pytest.fail("KUBECONFIG is not set: these tests need a cluster.", pytrace=False)
    with from_environment() as found:
        yield found


@pytest.fixture
def namespace(cluster: KubernetesCluster) -> Iterator[str]:
    """A name of one of its own for each test: what a test made is not in the way of the next."""
    made = Namespace(f"labelwright-{uuid.uuid4().hex[:8]}")
    made.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": made.name}}])
    yield made.name
    made.kubectl("delete", "namespace", made.name, "--wait=false")


@pytest.fixture
def eventually() -> Eventually:
    return lambda true: wait_until(true, "what follows", seconds=60)


@pytest.fixture(scope="module")
def crds(cluster: KubernetesCluster) -> None:
    for document in yaml.safe_load_all(CRDS.read_text()):
        cluster.apply(document)
        name = document["metadata"]["name"]
        wait_until(partial(_is_established, cluster, name), f"the CRD {name}", seconds=30)


def _is_established(cluster: Cluster, name: str) -> bool:
    found = cluster.get(CRD, "", name) or {}
    conditions = found.get("status", {}).get("conditions") or ()  # null just after it was made
    return any(each["type"] == "Established" and each["status"] == "True" for each in conditions)


class TestKubernetesCluster(ClusterContract):
    """Core kinds."""


class TestAKubernetesClusterThatHearsOfEvents(ClusterContract):
    """Its lists come from the API server's memory, and are as good."""

    @pytest.fixture(scope="class")
    def cluster(self) -> Iterator[KubernetesCluster]:
        with from_environment() as found:
            for kind in KINDS:
                found.saw({"kind": kind.kind, "metadata": {"resourceVersion": "1"}})
            yield found


def test_a_list_is_not_older_than_an_event(cluster: KubernetesCluster, namespace: str) -> None:
    with from_environment() as elsewhere:
        for number in range(20):
            made = elsewhere.create(job(namespace, f"n{number}"))
            assert made is not None
            cluster.saw(made)
            assert len(cluster.list(JOB, namespace, labels={})) == number + 1


def test_a_state_that_the_server_never_had_hinders_no_list(namespace: str) -> None:
    """Such as after etcd was restored from a backup."""
    with from_environment() as found:
        found.saw({"kind": "Job", "metadata": {"resourceVersion": str(1 << 60)}})
        assert found.list(JOB, namespace, labels={}) == []


@pytest.mark.usefixtures("crds")
class TestOurKinds(OurKindsContract):
    """Ours, by their CRDs."""


def test_a_namespace_that_is_not_there_is_refused_by_name(cluster: Cluster) -> None:
    with pytest.raises(RequestRefused, match='namespaces "nowhere" not found'):
        cluster.create(service_account("nowhere"))
    with pytest.raises(RequestRefused, match='namespaces "nowhere" not found'):
        cluster.apply(service_account("nowhere"))
    assert cluster.list(SERVICE_ACCOUNT, "nowhere", labels={}) == []


def test_a_field_that_is_not_there_is_refused_by_name(cluster: Cluster, namespace: str) -> None:
    with pytest.raises(RequestRefused, match=r"spec\.nonsense"):
        cluster.apply(job(namespace, nonsense=1))


def test_errors_of_a_job_are_reported_by_field_and_briefly(cluster: Cluster, namespace: str) -> None:
    with pytest.raises(RequestRefused, match=r"spec\.template\.spec\.containers: Required value") as raised:
        cluster.create(job(namespace, template={"spec": {"restartPolicy": "Never", "containers": []}}))
    assert len(str(raised.value)) < 300
    cluster.apply(job(namespace))
    with pytest.raises(RequestRefused, match=r"spec\.template.*immutable") as raised:
        cluster.apply(job(namespace, image="x" * 2000))
    assert len(str(raised.value)) <= 1000


def test_a_server_that_does_not_answer_is_unavailable_within_the_time_limit() -> None:
    configuration = Configuration(host="https://192.0.2.1:6443")
    configuration.retries = False
    began = time.monotonic()
    with pytest.raises(Unavailable, match="did not answer"):
        KubernetesCluster(ApiClient(configuration), time_limit=0.5).get(JOB, "default", "one")
    assert time.monotonic() - began < 3


def test_long_lists_are_read_to_their_end(cluster: Cluster, namespace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("k8s.controller.clients.kubernetes.PAGE_OBJECTS", 2)
    for number in range(5):
        cluster.create(service_account(namespace, f"n{number}", labels={"of": "five"}))
    found = cluster.list(SERVICE_ACCOUNT, namespace, labels={"of": "five"})
    assert [each["metadata"]["name"] for each in found] == ["n0", "n1", "n2", "n3", "n4"]


def test_what_may_not_be_done_is_refused(cluster: Cluster, namespace: str) -> None:
    name = Namespace(namespace)
    token = name.kubectl("create", "token", "default")
    configuration = Configuration()
    ours: Any = cluster
    theirs = ours._client.configuration
    configuration.host, configuration.ssl_ca_cert, configuration.retries = theirs.host, theirs.ssl_ca_cert, False
    configuration.api_key["BearerToken"] = f"Bearer {token.strip()}"
    with (
        KubernetesCluster(ApiClient(configuration)) as poor,
        pytest.raises(RequestRefused, match=r"system:serviceaccount:.* cannot list"),
    ):
        poor.list(JOB, namespace, labels={})
