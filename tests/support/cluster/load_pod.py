"""A Pod that sends requests to a classifier all the time: load.py, as any client in the cluster."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.support.cluster.namespace import Document, Namespace, wait_until

SCRIPT = Path(__file__).with_name("load.py")
POD = Path(__file__).parents[2] / "cluster/load.yaml"
TIMEOUT_SECONDS = 180.0  # until every way is answered, on a busy machine


def start_load(place: Namespace, classifier: str, *, image: str) -> None:
    """Start the Pod `load`, which sends requests to that classifier of the namespace in every way. image: the predictor's."""
    (pod,) = yaml.safe_load_all(POD.read_text())
    container = pod["spec"]["containers"][0]
    container["image"] = image
    container["command"] += [f"{classifier}-predictor", classifier]
    script = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "load"}, "data": {"load.py": SCRIPT.read_text()}}
    place.apply([script, pod])


@dataclass(frozen=True)
class Asking:
    """Pod that `start_load` has started."""

    namespace: Namespace

    def wait(self) -> None:
        """Wait until requests over every protocol are answered."""
        wait_until(lambda: self.answers() and all(self.answers().values()), "every way is answered", seconds=TIMEOUT_SECONDS)

    def answers(self) -> dict[str, dict[str, int]]:
        """Return the number of responses by protocol and version."""
        return dict(self._said().get("answers", {}))

    def failures(self) -> list[str]:
        """Return the first failures since its start."""
        return list(self._said().get("failures", []))

    def stop(self) -> None:
        self.namespace.kubectl("exec", "load", "--", "touch", "/tmp/stop")
        self.namespace.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/load", "--timeout=60s")

    def _said(self) -> Document:
        lines = self.namespace.log("load", "load").splitlines()
        return dict(json.loads(lines[-1])) if lines else {}
