"""A training by the manifests of k8s/manifests, as a user would edit them."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml

from model.artifact import MANIFEST, parse_manifest
from model.manifest import Manifest
from model.run_result import RunResult
from model.storage import ObjectStore
from tests.support.cluster.namespace import Document, Namespace, wait_until
from tests.support.encoders import FILLERS, WORDS, write_tiny_bert

MANIFESTS = Path(__file__).parents[3] / "k8s" / "manifests"
INDEX = "batch.kubernetes.io/job-completion-index"
PATIENCE = 300.0  # seconds for a small training, on a machine that does other things, too


def put_pets(bucket: ObjectStore) -> str:
    """The URI of sentences about animals, in the columns `text` and `label`."""
    random = np.random.default_rng(0)
    labels = [sorted(WORDS)[each] for each in random.integers(0, len(WORDS), 300)]
    words = ([*random.choice(FILLERS, 6), random.choice(WORDS[label]), number] for number, label in enumerate(labels))
    file = io.BytesIO()
    pl.DataFrame({"text": [" ".join(map(str, each)) for each in words], "label": labels}).write_parquet(file)
    bucket.write("datasets/pets.parquet", file.getvalue())
    return f"{bucket.uri}datasets/pets.parquet"


def put_encoder(bucket: ObjectStore, folder: Path) -> str:
    """The URI of an encoder that is small enough to be trained while a test waits, and not too small to be interrupted."""
    for path in sorted(write_tiny_bert(folder).iterdir()):
        bucket.upload(path, f"base/tiny/{path.name}")
    return f"{bucket.uri}base/tiny/"


def published(bucket: ObjectStore, version: str) -> Manifest:
    """The manifest of a version that a Job has left there."""
    return parse_manifest(bucket.read(f"trained/pets/{version}/{MANIFEST}"), where=version)


@dataclass(frozen=True)
class Job:
    """One training Job."""

    namespace: Namespace
    name: str
    manifest: str = "training-job.yaml"
    settings: dict[str, Any] = field(default_factory=dict)
    container: dict[str, Any] = field(default_factory=dict)
    job: dict[str, Any] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)

    def apply(self, image: str) -> None:
        """As in the manifest, but for names, image, resources, and what was given."""
        documents = [each for each in yaml.safe_load_all((MANIFESTS / self.manifest).read_text()) if each]
        for each in documents:
            self._edit(each, image)
        self.namespace.apply(documents)

    def _edit(self, document: Document, image: str) -> None:
        metadata = document["metadata"]
        if document["kind"] == "ConfigMap":
            metadata["name"] = f"{self.name}-training"
            document["data"]["training.yaml"] = json.dumps(self.settings)
        elif document["kind"] == "Service":
            metadata["name"] = document["spec"]["selector"]["batch.kubernetes.io/job-name"] = self.name
        elif document["kind"] == "NetworkPolicy":
            metadata["name"] = self.name
            (peers,) = document["spec"]["ingress"][0]["from"]
            for selector in (document["spec"]["podSelector"], peers["podSelector"]):
                selector["matchLabels"]["batch.kubernetes.io/job-name"] = self.name
        elif document["kind"] == "Job":
            self._edit_job(document, image)

    def _edit_job(self, document: Document, image: str) -> None:
        document["metadata"]["name"] = self.name
        document["spec"] |= self.job
        pod = document["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        container["image"] = image
        container["resources"] = {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "2Gi"}}
        container |= self.container
        container["env"] += [{"name": name, "value": value} for name, value in self.variables.items()]
        for volume in pod["volumes"]:
            if "configMap" in volume:
                volume["configMap"]["name"] = f"{self.name}-training"
        if "subdomain" in pod:
            pod["subdomain"] = self.name
            for variable in container["env"]:
                if variable["name"] == "PET_MASTER_ADDR":
                    variable["value"] = f"{self.name}-0.{self.name}"

    def pods(self) -> list[Document]:
        """The oldest first."""
        found = self.namespace.pods(f"batch.kubernetes.io/job-name={self.name}")
        return sorted(found, key=lambda pod: pod["metadata"]["creationTimestamp"])

    def condition(self) -> str | None:
        """`Complete` or `Failed`, once it is either."""
        job = self.namespace.get("job", self.name)
        found = [each["type"] for each in (job or {}).get("status", {}).get("conditions") or () if each["status"] == "True"]
        return next((each for each in found if each in ("Complete", "Failed")), None)

    def wait(self, *, seconds: float = PATIENCE) -> str:
        """Until it is over; how."""
        return str(wait_until(self.condition, f"the end of {self.name};", seconds=seconds, instead=self.describe))

    def running(self) -> Document | None:
        """The Pod that runs, if one does and is not on its way out."""
        pods = [each for each in self.pods() if each["status"]["phase"] == "Running"]
        return next((each for each in pods if "deletionTimestamp" not in each["metadata"]), None)

    def results(self) -> list[RunResult]:
        """What each Pod that has ended told in its termination message."""
        states = [each["status"].get("containerStatuses", [{}])[0].get("state", {}) for each in self.pods()]
        messages = [each["terminated"].get("message", "") for each in states if "terminated" in each]
        return [RunResult.model_validate_json(each) for each in messages if each]

    def logs(self) -> list[str]:
        """What the Pods that are still known have said."""
        return [self.namespace.log(each["metadata"]["name"], "trainer") for each in self.pods()]

    def log(self) -> str:
        """What the newest Pod has said."""
        return (self.logs() or [""])[-1]

    def lines(self) -> list[dict[str, Any]]:
        """The same, line by line."""
        return [json.loads(line) for line in self.log().splitlines() if line.startswith("{")]

    def losses(self) -> list[dict[int, float]]:
        """The loss by step, of each Pod that is still known."""
        said = [[json.loads(line) for line in log.splitlines() if line.startswith("{")] for log in self.logs()]
        return [{line["step"]: line["loss"] for line in lines if "loss" in line} for lines in said]

    def pod_of(self, place: int) -> str | None:
        """The newest Pod of that number of an Indexed Job."""
        found = [each["metadata"] for each in self.pods() if each["metadata"]["labels"].get(INDEX) == str(place)]
        return str(found[-1]["name"]) if found else None

    def log_of(self, place: int) -> str:
        """What that Pod has said."""
        pod = self.pod_of(place)
        return self.namespace.log(pod, "trainer") if pod else ""

    def newest(self) -> str:
        """The name of the Pod that was made last, none between two."""
        return str((self.pods() or [{"metadata": {"name": ""}}])[-1]["metadata"]["name"])

    def kill(self, *how: str) -> str:
        """Delete the Pod that runs; its name."""
        pod = wait_until(self.running, f"a Pod of {self.name};", seconds=PATIENCE, instead=self.describe)
        name = str(pod["metadata"]["name"])
        self.namespace.kubectl("delete", "pod", name, "--wait=false", *how)
        return name

    def describe(self) -> str:
        """For whoever reads a test that failed."""
        events = self.namespace.kubectl("get", "events", "--sort-by=.lastTimestamp")
        return "\n".join([*(text[-800:] for text in self.logs()[-2:]), events[-1500:]])

    def delete(self) -> None:
        """With its Pods."""
        self.namespace.kubectl("delete", "job", self.name, "--ignore-not-found", "--wait=false")
