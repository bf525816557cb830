"""Namespace of the cluster, through kubectl."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

Document = dict[str, Any]


@dataclass(frozen=True)
class Namespace:
    """Namespace of a test; it is deleted with everything in it."""

    name: str

    def kubectl(self, *arguments: str, given: str | None = None) -> str:
        """Run kubectl and return its output. Raises AssertionError with its error if it fails."""
        done = self._kubectl(*arguments, given=given)
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr.strip()}"
        return done.stdout

    def apply(self, documents: Sequence[Document]) -> None:
        self.kubectl("apply", "-f", "-", given=json.dumps({"apiVersion": "v1", "kind": "List", "items": documents}))

    def get(self, kind: str, name: str) -> Document | None:
        """Return an object; None if it does not exist."""
        document: Document = json.loads(self.kubectl("get", kind, name, "--ignore-not-found", "--output=json") or "null")
        return document

    def pods(self, selector: str) -> list[Document]:
        pods: list[Document] = json.loads(self.kubectl("get", "pods", "--selector", selector, "--output=json"))["items"]
        return pods

    def log(self, pod: str, container: str) -> str:
        """Return a container's log since its last start; an empty string if there is none."""
        done = self._kubectl("logs", pod, "--container", container)
        return done.stdout if done.returncode == 0 else ""

    def _kubectl(self, *arguments: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
        command = ["kubectl", "--namespace", self.name, *arguments]
        return subprocess.run(command, input=given, capture_output=True, text=True, check=False, timeout=120)

    @contextmanager
    def forwarded(self, target: str, *ports: int) -> Iterator[list[str]]:
        """Forward the target's ports, and yield `127.0.0.1:<port>` for each."""
        command = ["kubectl", "--namespace", self.name, "port-forward", target, *(f":{port}" for port in ports)]
        with ExitStack() as stack:
            process = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            stack.callback(process.terminate)
            assert process.stdout is not None
            addresses: list[str] = []
            while len(addresses) < len(ports):
                line = process.stdout.readline()
                assert line, f"{' '.join(command)} ended"
                addresses += re.findall(r"Forwarding from (127\.0\.0\.1:\d+)", line)
            yield addresses


def wait_until(true: Callable[[], Any], what: str, *, seconds: float, instead: Callable[[], str] = str) -> Any:
    """Return the first true result of `true`. Raises AssertionError with `what` it waited for and the state, `instead`."""
    deadline = time.monotonic() + seconds
    while True:
        result = true()
        if result:
            return result
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what} {instead()}"
        time.sleep(0.5)
