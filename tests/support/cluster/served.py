"""A classifier that is served in the cluster by the manifests of k8s/manifests, as a user would patch them."""

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
PATIENCE = 120.0  # seconds for a Pod to start; it takes five where nothing else runs
SOURCE = "internal.serving.kserve.io/storage-initializer-sourceuri"


def documents(*, kind: str) -> list[Document]:
    """What the manifests hold of that kind."""
    found = [each for path in sorted(MANIFESTS.glob("*.yaml")) for each in yaml.safe_load_all(path.read_text())]
    return [each for each in found if each["kind"] == kind]


@dataclass(frozen=True)
class Served:
    """One InferenceService."""

    namespace: Namespace
    name: str

    def apply(self, version: str) -> None:
        """As in the manifests, but for the name and the version."""
        (document,) = documents(kind="InferenceService")
        document["metadata"]["name"] = self.name
        document["spec"]["predictor"]["model"]["storageUri"] = version
        self.namespace.apply([document])

    def patch(self, version: str) -> None:
        """What a user types to serve another version."""
        change = {"spec": {"predictor": {"model": {"storageUri": version}}}}
        self.namespace.kubectl("patch", "inferenceservice", self.name, "--type=merge", "--patch", json.dumps(change))

    def delete(self) -> None:
        self.namespace.kubectl("delete", "inferenceservice", self.name, "--wait=false")

    def pods(self) -> list[Document]:
        """Those of every version, those that are going too."""
        return self.namespace.pods(f"serving.kserve.io/inferenceservice={self.name}")

    def wait_for(self, version: str) -> None:
        """Until this version alone is served. The InferenceService would say so before: it does not look at the old Pods."""
        wait_until(lambda: self._is_rolled_out(version), f"{self.name} at {version}", seconds=PATIENCE, instead=self._state)
        wait_until(lambda: len(self.pods()) == 1, f"no Pods of other versions of {self.name}", seconds=PATIENCE)

    def _state(self) -> str:
        """What the containers wait for."""
        statuses = [pod["status"] for pod in self.pods()]
        kinds = ("initContainerStatuses", "containerStatuses")
        return json.dumps([each["state"] for status in statuses for kind in kinds for each in status.get(kind, [])])

    def _is_rolled_out(self, version: str) -> bool:
        found = self.namespace.get("deployment", f"{self.name}-predictor")
        if found is None or found["spec"]["template"]["metadata"]["annotations"].get(SOURCE) != version:
            return False
        status, wanted = found["status"], found["spec"]["replicas"]
        seen = found["metadata"]["generation"] == status.get("observedGeneration")
        return seen and all(status.get(each, 0) == wanted for each in ("replicas", "updatedReplicas", "availableReplicas"))

    @contextmanager
    def asked(self) -> Iterator[tuple[httpx.Client, str]]:
        """A client of its REST port, and the address of its gRPC port: those of one Pod that is ready."""
        service = f"service/{self.name}-predictor"
        with self.namespace.forwarded(service, 80, 8081) as (rest, grpc), httpx.Client(base_url=f"http://{rest}") as client:
            yield client, grpc
