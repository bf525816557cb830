"""A namespace of the cluster, with what a user types at it: kubectl."""

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
    """Everything in here goes with it."""

    name: str

    def kubectl(self, *arguments: str, given: str | None = None) -> str:
        """What it prints. Raises AssertionError with what it said if it failed."""
        done = self._kubectl(*arguments, given=given)
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr.strip()}"
        return done.stdout

    def apply(self, documents: Sequence[Document]) -> None:
        self.kubectl("apply", "-f", "-", given=json.dumps({"apiVersion": "v1", "kind": "List", "items": documents}))

    def get(self, kind: str, name: str) -> Document | None:
        """The object, None if there is none."""
        found: Document = json.loads(self.kubectl("get", kind, name, "--ignore-not-found", "--output=json") or "null")
        return found

    def pods(self, selector: str) -> list[Document]:
        found: list[Document] = json.loads(self.kubectl("get", "pods", "--selector", selector, "--output=json"))["items"]
        return found

    def log(self, pod: str, container: str) -> str:
        """What the container said since it last started; nothing if it has not, or while the node has put that away."""
        done = self._kubectl("logs", pod, "--container", container)
        return done.stdout if done.returncode == 0 else ""

    def _kubectl(self, *arguments: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
        command = ["kubectl", "--namespace", self.name, *arguments]
        return subprocess.run(command, input=given, capture_output=True, text=True, check=False, timeout=120)

    @contextmanager
    def forwarded(self, target: str, *ports: int) -> Iterator[list[str]]:
        """`127.0.0.1:<port>` for each of the target's ports."""
        command = ["kubectl", "--namespace", self.name, "port-forward", target, *(f":{port}" for port in ports)]
        with ExitStack() as stack:
            process = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            stack.callback(process.terminate)
            assert process.stdout is not None
            found: list[str] = []
            while len(found) < len(ports):
                line = process.stdout.readline()
                assert line, f"{' '.join(command)} ended"
                found += re.findall(r"Forwarding from (127\.0\.0\.1:\d+)", line)
            yield found


def wait_until(true: Callable[[], Any], what: str, *, seconds: float, instead: Callable[[], str] = str) -> Any:
    """The first result that is true. Fails with `what` was waited for, and with what is there `instead`."""
    deadline = time.monotonic() + seconds
    while True:
        found = true()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what} {instead()}"
        time.sleep(0.5)
