"""Pods that send requests all the time, as any client in the cluster: load.py to a classifier, tasks.py to the gateway."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.support.cluster.namespace import Document, Namespace, wait_until

SCRIPTS = Path(__file__).parent
POD = Path(__file__).parents[2] / "cluster/load.yaml"
TIMEOUT_SECONDS = 180.0  # until every way is answered, on a busy machine


def start_load(place: Namespace, classifier: str, *, image: str) -> None:
    """Start the Pod `load`, which sends requests to that classifier of the namespace in every way. image: the predictor's."""
    _start(place, "load", [f"{classifier}-predictor", classifier], image=image)


def start_tasks(place: Namespace, classifier: str, *, gateway: str, image: str) -> None:
    """Start the Pod `tasks`, which submits texts for that classifier to the gateway of that name. image: the predictor's."""
    token = {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": f"{gateway}-keys", "key": "token"}}}
    _start(place, "tasks", [gateway, f"{classifier}-predictor", classifier], image=image, env=[token])


def _start(place: Namespace, name: str, arguments: Sequence[str], *, image: str, env: Sequence[Document] = ()) -> None:
    """Start the Pod of load.yaml with the script of that name."""
    (pod,) = yaml.safe_load_all(POD.read_text())
    pod["metadata"]["name"] = name
    (container,) = pod["spec"]["containers"]
    container |= {"name": name, "image": image, "command": ["python", f"/load/{name}.py", *arguments], "env": list(env)}
    pod["spec"]["volumes"][0]["configMap"]["name"] = name
    script = (SCRIPTS / f"{name}.py").read_text()
    place.apply([{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {f"{name}.py": script}}, pod])


@dataclass(frozen=True)
class Asking:
    """Pod that `start_load` or `start_tasks` has started."""

    namespace: Namespace
    pod: str = "load"

    def wait(self) -> None:
        """Wait until requests over every protocol are answered."""
        wait_until(lambda: self.answers() and all(self.answers().values()), "every way is answered", seconds=TIMEOUT_SECONDS)

    def answers(self) -> dict[str, dict[str, int]]:
        """Return the number of responses by protocol and version."""
        return dict(self.said().get("answers", {}))

    def failures(self) -> list[str]:
        """Return the first failures since its start."""
        return list(self.said().get("failures", []))

    def stop(self, *, seconds: float = 60) -> None:
        """Let it end what it has begun, and wait for that."""
        self.namespace.kubectl("exec", self.pod, "--", "touch", "/tmp/stop")
        self.namespace.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", f"pod/{self.pod}", f"--timeout={seconds:g}s")

    def said(self) -> Document:
        """Return its latest line."""
        lines = self.namespace.log(self.pod, self.pod).splitlines()
        return dict(json.loads(lines[-1])) if lines else {}
