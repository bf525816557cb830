"""Pods that the controller has made and that Prometheus scrapes, as its HTTP service discovery reads them.

So Prometheus needs no access to the API server.
"""

from __future__ import annotations

from typing import TypedDict

from k8s.controller.clients.kubernetes import POD, Cluster
from k8s.controller.objects.names import MANAGER
from k8s.controller.objects.ports import PREDICTOR_HTTP_PORT, TRAINER_METRICS_PORT

# Port of /metrics by component.
SCRAPED = {"predictor": PREDICTOR_HTTP_PORT, "trainer": TRAINER_METRICS_PORT}


class ScrapeTarget(TypedDict):
    """Addresses (host:port) with the labels of their series."""

    targets: list[str]
    labels: dict[str, str]


def scrape_targets(cluster: Cluster, namespaces: tuple[str, ...], component: str) -> list[ScrapeTarget]:
    """Return the running Pods of a component of SCRAPED in these namespaces, or in all if there are none.

    Raises ClusterError if the API server does not answer.
    """
    labels = {"app.kubernetes.io/managed-by": MANAGER, "app.kubernetes.io/component": component}
    pods = [pod for each in namespaces or ("",) for pod in cluster.list(POD, each, labels=labels)]
    return [
        {
            "targets": [f"{_host(pod['status']['podIP'])}:{SCRAPED[component]}"],
            "labels": {"namespace": pod["metadata"]["namespace"], "pod": pod["metadata"]["name"]},
        }
        for pod in pods
        if pod.get("status", {}).get("phase") == "Running" and pod["status"].get("podIP")
    ]


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address
