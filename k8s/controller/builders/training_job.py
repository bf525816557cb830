"""Job of a TrainingRun, with its spec as the trainer's settings."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from k8s.controller.api.v1alpha1 import GateSpec, ResourcesSpec, TrainingRunSpec, TrainingSpec, parse_duration
from k8s.controller.builders import job_pods
from k8s.controller.builders.pod_retries import TRAINING_RETRIES_PER_NODE, pod_failure_policy_rules
from k8s.controller.objects import names
from k8s.controller.objects.documents import owner
from k8s.controller.objects.kinds import Document
from k8s.controller.objects.ports import RENDEZVOUS_PORT, TRAINER_METRICS_PORT

KEPT_SECONDS = 7 * 24 * 3600  # ended Jobs and their Pods are kept for this long
SURROGATES = re.compile(r"\\ud[89ab]..\\ud[c-f]..")
GPU = "nvidia.com/gpu"


# Resources of a training whose spec has none. No CPU limit: it would leave cores of the node unused.
TRAINING_RESOURCES = ResourcesSpec(requests={"cpu": "500m", "memory": "1Gi"}, limits={"memory": "8Gi"})
# With a CPU limit, since a quota on limits.cpu refuses Pods without one.
JOB_RESOURCES = ResourcesSpec(requests={"cpu": "100m", "memory": "128Mi"}, limits={"cpu": "1", "memory": "1Gi"})


@dataclass(frozen=True)
class Images:
    """Images, and default resources of trainings and of maintenance Jobs."""

    trainer: str
    predictor: str
    pull_policy: str = "IfNotPresent"
    training_resources: ResourcesSpec = TRAINING_RESOURCES
    job_resources: ResourcesSpec = JOB_RESOURCES


def training_job(run: Document, spec: TrainingRunSpec, images: Images) -> Document:
    """Return the Job of a run whose spec is complete. It has the name of the run and of the version."""
    name, training = run["metadata"]["name"], spec.training or TrainingSpec()
    assert spec.storage is not None  # noqa: S101 - complete
    labels = names.labels("trainer", classifier=spec.classifier)
    container = job_pods.container(
        "trainer",
        images.trainer,
        args=["train"],
        env=[*job_pods.variables(_settings(name, spec)), *(_peers(name, training) if training.nodes > 1 else [])],
        storage=spec.storage,
        imagePullPolicy=images.pull_policy,
        ports=[{"name": "metrics", "containerPort": TRAINER_METRICS_PORT}],
        resources=job_pods.requested(training.resources) or job_pods.requested(images.training_resources),
    )
    scrape = {"prometheus.io/scrape": "true", "prometheus.io/port": str(TRAINER_METRICS_PORT), "prometheus.io/path": "/metrics"}
    place: Document = {
        **job_pods.place(training.node_selector, training.tolerations),
        # Time to upload a last checkpoint.
        "terminationGracePeriodSeconds": 180,
    }
    if training.nodes > 1:
        place["subdomain"] = name
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": run["metadata"]["namespace"], "labels": labels, "ownerReferences": [owner(run)]},
        "spec": {
            **_number_of_pods(training.nodes),
            "activeDeadlineSeconds": round(parse_duration(training.timeout)),
            "ttlSecondsAfterFinished": KEPT_SECONDS,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {"rules": pod_failure_policy_rules()},
            "template": {
                "metadata": {"labels": labels, "annotations": scrape},
                "spec": job_pods.pod(container, storage=spec.storage, scratch="20Gi", **place),
            },
        },
    }


def headless_service(run: Document, spec: TrainingRunSpec) -> Document:
    """Return the headless Service that gives each Pod of a training on several nodes a name."""
    name = run["metadata"]["name"]
    labels = names.labels("trainer", classifier=spec.classifier)
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": run["metadata"]["namespace"], "labels": labels, "ownerReferences": [owner(run)]},
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,  # Pods connect to each other before they are ready
            "selector": {"batch.kubernetes.io/job-name": name},
        },
    }


def peer_network_policy(run: Document, spec: TrainingRunSpec) -> Document:
    """NetworkPolicy of a training on several nodes: peers trust each other, so only Pods of the same Job may connect.

    All ports, since gloo and NCCL listen on ports that the kernel chooses. Prometheus keeps the metrics port.
    """
    name = run["metadata"]["name"]
    labels = names.labels("trainer", classifier=spec.classifier)
    pods_of_the_job = {"matchLabels": {"batch.kubernetes.io/job-name": name}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": run["metadata"]["namespace"], "labels": labels, "ownerReferences": [owner(run)]},
        "spec": {
            "podSelector": pods_of_the_job,
            "policyTypes": ["Ingress"],
            "ingress": [
                {"from": [{"podSelector": pods_of_the_job}]},
                {"ports": [{"protocol": "TCP", "port": TRAINER_METRICS_PORT}]},
            ],
        },
    }


def _number_of_pods(nodes: int) -> Document:
    if nodes == 1:
        return {"backoffLimit": TRAINING_RETRIES_PER_NODE}
    retries = TRAINING_RETRIES_PER_NODE * nodes
    return {"completionMode": "Indexed", "completions": nodes, "parallelism": nodes, "backoffLimit": retries}


def _settings(name: str, spec: TrainingRunSpec) -> dict[str, str]:
    """Return the settings as variables. The trainer reads each value as YAML, which contains JSON; None is not set."""
    return {
        f"LABELWRIGHT__{setting.upper().replace('.', '__')}": plain(value)
        for setting, value in trainer_settings(name, spec).items()
        if value is not None
    }


def plain(value: Any) -> str:
    """Return the value as JSON that is also YAML: YAML has no surrogate pairs, so such a character gets one escape."""
    return SURROGATES.sub(lambda pair: f"\\U{ord(json.loads(chr(34) + pair[0] + chr(34))):08x}", json.dumps(value))


def trainer_settings(name: str, spec: TrainingRunSpec) -> dict[str, Any]:
    """Return the run's spec by the trainer's names of settings; None: the trainer's default."""
    dataset, training, gate, storage = spec.dataset, spec.training or TrainingSpec(), spec.gate or GateSpec(), spec.storage
    assert dataset is not None and storage is not None  # noqa: S101, PT018 - complete
    columns = list(dataset.label_columns or ()) or ([dataset.label_column] if dataset.label_column else None)
    return {
        "name": spec.classifier,
        "version": name,
        "output_dir": storage.uri,
        "progress.metrics_port": TRAINER_METRICS_PORT,
        **dataset_settings(spec),
        "dataset.corrections": dataset.corrections,
        "dataset.label_columns": columns,
        "dataset.label_separator": dataset.label_separator,
        "dataset.label_required": dataset.label_required,
        "dataset.aliases": dataset.aliases or None,
        "dataset.sample_count": dataset.sample_count,
        "dataset.minimum_examples": dataset.minimum_examples,
        "training.architecture": training.architecture,
        "training.base_model": training.base_model,
        "training.num_epochs": training.epochs,
        "training.batch_size": training.batch_size,
        "training.learning_rate": training.learning_rate,
        "training.max_length": training.max_length,
        "training.seed": training.seed,
        "balance.sampling": training.balance.strategy,
        "balance.threshold": training.balance.threshold,
        "balance.oversample_share": training.balance.share,
        "balance.loss": training.balance.loss,
        "gate.score": gate.score,
        "gate.minimum": gate.minimum,
        "gate.tolerance": gate.tolerance,
        "gate.served_may_fall": gate.served_may_fall,
        "gate.served_uri": spec.served.uri if spec.served else None,
        "gate.served_manifest_sha256": spec.served.manifest_sha256 if spec.served else None,
        "tracking.uri": training.tracking.uri,
        "tracking.experiment": training.tracking.experiment,
    }


def dataset_settings(spec: TrainingRunSpec) -> dict[str, Any]:
    """Return the settings of the dataset's location and text columns."""
    assert spec.dataset is not None  # noqa: S101 - complete
    return {
        "dataset.uri": spec.dataset.uri,
        "dataset.test_uri": spec.dataset.test_uri,
        "dataset.text_columns": list(spec.dataset.text_columns),
    }


def _peers(name: str, training: TrainingSpec) -> list[Document]:
    """Return torchrun's variables: number of nodes, rank of this node, address of the first."""
    gpus = str(training.resources.limits.get(GPU, 1))
    index = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
    return [
        *job_pods.variables({"PET_NNODES": str(training.nodes), "PET_NPROC_PER_NODE": gpus}),
        {"name": "PET_NODE_RANK", "valueFrom": {"fieldRef": {"fieldPath": index}}},
        *job_pods.variables({"PET_MASTER_ADDR": f"{name}-0.{name}", "PET_MASTER_PORT": str(RENDEZVOUS_PORT)}),
    ]
