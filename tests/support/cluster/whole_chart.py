"""A release of the whole chart on the cluster, with MLflow, the gateway and the demo's classifier."""

from __future__ import annotations

import subprocess

from tests.support.cluster.namespace import Namespace

RELEASE, FULL, CLASSIFIER = "lw", "lw-labelwright", "docstrings"
# The tests' images have no digest.
VALUES: dict[str, object] = {
    "crds.enabled": False,
    "demo.enabled": True,
    "mlflow.kind": "managed",
    "gateway.enabled": True,
    "gateway.worker.replicas": 2,
    # A task of a worker that was killed is taken over after a lease.
    "gateway.settings": {"lease_seconds": 20, "request_seconds": 15},
    "prometheus.scrapeInterval": "2s",
    "storage.minio.image.digest": "",
    "valkey.image.digest": "",
    "prometheus.image.digest": "",
    "grafana.image.digest": "",
    "storage.persistence.size": "1Gi",
    "prometheus.persistence.size": "1Gi",
    "mlflow.persistence.size": "1Gi",
    "valkey.persistence.size": "1Gi",
    # A small node has room for it.
    "demo.training.resources": {"requests": {"cpu": "100m", "memory": "512Mi"}, "limits": {"memory": "3Gi"}},
}


def helm(place: Namespace, *arguments: str) -> str:
    """Run helm in that namespace, and return what it prints. Raises AssertionError with the state of the namespace."""
    done = subprocess.run(
        ["helm", *arguments, f"--namespace={place.name}"], capture_output=True, text=True, check=False, timeout=1200
    )
    assert done.returncode == 0, f"{done.stderr}\n{place.kubectl('get', 'pods,jobs,textclassifiers', '--output=wide')}"
    return done.stdout
