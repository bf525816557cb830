"""ManagedClassifier managed by the controller, and the controller's release, as a user handles them."""

from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl

from model.storage import ObjectStore, open_store
from tests.support.cluster.namespace import Document, Namespace, wait_until
from tests.support.cluster.served import Served
from tests.support.encoders import FILLERS, WORDS

ROOT = Path(__file__).parents[3]
CHART = ROOT / "charts" / "labelwright"
MANIFESTS = ROOT / "k8s" / "manifests" / "controller"
CLASSIFIER, RUN = "textclassifiers.labelwright.dev", "trainingruns.labelwright.dev"
API = "labelwright.dev/v1alpha1"
STORAGE = "s3://models/trained"
SECRET = "object-storage"
LABEL = "labelwright.dev/classifier"
TIMEOUT_SECONDS = 180.0  # of a training and a rollout, on a busy machine
# A process may not kill the first of its own namespace: the Pod's processes share one, whose first is another.
KILL = """
import os, pathlib
for each in pathlib.Path("/proc").glob("[0-9]*"):
    if b"\\0k8s.controller\\0" in (each / "cmdline").read_bytes():
        os.kill(int(each.name), 9)
"""


def put_texts(bucket: ObjectStore, key: str, *, wrong: float = 0.0) -> str:
    """Write 600 sentences about animals, and return their URI. wrong: share of them with a random label."""
    random = np.random.default_rng(0)
    kinds = sorted(WORDS)
    true, other = random.integers(0, len(kinds), (2, 600))
    words = ([*random.choice(FILLERS, 6), random.choice(WORDS[kinds[kind]]), at] for at, kind in enumerate(true))
    labels = np.where(random.random(600) < wrong, other, true)
    file = io.BytesIO()
    texts = [" ".join(map(str, each)) for each in words]
    pl.DataFrame({"text": texts, "label": [kinds[each] for each in labels]}).write_parquet(file)
    bucket.write(f"datasets/{key}", file.getvalue())
    return f"{bucket.uri}datasets/{key}"


def spec(dataset: str, **others: Any) -> Document:
    """Return a spec for these texts."""
    return {
        "dataset": {"uri": dataset, "textColumns": ["text"], "labelColumn": "label"},
        "training": {
            "architecture": "linear",
            "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "2Gi"}},
        },
        "gate": {"minimum": 0.5},
        "storage": {"uri": STORAGE, "secretName": SECRET},
        **others,
    }


@dataclass(frozen=True)
class ManagedClassifier:
    """TextClassifier in a namespace."""

    namespace: Namespace
    name: str

    def apply(self, wanted: Document) -> None:
        self.namespace.apply([self.document(wanted)])

    def document(self, wanted: Document) -> Document:
        """Return the document, as in a user's file."""
        return {"apiVersion": API, "kind": "TextClassifier", "metadata": {"name": self.name}, "spec": wanted}

    def patch(self, **change: Any) -> None:
        """Change fields of the spec; None removes a field."""
        self.namespace.kubectl("patch", CLASSIFIER, self.name, "--type=merge", "--patch", json.dumps({"spec": change}))

    def delete(self) -> None:
        self.namespace.kubectl("delete", CLASSIFIER, self.name, "--ignore-not-found", "--wait=false")

    @property
    def served(self) -> Served:
        """InferenceService of the classifier."""
        return Served(self.namespace, self.name)

    def status(self) -> Document:
        return dict((self.namespace.get(CLASSIFIER, self.name) or {}).get("status") or {})

    def condition(self, kind: str) -> Document:
        return next((each for each in self.status().get("conditions") or () if each["type"] == kind), {})

    def runs(self) -> list[Document]:
        """Return its TrainingRuns, oldest first."""
        return sorted(self.made(RUN), key=lambda run: (run["metadata"]["creationTimestamp"], run["metadata"]["name"]))

    def run(self, name: str) -> Document:
        """Return the status of a TrainingRun; {} if there is none."""
        return dict((self.namespace.get(RUN, name) or {}).get("status") or {})

    def made(self, kind: str) -> list[Document]:
        """Return the objects of a kind that the controller created for it."""
        listed = self.namespace.kubectl("get", kind, "--selector", f"{LABEL}={self.name}", "--output=json")
        return list(json.loads(listed)["items"])

    def wait_for(self, true: Callable[[Document], Any], what: str, *, seconds: float = TIMEOUT_SECONDS) -> Any:
        """Wait until `true` of its status."""
        return wait_until(lambda: true(self.status()), f"{what};", seconds=seconds, instead=self.describe)

    def wait_for_another(self, before: str | None) -> str:
        """Wait until another version is served and nothing is in progress; return its name."""
        return str(self.wait_for(lambda now: is_settled(now) and now["version"] != before and now["version"], f"not {before}"))

    def wait_until_served(self, version: str) -> None:
        self.wait_for(lambda now: is_settled(now) and now["version"] == version, f"{version} is served")

    def wait_for_run(self, *states: str, other_than: str = "") -> str:
        """Wait until the newest run, other than `other_than`, is in one of these states; return its name."""

        def newest(now: Document) -> str | None:
            name = now.get("latestRun")
            return name if name and name != other_than and self.run(name).get("state") in states else None

        return str(self.wait_for(newest, f"a run is {' or '.join(states)}"))

    def is_ready(self) -> bool:
        """Return whether Pods of its present InferenceService are ready, not of a previous one."""
        services, deployment = self.made("inferenceservices"), self.namespace.get("deployment", f"{self.name}-predictor") or {}
        owners = [each["uid"] for each in deployment.get("metadata", {}).get("ownerReferences", ())]
        ready = deployment.get("status", {}).get("availableReplicas", 0)
        return bool(ready) and owners == [each["metadata"]["uid"] for each in services]

    def versions(self) -> set[str]:
        """Return the versions in the storage."""
        return {each.key.partition("/")[0] for each in open_store(f"{STORAGE}/{self.name}/").list()}

    def answer(self, text: str) -> tuple[list[str], str]:
        """Send a text over v2; return its labels and the version. Raises AssertionError or HTTPError."""
        tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "data": [text]}
        with self.served.asked() as (http, _):
            said = http.post(f"/v2/models/{self.name}/infer", json={"inputs": [tensor]}).raise_for_status().json()
        return said["outputs"][0]["data"], said["model_version"]

    def describe(self) -> str:
        """Return the state, for the message of a failed test."""
        runs = {each["metadata"]["name"]: [(each.get("status") or {}).get(it) for it in RUN_FIELDS] for each in self.runs()}
        pods = [(each["metadata"]["name"], each["status"]["phase"]) for each in self.namespace.pods("")]
        events = self.namespace.kubectl("get", "events", "--sort-by=.lastTimestamp").splitlines()[-8:]
        return "\n".join([json.dumps(self.status(), indent=1), json.dumps(runs), json.dumps(pods), *events])


