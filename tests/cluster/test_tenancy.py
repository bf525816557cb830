"""A namespace whose release allows only some Secrets, and which has a quota on requests and limits."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from tests.support.cluster.controlled import RUN, ControllerRelease, ManagedClassifier
from tests.support.cluster.namespace import Document, Namespace, wait_until

pytestmark = pytest.mark.cluster

SECONDS = 120.0
QUOTA = {"requests.cpu": "20", "requests.memory": "40Gi", "limits.cpu": "20", "limits.memory": "40Gi"}
TRAINER = "app.kubernetes.io/component=trainer,labelwright.dev/classifier="


@pytest.fixture(scope="module")
def tenant(release: dict[str, object]) -> Iterator[Namespace]:
    """A namespace with a release of its own and, once that runs, a quota."""
    found = Namespace(f"labelwright-{uuid.uuid4().hex[:8]}")
    found.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": found.name}}])
    allowed = {"tenancy.secretNames": ["team-*"], "tenancy.serviceAccountNames": []}
    controller = ControllerRelease(found)
    controller.install({**release, **allowed})
    found.apply([{"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "all"}, "spec": {"hard": QUOTA}}])
    yield found
    controller.uninstall()
    found.kubectl("delete", "namespace", found.name, "--wait=false")


@pytest.fixture(scope="module")
def classifiers(tenant: Namespace) -> dict[str, ManagedClassifier]:
    """All that are looked at here, just applied. None is trained: the Secret that is allowed is not there."""
    storage = {"uri": "s3://models", "secretName": "team-storage"}
    limits = {"limits": {"cpu": "1", "memory": "1Gi"}}
    specs: dict[str, Document] = {
        "secret": {"storage": {**storage, "secretName": "password"}},
        "account": {"storage": {"uri": "s3://models", "serviceAccountName": "cloud-admin"}},
        "default": {"storage": storage},
        "limited": {"storage": storage, "training": {"resources": limits}},
    }
    for name, each in specs.items():
        ManagedClassifier(tenant, name).apply({"dataset": {"uri": "s3://models/datasets/"}, **each})
    return {name: ManagedClassifier(tenant, name) for name in specs}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("secret", "spec.storage.secretName is 'password': expected one of team-*"),
        ("account", "spec.storage.serviceAccountName is 'cloud-admin': expected none"),
    ],
)
def test_a_classifier_that_asks_for_what_the_release_does_not_allow_says_so(
    classifiers: dict[str, ManagedClassifier], name: str, said: str
) -> None:
    refused = classifiers[name]
    refused.wait_for(lambda now: now.get("state") == "Invalid", "it is Invalid", seconds=SECONDS)

    degraded = refused.condition("Degraded")
    assert (degraded["status"], degraded["reason"]) == ("True", "NotAllowed")
    assert degraded["message"].startswith(said)
    assert refused.made(RUN) == []


def test_the_pod_of_a_training_with_limits_is_made_under_a_quota(classifiers: dict[str, ManagedClassifier]) -> None:
    limited = classifiers["limited"]
    (pod,) = wait_until(lambda: limited.namespace.pods(TRAINER + "limited"), "its Pod", seconds=SECONDS, instead=limited.describe)
    assert pod["spec"]["containers"][0]["resources"]["limits"] == {"cpu": "1", "memory": "1Gi"}


def test_a_training_whose_pod_a_quota_refuses_names_what_is_not_set_and_where_to_set_it(
    classifiers: dict[str, ManagedClassifier],
) -> None:
    default = classifiers["default"]
    default.wait_for(lambda now: now.get("state") == "Stuck", "it is Stuck", seconds=SECONDS)

    message = default.condition("Degraded")["message"]
    assert "no Pod was created" in message
    assert "a quota on limits.cpu (not set: expected in spec.training.resources, or resources.trainings" in message
    assert default.namespace.pods(TRAINER + "default") == []
    (job,) = default.made("jobs")
    described = default.namespace.kubectl("describe", "job", job["metadata"]["name"])
    assert "must specify limits.cpu for: trainer" in described
