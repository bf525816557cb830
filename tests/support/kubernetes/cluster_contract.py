"""Tests that every Cluster passes: the one in memory, and the one of an API server.

A subclass gives the fixtures `cluster`, `namespace` (the name of an empty one) and `eventually`, which waits where others work.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from k8s.controller.clients.kubernetes import (
    JOB,
    LEASE,
    POD,
    SERVICE,
    SERVICE_ACCOUNT,
    TEXT_CLASSIFIER,
    TRAINING_RUN,
    Cluster,
    Document,
    Kind,
    RequestRefused,
    WriteConflict,
)

NOWHERE = Kind("labelwright.dev/v0", "Nothing", "nothings")
Eventually = Callable[[Callable[[], Any]], Any]


def service_account(namespace: str, name: str = "one", **metadata: Any) -> Document:
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace, **metadata}}


def service(namespace: str, name: str = "one", **spec: Any) -> Document:
    metadata = {"name": name, "namespace": namespace}
    ports = [{"name": "rest", "port": 80, "protocol": "TCP", "targetPort": 8080}]
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"clusterIP": "None", "ports": ports, **spec}}


def job(namespace: str, name: str = "one", *, image: str = "nowhere/none:1", **spec: Any) -> Document:
    """Return a Job that never starts."""
    pod = {"restartPolicy": "Never", "containers": [{"name": "one", "image": image}]}
    spec = {"suspend": True, "template": {"spec": pod}, **spec}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "namespace": namespace}, "spec": spec}


def classifier(namespace: str, name: str = "papers", **metadata: Any) -> Document:
    spec = {"dataset": {"uri": "s3://datasets/papers/"}, "storage": {"uri": "s3://models/", "secretName": "s3"}}
    metadata = {"name": name, "namespace": namespace, **metadata}
    return {"apiVersion": "labelwright.dev/v1alpha1", "kind": "TextClassifier", "metadata": metadata, "spec": spec}


def owned_by(owner: Document) -> Document:
    """Return an entry of ownerReferences."""
    names = {"apiVersion": owner["apiVersion"], "kind": owner["kind"]}
    return {**names, "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"], "controller": True}


def created(cluster: Cluster, document: Document) -> Document:
    created = cluster.create(document)
    assert created is not None
    return created


def labels_of(document: Document | None) -> dict[str, str]:
    assert document is not None
    return dict(document["metadata"].get("labels", {}))


class CreateContract:
    """Creating and reading objects."""

    def test_what_is_not_there_is_none(self, cluster: Cluster, namespace: str) -> None:
        assert cluster.get(JOB, namespace, "one") is None

    def test_what_was_created_can_be_read(self, cluster: Cluster, namespace: str) -> None:
        made = created(cluster, service_account(namespace, labels={"a": "1"}))
        assert cluster.get(SERVICE_ACCOUNT, namespace, "one") == made
        assert (made["apiVersion"], made["kind"]) == ("v1", "ServiceAccount")
        assert {"uid", "resourceVersion", "creationTimestamp"} <= made["metadata"].keys()

    def test_creating_again_makes_nothing_and_changes_nothing(self, cluster: Cluster, namespace: str) -> None:
        made = created(cluster, service_account(namespace, labels={"a": "1"}))
        assert cluster.create(service_account(namespace, labels={"a": "2"})) is None
        assert cluster.get(SERVICE_ACCOUNT, namespace, "one") == made

    def test_a_status_is_not_created(self, cluster: Cluster, namespace: str) -> None:
        made = created(cluster, {**service(namespace), "status": {"loadBalancer": {"ingress": [{"ip": "198.51.100.1"}]}}})
        assert not made.get("status", {}).get("loadBalancer")

    def test_a_list_holds_what_carries_the_labels(self, cluster: Cluster, namespace: str) -> None:
        for name, labels in {"b": {"x": "1", "y": "1"}, "a": {"x": "1"}, "c": {"x": "2"}, "d": {}}.items():
            created(cluster, service(namespace, name) | {"metadata": {"name": name, "namespace": namespace, "labels": labels}})
        listed = cluster.list(SERVICE, namespace, labels={"x": "1"})
        assert [each["metadata"]["name"] for each in listed] == ["a", "b"]
        assert {(each["apiVersion"], each["kind"]) for each in listed} == {("v1", "Service")}
        assert len(cluster.list(SERVICE, namespace, labels={})) == 4
        assert cluster.list(SERVICE, namespace, labels={"x": "1", "y": "2"}) == []

    def test_a_list_without_a_namespace_is_that_of_the_cluster(self, cluster: Cluster, namespace: str) -> None:
        label = {"of": namespace}
        created(cluster, service_account(namespace, labels=label))
        assert len(cluster.list(SERVICE_ACCOUNT, "", labels=label)) == 1

    def test_a_kind_that_is_not_there_is_refused(self, cluster: Cluster, namespace: str) -> None:
        with pytest.raises(RequestRefused):
            cluster.get(NOWHERE, namespace, "one")
        with pytest.raises(RequestRefused):
            cluster.list(NOWHERE, namespace, labels={})


class ApplyContract:
    """Server-side apply."""

    def test_apply_makes_what_is_not_there(self, cluster: Cluster, namespace: str) -> None:
        made = cluster.apply(service_account(namespace, labels={"a": "1"}))
        assert cluster.get(SERVICE_ACCOUNT, namespace, "one") == made
        assert labels_of(made) == {"a": "1"}

    def test_applying_the_same_again_changes_nothing(self, cluster: Cluster, namespace: str) -> None:
        made = cluster.apply(service(namespace))
        assert cluster.apply(service(namespace)) == made

    def test_what_is_applied_no_longer_goes(self, cluster: Cluster, namespace: str) -> None:
        cluster.apply(service_account(namespace, labels={"a": "1", "b": "1"}, annotations={"c": "1"}))
        now = cluster.apply(service_account(namespace, labels={"a": "2"}))
        assert labels_of(now) == {"a": "2"}
        assert "annotations" not in now["metadata"]

    def test_what_others_wrote_stays(self, cluster: Cluster, namespace: str) -> None:
        cluster.apply(service_account(namespace, labels={"a": "1"}))
        cluster.merge(SERVICE_ACCOUNT, namespace, "one", {"metadata": {"labels": {"b": "1"}}})
        assert labels_of(cluster.apply(service_account(namespace, labels={"a": "2"}))) == {"a": "2", "b": "1"}
        assert labels_of(cluster.apply(service_account(namespace))) == {"b": "1"}

    def test_what_others_changed_is_made_so_again_and_ours_again(self, cluster: Cluster, namespace: str) -> None:
        cluster.apply(service_account(namespace, labels={"a": "1"}))
        cluster.merge(SERVICE_ACCOUNT, namespace, "one", {"metadata": {"labels": {"a": "9"}}})
        assert labels_of(cluster.apply(service_account(namespace, labels={"a": "1"}))) == {"a": "1"}
        assert labels_of(cluster.apply(service_account(namespace))) == {}

    def test_what_others_changed_stays_once_it_is_applied_no_longer(self, cluster: Cluster, namespace: str) -> None:
        cluster.apply(service_account(namespace, labels={"a": "1"}))
        cluster.merge(SERVICE_ACCOUNT, namespace, "one", {"metadata": {"labels": {"a": "9"}}})
        assert labels_of(cluster.apply(service_account(namespace))) == {"a": "9"}

    def test_what_was_created_is_not_taken_away_by_apply(self, cluster: Cluster, namespace: str) -> None:
        created(cluster, service_account(namespace, labels={"a": "1", "b": "1"}))
        cluster.apply(service_account(namespace, labels={"a": "1"}))
        assert labels_of(cluster.apply(service_account(namespace))) == {"a": "1", "b": "1"}

    def test_owners_of_others_stay(self, cluster: Cluster, namespace: str) -> None:
        owners = [created(cluster, service_account(namespace, name)) for name in ("first", "second")]
        first, second = ({**owned_by(each), "controller": False} for each in owners)
        cluster.apply(service(namespace) | {"metadata": {"name": "one", "namespace": namespace, "ownerReferences": [first]}})
        cluster.merge(SERVICE, namespace, "one", {"metadata": {"ownerReferences": [first, second]}})
        now = cluster.apply(service(namespace))
        assert now["metadata"]["ownerReferences"] == [second]

    def test_apply_for_a_previous_object_conflicts(self, cluster: Cluster, namespace: str) -> None:
        before = created(cluster, service_account(namespace))["metadata"]["uid"]
        cluster.delete(SERVICE_ACCOUNT, namespace, "one")
        created(cluster, service_account(namespace))
        with pytest.raises(WriteConflict):
            cluster.apply(service_account(namespace, uid=before))
        cluster.delete(SERVICE_ACCOUNT, namespace, "one")
        with pytest.raises(WriteConflict):
            cluster.apply(service_account(namespace, uid=before))


class ChangeContract:
    """Merge patches and statuses."""

    def test_merge_changes_adds_and_takes_away(self, cluster: Cluster, namespace: str) -> None:
        created(cluster, service_account(namespace, labels={"a": "1", "b": "1"}))
        now = cluster.merge(SERVICE_ACCOUNT, namespace, "one", {"metadata": {"labels": {"a": "2", "b": None, "c": "3"}}})
        assert labels_of(now) == {"a": "2", "c": "3"}
        assert cluster.get(SERVICE_ACCOUNT, namespace, "one") == now

    def test_merge_of_what_is_gone_is_none(self, cluster: Cluster, namespace: str) -> None:
        assert cluster.merge(SERVICE_ACCOUNT, namespace, "one", {"metadata": {"labels": {"a": "2"}}}) is None

    def test_merge_that_changes_nothing_makes_no_new_version(self, cluster: Cluster, namespace: str) -> None:
        made = created(cluster, service_account(namespace, labels={"a": "1"}))
        now = cluster.merge(SERVICE_ACCOUNT, namespace, "one", {"metadata": {"labels": {"a": "1"}}})
        assert now is not None
        assert now["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]

    def test_merge_into_an_older_version_conflicts(self, cluster: Cluster, namespace: str) -> None:
        older = created(cluster, service_account(namespace))["metadata"]["resourceVersion"]
        change = {"metadata": {"labels": {"a": "1"}}}
        now = cluster.merge(SERVICE_ACCOUNT, namespace, "one", change, resource_version=older)
        assert labels_of(now) == {"a": "1"}
        with pytest.raises(WriteConflict):
            cluster.merge(SERVICE_ACCOUNT, namespace, "one", {"metadata": {"labels": {"a": "2"}}}, resource_version=older)

    def test_merge_leaves_the_status(self, cluster: Cluster, namespace: str) -> None:
        created(cluster, service(namespace))
        now = cluster.merge(SERVICE, namespace, "one", {"status": {"loadBalancer": {"ingress": [{"ip": "198.51.100.1"}]}}})
        assert now is not None
        assert not now["status"]["loadBalancer"] if "status" in now else True

    def test_the_status_is_replaced_and_nothing_else(self, cluster: Cluster, namespace: str) -> None:
        read = created(cluster, service(namespace))
        for kind in ("First", "Second"):
            condition = {
                "type": kind,
                "status": "True",
                "reason": "Because",
                "message": "",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }
            wanted = read | {"status": {"conditions": [condition]}, "spec": read["spec"] | {"publishNotReadyAddresses": True}}
            now = cluster.write_status(wanted)
            assert now is not None
            read = now
        assert [each["type"] for each in read["status"]["conditions"]] == ["Second"]
        assert not read["spec"].get("publishNotReadyAddresses")
        assert cluster.get(SERVICE, namespace, "one") == read

    def test_a_status_for_an_older_version_conflicts(self, cluster: Cluster, namespace: str) -> None:
        read = created(cluster, service(namespace))
        cluster.merge(SERVICE, namespace, "one", {"metadata": {"labels": {"a": "1"}}})
        with pytest.raises(WriteConflict):
            cluster.write_status(read)

    def test_a_status_of_what_is_gone_is_none(self, cluster: Cluster, namespace: str) -> None:
        read = created(cluster, service(namespace))
        cluster.delete(SERVICE, namespace, "one")
        assert cluster.write_status(read) is None

    def test_a_status_for_a_previous_object_conflicts(self, cluster: Cluster, namespace: str) -> None:
        read = created(cluster, service(namespace))
        cluster.delete(SERVICE, namespace, "one")
        created(cluster, service(namespace))
        with pytest.raises(WriteConflict):
            cluster.write_status(read)

    def test_the_generation_follows_the_spec_alone(self, cluster: Cluster, namespace: str) -> None:
        made = created(cluster, job(namespace))
        cluster.merge(JOB, namespace, "one", {"metadata": {"labels": {"a": "1"}}})
        labelled = cluster.get(JOB, namespace, "one")
        other = cluster.merge(JOB, namespace, "one", {"spec": {"parallelism": 2}})
        assert labelled is not None
        assert other is not None
        assert [each["metadata"]["generation"] for each in (made, labelled, other)] == [1, 1, 2]

    def test_the_template_of_a_job_does_not_change(self, cluster: Cluster, namespace: str) -> None:
        cluster.apply(job(namespace))
        with pytest.raises(RequestRefused, match=r"spec\.template.*immutable"):
            cluster.apply(job(namespace, image="nowhere/none:2"))


class DeleteContract:
    """Deletion, finalizers, owners."""

    def test_what_is_deleted_is_gone(self, cluster: Cluster, namespace: str) -> None:
        created(cluster, service_account(namespace))
        cluster.delete(SERVICE_ACCOUNT, namespace, "one")
        assert cluster.get(SERVICE_ACCOUNT, namespace, "one") is None

    def test_deleting_nothing_is_fine(self, cluster: Cluster, namespace: str) -> None:
        cluster.delete(SERVICE_ACCOUNT, namespace, "one")
        cluster.delete(SERVICE_ACCOUNT, namespace, "one", uid=str(uuid.uuid4()))

    def test_another_of_the_same_name_is_left_alone(self, cluster: Cluster, namespace: str) -> None:
        made = created(cluster, service_account(namespace))
        cluster.delete(SERVICE_ACCOUNT, namespace, "one", uid=str(uuid.uuid4()))
        assert cluster.get(SERVICE_ACCOUNT, namespace, "one") == made
        cluster.delete(SERVICE_ACCOUNT, namespace, "one", uid=made["metadata"]["uid"])
        assert cluster.get(SERVICE_ACCOUNT, namespace, "one") is None

    def test_a_finalizer_holds_it_back(self, cluster: Cluster, namespace: str) -> None:
        created(
            cluster, service(namespace) | {"metadata": service_account(namespace, finalizers=["labelwright.dev/a"])["metadata"]}
        )
        cluster.delete(SERVICE, namespace, "one")
        held = cluster.get(SERVICE, namespace, "one")
        assert held is not None
        assert "deletionTimestamp" in held["metadata"]
        assert cluster.create(service(namespace)) is None
        cluster.delete(SERVICE, namespace, "one")
        assert cluster.get(SERVICE, namespace, "one") == held
        now = cluster.merge(SERVICE, namespace, "one", {"metadata": {"finalizers": []}})
        assert now is not None
        assert cluster.get(SERVICE, namespace, "one") is None

    def test_what_is_being_deleted_takes_no_new_finalizer(self, cluster: Cluster, namespace: str) -> None:
        finalizers = ["labelwright.dev/a"]
        created(cluster, service_account(namespace, finalizers=finalizers))
        cluster.delete(SERVICE_ACCOUNT, namespace, "one")
        with pytest.raises(RequestRefused, match="finalizer"):
            cluster.merge(SERVICE_ACCOUNT, namespace, "one", {"metadata": {"finalizers": [*finalizers, "labelwright.dev/b"]}})
        cluster.merge(SERVICE_ACCOUNT, namespace, "one", {"metadata": {"finalizers": None}})

    def test_deletion_raises_the_generation(self, cluster: Cluster, namespace: str) -> None:
        document = job(namespace)
        document["metadata"]["finalizers"] = ["labelwright.dev/a"]
        made = created(cluster, document)
        cluster.delete(JOB, namespace, "one")
        held = cluster.get(JOB, namespace, "one")
        assert held is not None
        assert held["metadata"]["generation"] == made["metadata"]["generation"] + 1
        cluster.merge(JOB, namespace, "one", {"metadata": {"finalizers": None}})

    def test_what_it_owns_goes_after_it(self, cluster: Cluster, namespace: str, eventually: Eventually) -> None:
        owner = created(cluster, service_account(namespace, "owner"))
        child = created(cluster, service_account(namespace, "child", ownerReferences=[owned_by(owner)]))
        created(cluster, service_account(namespace, "grandchild", ownerReferences=[owned_by(child)]))
        cluster.delete(SERVICE_ACCOUNT, namespace, "owner")
        eventually(lambda: cluster.get(SERVICE_ACCOUNT, namespace, "grandchild") is None)
        assert cluster.get(SERVICE_ACCOUNT, namespace, "child") is None

    def test_what_is_made_for_an_owner_that_is_gone_goes(self, cluster: Cluster, namespace: str, eventually: Eventually) -> None:
        owner = created(cluster, service_account(namespace, "owner"))
        cluster.delete(SERVICE_ACCOUNT, namespace, "owner")
        created(cluster, service_account(namespace, "owner"))  # another of the same name
        cluster.create(service_account(namespace, "child", ownerReferences=[owned_by(owner)]))
        eventually(lambda: cluster.get(SERVICE_ACCOUNT, namespace, "child") is None)

    def test_two_owners_must_both_go(self, cluster: Cluster, namespace: str, eventually: Eventually) -> None:
        owners = [created(cluster, service_account(namespace, name)) for name in ("first", "second")]
        references = [{**owned_by(each), "controller": False} for each in owners]
        created(cluster, service_account(namespace, "child", ownerReferences=references))
        created(cluster, service_account(namespace, "other", ownerReferences=references[:1]))
        cluster.delete(SERVICE_ACCOUNT, namespace, "first")
        eventually(lambda: cluster.get(SERVICE_ACCOUNT, namespace, "other") is None)
        assert cluster.get(SERVICE_ACCOUNT, namespace, "child") is not None
        cluster.delete(SERVICE_ACCOUNT, namespace, "second")
        eventually(lambda: cluster.get(SERVICE_ACCOUNT, namespace, "child") is None)

    def test_a_pod_that_runs_nowhere_goes_at_once(self, cluster: Cluster, namespace: str) -> None:
        spec = {"containers": [{"name": "one", "image": "nowhere/none:1"}], "nodeSelector": {"labelwright.dev/none": "1"}}
        created(cluster, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one", "namespace": namespace}, "spec": spec})
        cluster.delete(POD, namespace, "one")
        assert cluster.get(POD, namespace, "one") is None


class LeaseContract:
    """Leases, as leader election needs them."""

    def test_of_two_that_take_a_lease_one_does(self, cluster: Cluster, namespace: str) -> None:
        metadata = {"name": "one", "namespace": namespace}
        lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": {"holderIdentity": "a"}}
        read = created(cluster, lease)["metadata"]["resourceVersion"]
        taken = cluster.merge(LEASE, namespace, "one", {"spec": {"holderIdentity": "b"}}, resource_version=read)
        assert taken is not None
        assert taken["spec"] == {"holderIdentity": "b"}
        with pytest.raises(WriteConflict):
            cluster.merge(LEASE, namespace, "one", {"spec": {"holderIdentity": "c"}}, resource_version=read)


class OurKindsContract:
    """Custom resources of our CRDs."""

    def test_a_status_is_replaced_without_another_generation(self, cluster: Cluster, namespace: str) -> None:
        read = created(cluster, {**classifier(namespace), "status": {"state": "Ready"}})
        assert "status" not in read
        first = cluster.write_status(read | {"status": {"state": "Training", "version": "papers-1"}})
        assert first is not None
        second = cluster.write_status(first | {"status": {"state": "Ready"}})
        assert second is not None
        assert second["status"] == {"state": "Ready"}
        assert second["metadata"]["generation"] == 1
        with pytest.raises(WriteConflict):
            cluster.write_status(first)

    def test_a_status_write_leaves_spec_and_labels(self, cluster: Cluster, namespace: str) -> None:
        read = created(cluster, classifier(namespace))
        other = read | {"metadata": read["metadata"] | {"labels": {"a": "1"}}, "spec": read["spec"] | {"suspend": True}}
        now = cluster.write_status(other | {"status": {"state": "Ready"}})
        assert now is not None
        assert not now["spec"].get("suspend")
        assert labels_of(now) == {}

    def test_a_status_that_changes_nothing_makes_no_new_version(self, cluster: Cluster, namespace: str) -> None:
        read = cluster.write_status(created(cluster, classifier(namespace)) | {"status": {"state": "Ready"}})
        assert read is not None
        assert cluster.write_status(read) == read

    def test_a_status_of_what_is_gone_is_none(self, cluster: Cluster, namespace: str) -> None:
        read = created(cluster, classifier(namespace))
        cluster.delete(TEXT_CLASSIFIER, namespace, "papers")
        assert cluster.write_status(read | {"status": {"state": "Ready"}}) is None

    def test_a_status_for_a_previous_object_conflicts(self, cluster: Cluster, namespace: str) -> None:
        read = created(cluster, classifier(namespace))
        cluster.delete(TEXT_CLASSIFIER, namespace, "papers")
        created(cluster, classifier(namespace))
        with pytest.raises(WriteConflict):
            cluster.write_status(read | {"status": {"state": "Ready"}})

    def test_the_generation_follows_the_spec_alone(self, cluster: Cluster, namespace: str) -> None:
        created(cluster, classifier(namespace))
        labelled = cluster.merge(TEXT_CLASSIFIER, namespace, "papers", {"metadata": {"annotations": {"a": "1"}}})
        changed = cluster.merge(TEXT_CLASSIFIER, namespace, "papers", {"spec": {"suspend": True}})
        assert labelled is not None
        assert changed is not None
        assert [each["metadata"]["generation"] for each in (labelled, changed)] == [1, 2]

    def test_a_run_is_made_once(self, cluster: Cluster, namespace: str, eventually: Eventually) -> None:
        owner = created(cluster, classifier(namespace))
        metadata = {"name": "papers-1a2b3c4d", "namespace": namespace, "ownerReferences": [owned_by(owner)]}
        run = {
            "apiVersion": "labelwright.dev/v1alpha1",
            "kind": "TrainingRun",
            "metadata": metadata,
            "spec": {"classifier": "papers"},
        }
        assert cluster.create(run) is not None
        assert cluster.create(run) is None
        cluster.delete(TEXT_CLASSIFIER, namespace, "papers")
        eventually(lambda: cluster.get(TRAINING_RUN, namespace, "papers-1a2b3c4d") is None)

    def test_what_is_applied_no_longer_goes_with_what_held_it(self, cluster: Cluster, namespace: str) -> None:
        document = classifier(namespace)
        document["spec"]["dataset"]["aliases"] = {"a": "b"}
        cluster.apply(document)
        now = cluster.apply(classifier(namespace))
        assert not now["spec"]["dataset"].get("aliases")


class ClusterContract(CreateContract, ApplyContract, ChangeContract, DeleteContract, LeaseContract):
    """All tests that do not need our CRDs."""
