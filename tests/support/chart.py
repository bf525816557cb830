"""The chart as `helm template` renders it: no cluster is asked."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

Document = dict[str, Any]
CHART = Path(__file__).parents[2] / "charts" / "labelwright"
CASES = sorted((CHART / "ci").glob("*-values.yaml"))
RELEASE, HOME = "lw", "home"
OLDEST_KUBERNETES = "1.30.0"
PROGRAMS = Path.home() / ".cache/cluster/bin"


def helm() -> str:
    """The program. Skips the test where it is missing."""
    found = shutil.which("helm", path=f"{os.environ.get('PATH', '')}:{PROGRAMS}")
    if not found:
        pytest.skip("needs the program helm")
    return found


def template(*arguments: str, release: str = RELEASE, chart: Path = CHART, **values: Any) -> subprocess.CompletedProcess[str]:
    """Render with values such as controller__replicas=2; whatever comes of it."""
    given = [f"--set-json={path.replace('__', '.')}={json.dumps(value)}" for path, value in values.items()]
    command = [helm(), "template", release, str(chart), f"--namespace={HOME}", f"--kube-version={OLDEST_KUBERNETES}"]
    return subprocess.run([*command, *arguments, *given], capture_output=True, text=True, check=False, timeout=120)


@dataclass(frozen=True)
class Rendered:
    """Objects of a release."""

    text: str
    documents: tuple[Document, ...]

    def all(self, *kinds: str) -> list[Document]:
        return [each for each in self.documents if each["kind"] in kinds]

    def one(self, kind: str, name: str) -> Document:
        """The object of that name, or whose name begins with it and a hash."""
        found = [each for each in self.all(kind) if _is_named(each, name)]
        assert len(found) == 1, f"{kind} {name}: {[each['metadata']['name'] for each in self.all(kind)]}"
        return found[0]

    def pods(self) -> Iterator[tuple[str, Document]]:
        """The name of each object that makes Pods, and its template."""
        for each in self.documents:
            name = f"{each['kind']}/{each['metadata']['name']}"
            if each["kind"] == "Pod":
                yield name, each
            elif "template" in each.get("spec", {}):
                yield name, each["spec"]["template"]

    def containers(self) -> Iterator[tuple[str, Document]]:
        for name, pod in self.pods():
            for each in (*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]):
                yield f"{name}/{each['name']}", each

    def container(self, name: str) -> Document:
        (found,) = (each for where, each in self.containers() if where.rpartition("/")[2] == name)
        return found


def _is_named(document: Document, name: str) -> bool:
    found = document["metadata"]["name"]
    return found == name or (document["kind"] == "Job" and found.rpartition("-")[0] == name)


def rendered(*arguments: str, release: str = RELEASE, chart: Path = CHART, **values: Any) -> Rendered:
    """Render with these values, which have to be valid."""
    done = template(*arguments, release=release, chart=chart, **values)
    assert done.returncode == 0, done.stderr
    return Rendered(done.stdout, tuple(each for each in yaml.load_all(done.stdout, Loader=yaml.CSafeLoader) if each))


@functools.cache
def case(path: Path) -> Rendered:
    """Render a file of ci/."""
    return rendered(f"--values={path}")
