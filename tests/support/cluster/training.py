"""Training Job from the manifests of k8s/manifests, edited as by a user."""

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
TIMEOUT_SECONDS = 900.0  # so that a training on a busy machine ends


def put_pets(bucket: ObjectStore) -> str:
    """Write sentences about animals, with the columns `text` and `label`, and return their URI."""
    random = np.random.default_rng(0)
    labels = [sorted(WORDS)[each] for each in random.integers(0, len(WORDS), 300)]
    words = ([*random.choice(FILLERS, 6), random.choice(WORDS[label]), number] for number, label in enumerate(labels))
    file = io.BytesIO()
    pl.DataFrame({"text": [" ".join(map(str, each)) for each in words], "label": labels}).write_parquet(file)
    bucket.write("datasets/pets.parquet", file.getvalue())
    return f"{bucket.uri}datasets/pets.parquet"


def put_encoder(bucket: ObjectStore, folder: Path) -> str:
    """Write an encoder and return its URI: small enough to be trained in a test, large enough to be interrupted."""
    for path in sorted(write_tiny_bert(folder).iterdir()):
        bucket.upload(path, f"base/tiny/{path.name}")
    return f"{bucket.uri}base/tiny/"


def published(bucket: ObjectStore, version: str) -> Manifest:
    """Return the manifest of a published version."""
    return parse_manifest(bucket.read(f"trained/pets/{version}/{MANIFEST}"), where=version)


@dataclass(frozen=True)
class Job:
    """Training Job in a namespace."""

    namespace: Namespace
    name: str
    manifest: str = "training-job.yaml"
    settings: dict[str, Any] = field(default_factory=dict)
    container: dict[str, Any] = field(default_factory=dict)
    job: dict[str, Any] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)

    def apply(self, image: str) -> None:
        """Apply the manifest with this Job's name, image, resources and settings."""
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
        """Return its Pods, oldest first."""
        pods = self.namespace.pods(f"batch.kubernetes.io/job-name={self.name}")
        return sorted(pods, key=lambda pod: pod["metadata"]["creationTimestamp"])

    def condition(self) -> str | None:
        """Return `Complete` or `Failed` after its end, None before."""
        job = self.namespace.get("job", self.name)
        types = [each["type"] for each in (job or {}).get("status", {}).get("conditions") or () if each["status"] == "True"]
        return next((each for each in types if each in ("Complete", "Failed")), None)

    def wait(self, *, seconds: float = TIMEOUT_SECONDS) -> str:
        """Wait for its end, and return `Complete` or `Failed`."""
        return str(wait_until(self.condition, f"the end of {self.name};", seconds=seconds, instead=self.describe))

    def running(self) -> Document | None:
        """Return a running Pod that is not being deleted, if there is one."""
        pods = [each for each in self.pods() if each["status"]["phase"] == "Running"]
        return next((each for each in pods if "deletionTimestamp" not in each["metadata"]), None)

    def results(self) -> list[RunResult]:
        """Return the results in the termination messages of its ended Pods."""
        states = [each["status"].get("containerStatuses", [{}])[0].get("state", {}) for each in self.pods()]
        messages = [each["terminated"].get("message", "") for each in states if "terminated" in each]
        return [RunResult.model_validate_json(each) for each in messages if each]

    def logs(self) -> list[str]:
        """Return the logs of all its existing Pods."""
        return [self.namespace.log(each["metadata"]["name"], "trainer") for each in self.pods()]

    def log(self) -> str:
        """Return the log of its newest Pod."""
        return (self.logs() or [""])[-1]

    def lines(self) -> list[dict[str, Any]]:
        """Return the log of its newest Pod as JSON, line by line."""
        return [json.loads(line) for line in self.log().splitlines() if line.startswith("{")]

    def losses(self) -> list[dict[int, float]]:
        """Return the loss by step, for each of its existing Pods."""
        said = [[json.loads(line) for line in log.splitlines() if line.startswith("{")] for log in self.logs()]
        return [{line["step"]: line["loss"] for line in lines if "loss" in line} for lines in said]

    def pod_of(self, index: int) -> str | None:
        """Return the name of the newest Pod with this index of an Indexed Job."""
        pods = [each["metadata"] for each in self.pods() if each["metadata"]["labels"].get(INDEX) == str(index)]
        return str(pods[-1]["name"]) if pods else None

    def log_of(self, index: int) -> str:
        """Return the log of the newest Pod with this index."""
        pod = self.pod_of(index)
        return self.namespace.log(pod, "trainer") if pod else ""

    def newest(self) -> str:
        """Return the name of the newest Pod; an empty string if there is none."""
        return str((self.pods() or [{"metadata": {"name": ""}}])[-1]["metadata"]["name"])

    def kill(self, *how: str) -> str:
        """Delete the running Pod, and return its name."""
        pod = wait_until(self.running, f"a Pod of {self.name};", seconds=TIMEOUT_SECONDS, instead=self.describe)
        name = str(pod["metadata"]["name"])
        self.namespace.kubectl("delete", "pod", name, "--wait=false", *how)
        return name

    def describe(self) -> str:
        """Return the state, for the message of a failed test."""
        events = self.namespace.kubectl("get", "events", "--sort-by=.lastTimestamp")
        return "\n".join([*(text[-800:] for text in self.logs()[-2:]), events[-1500:]])

    def delete(self) -> None:
        """Delete the Job and its Pods."""
        self.namespace.kubectl("delete", "job", self.name, "--ignore-not-found", "--wait=false")
