"""Classifier served in the cluster by the manifests of k8s/manifests, patched as by a user."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import yaml

from tests.support.cluster.namespace import Document, Namespace, wait_until

MANIFESTS = Path(__file__).parents[3] / "k8s" / "manifests"
MAX_START_SECONDS = 120.0  # of a Pod; it takes five on an idle machine
SOURCE = "internal.serving.kserve.io/storage-initializer-sourceuri"


def documents(*, kind: str) -> list[Document]:
    """Return the documents of a kind in the manifests."""
    documents = [each for path in sorted(MANIFESTS.glob("*.yaml")) for each in yaml.safe_load_all(path.read_text())]
    return [each for each in documents if each["kind"] == kind]


@dataclass(frozen=True)
class Served:
    """InferenceService in a namespace."""

    namespace: Namespace
    name: str

    def apply(self, version: str) -> None:
        """Apply the manifest with this name and version."""
        (document,) = documents(kind="InferenceService")
        document["metadata"]["name"] = self.name
        document["spec"]["predictor"]["model"]["storageUri"] = version
        self.namespace.apply([document])

    def patch(self, version: str) -> None:
        """Patch the InferenceService to serve another version, as a user does."""
        change = {"spec": {"predictor": {"model": {"storageUri": version}}}}
        self.namespace.kubectl("patch", "inferenceservice", self.name, "--type=merge", "--patch", json.dumps(change))

    def delete(self) -> None:
        self.namespace.kubectl("delete", "inferenceservice", self.name, "--wait=false")

    def pods(self) -> list[Document]:
        """Return the Pods of all versions, including those that are being deleted."""
        return self.namespace.pods(f"serving.kserve.io/inferenceservice={self.name}")

    def wait_for(self, version: str) -> None:
        """Wait until only this version is served. The InferenceService is ready earlier, since it ignores the old Pods."""
        wait_until(
            lambda: self._is_rolled_out(version), f"{self.name} at {version}", seconds=MAX_START_SECONDS, instead=self._state
        )
        wait_until(lambda: len(self.pods()) == 1, f"no Pods of other versions of {self.name}", seconds=MAX_START_SECONDS)

    def _state(self) -> str:
        """Return the reasons for which the containers wait."""
        statuses = [pod["status"] for pod in self.pods()]
        kinds = ("initContainerStatuses", "containerStatuses")
        return json.dumps([each["state"] for status in statuses for kind in kinds for each in status.get(kind, [])])

    def _is_rolled_out(self, version: str) -> bool:
        deployment = self.namespace.get("deployment", f"{self.name}-predictor")
        if deployment is None or deployment["spec"]["template"]["metadata"]["annotations"].get(SOURCE) != version:
            return False
        status, wanted = deployment["status"], deployment["spec"]["replicas"]
        seen = deployment["metadata"]["generation"] == status.get("observedGeneration")
        return seen and all(status.get(each, 0) == wanted for each in ("replicas", "updatedReplicas", "availableReplicas"))

    @contextmanager
    def asked(self) -> Iterator[tuple[httpx.Client, str]]:
        """Yield a client of the REST port, and the address of the gRPC port, of one ready Pod."""
        service = f"service/{self.name}-predictor"
        with self.namespace.forwarded(service, 80, 8081) as (rest, grpc), httpx.Client(base_url=f"http://{rest}") as client:
            yield client, grpc
