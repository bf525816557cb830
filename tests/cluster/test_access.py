"""Examples of an Ingress and an HTTPRoute: the API server accepts them.

The cluster of the tests has no kinds of Traefik and Envoy Gateway, which the examples also use.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.support.cluster.namespace import Namespace

pytestmark = pytest.mark.cluster

ACCESS = Path(__file__).parents[2] / "k8s" / "manifests" / "access"


@pytest.mark.parametrize(("name", "kind"), [("01-ingress.yaml", "Ingress"), ("02-http-route.yaml", "HTTPRoute")])
def test_the_api_server_accepts_it_without_a_warning(name: str, kind: str, namespace: Namespace) -> None:
    (document,) = (each for each in yaml.safe_load_all((ACCESS / name).read_text()) if each["kind"] == kind)
    command = ["kubectl", f"--namespace={namespace.name}", "apply", "--dry-run=server", "--validate=strict", "-f", "-"]
    done = subprocess.run(command, input=json.dumps(document), capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
