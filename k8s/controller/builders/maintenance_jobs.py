"""Maintenance Jobs, which need the storage's credentials: hash the dataset, delete versions."""

from __future__ import annotations

from k8s.controller.api.v1alpha1 import TextClassifierSpec
from k8s.controller.builders import job_pods
from k8s.controller.builders.pod_retries import MAINTENANCE_RETRIES, pod_failure_policy_rules
from k8s.controller.builders.training_job import Images, plain
from k8s.controller.objects import names
from k8s.controller.objects.documents import owner
from k8s.controller.objects.kinds import Document

TIMEOUT_SECONDS = 3600
KEPT_SECONDS = 3600


def dataset_check(classifier: Document, spec: TextClassifierSpec, images: Images, *, slot: int) -> Document:
    """Return the Job that hashes the dataset and the test set. slot: number of the check interval."""
    settings = {"LABELWRIGHT__DATASET__URI": spec.dataset.uri, "LABELWRIGHT__DATASET__TEST_URI": spec.dataset.test_uri}
    env = job_pods.variables({name: plain(value) for name, value in settings.items() if value is not None})
    container = job_pods.container(
        "fingerprint", images.trainer, args=["fingerprint"], env=env, storage=spec.storage,
        resources=job_pods.requested(images.job_resources), imagePullPolicy=images.pull_policy,
    )  # fmt: skip
    return _job(
        classifier, spec, container, name=names.check_name(classifier["metadata"]["name"], slot), component="dataset-check"
    )


def prune(classifier: Document, spec: TextClassifierSpec, images: Images, *, versions: tuple[str, ...]) -> Document:
    """Return the Job that deletes the files of these versions, or of all versions if none is named."""
    name = classifier["metadata"]["name"]
    args = ["prune", "--output-dir", spec.storage.uri, "--name", name, *(versions or ("--all",))]
    container = job_pods.container(
        "prune",
        images.trainer,
        args=args,
        env=[],
        storage=spec.storage,
        resources=job_pods.requested(images.job_resources),
        imagePullPolicy=images.pull_policy,
    )
    return _job(classifier, spec, container, name=names.prune_name(name, versions), component="prune")


def _job(classifier: Document, spec: TextClassifierSpec, container: Document, *, name: str, component: str) -> Document:
    labels = names.labels(component, classifier=classifier["metadata"]["name"])
    metadata, place = classifier["metadata"], job_pods.place(spec.serving.node_selector, spec.serving.tolerations)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "namespace": metadata["namespace"],
            "labels": labels,
            "ownerReferences": [owner(classifier)],
        },
        "spec": {
            "backoffLimit": MAINTENANCE_RETRIES,
            "activeDeadlineSeconds": TIMEOUT_SECONDS,
            "ttlSecondsAfterFinished": KEPT_SECONDS,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {"rules": pod_failure_policy_rules()},
            "template": {
                "metadata": {"labels": labels},
                "spec": job_pods.pod(container, storage=spec.storage, scratch="20Gi", **place),
            },
        },
    }