RUN_FIELDS = ("state", "message")


def is_settled(status: Document) -> bool:
    return bool(status.get("version")) and not status.get("rollout") and not status.get("activeRun")


class ControllerRelease:
    """Release of the chart in a namespace."""

    def __init__(self, namespace: Namespace, name: str = "labelwright") -> None:
        self._namespace = namespace
        self._release = name
        self.deployment = f"{name}-controller"

    def install(self, values: Mapping[str, Any]) -> None:
        """Install the release, and wait until it runs."""
        self._helm("install", self._release, str(CHART), *_given(values))
        self._wait()

    def let_it_be_killed(self) -> None:
        """Share the process namespace of its Pods, which `kill` needs, and wait until they run."""
        shared = {"spec": {"template": {"spec": {"shareProcessNamespace": True}}}}
        self._namespace.kubectl("patch", "deployment", self.deployment, "--patch", json.dumps(shared))
        self._wait()

    def upgrade(self, values: Mapping[str, Any]) -> None:
        """Change these values of the release, and wait until it runs."""
        self._helm("upgrade", self._release, str(CHART), "--reuse-values", *_given(values))
        self._wait()

    def uninstall(self) -> None:
        self._helm("uninstall", self._release, "--wait")

    def pods(self) -> list[str]:
        """Return the names of its running Pods."""
        pods = self._namespace.pods(f"app.kubernetes.io/instance={self._release},app.kubernetes.io/component=controller")
        return [each["metadata"]["name"] for each in pods if each["status"]["phase"] == "Running"]

    def leader(self) -> str:
        """Return the name of the leader's Pod."""
        leases = json.loads(self._namespace.kubectl("get", "leases", "--output=json"))["items"]
        holders = [each["spec"].get("holderIdentity") or "" for each in leases]
        return next(pod for pod in self.pods() for holder in holders if holder.startswith(pod))

    def kill(self, pod: str) -> None:
        """Kill the controller in a Pod with SIGKILL; the kubelet starts it again."""
        self._namespace.kubectl("exec", pod, "--", "python", "-c", KILL)

    def log(self) -> str:
        """Return the logs of its Pods since their last start."""
        return "\n".join(self._namespace.log(pod, "controller") for pod in self.pods())

    def _wait(self) -> None:
        self._namespace.kubectl("rollout", "status", f"deployment/{self.deployment}", f"--timeout={TIMEOUT_SECONDS:g}s")

    def _helm(self, *arguments: str) -> None:
        command = ["helm", *arguments, f"--namespace={self._namespace.name}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_SECONDS)
        assert done.returncode == 0, done.stderr


def _given(values: Mapping[str, Any]) -> list[str]:
    return [f"--set-json={path}={json.dumps(value)}" for path, value in values.items()]


def is_answered(classifier: ManagedClassifier, text: str) -> list[str]:
    """Return the labels of a text; an empty list while there is no response."""
    try:
        return classifier.answer(text)[0]
    except (AssertionError, httpx.HTTPError):
        return []
