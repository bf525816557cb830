"""Corrections on the platform as the chart installs it: from the gateway's API into the bucket that trainings read."""

from __future__ import annotations

import base64
import json
import urllib.parse
import urllib.request
from typing import Any

import pytest

from tests.support.cluster.namespace import Namespace, wait_until
from tests.support.cluster.whole_chart import CLASSIFIER, FULL

pytestmark = pytest.mark.cluster

GATEWAY, PROMETHEUS = f"{FULL}-gateway", f"{FULL}-prometheus"


def send(address: str, path: str, token: str, body: Any = None) -> Any:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(f"http://{address}{path}", data, headers), timeout=30) as answer:
        return json.load(answer)


def test_a_correction_is_stored_by_a_worker_and_counted_by_the_prometheus_of_the_release(platform: Namespace) -> None:
    secret = platform.get("secret", f"{GATEWAY}-keys")
    assert secret is not None
    token = base64.b64decode(secret["data"]["token"]).decode()
    with platform.forwarded(f"service/{GATEWAY}", 80) as (address,):
        task = send(address, "/api/predict/?wait=20", token, {"article": "Draw the mean of an array", "classifier": CLASSIFIER})
        path = f"/api/feedback/{task['task_id']}"
        sent = send(address, path, token, {"labels": task["predictions"], "comment": "right"})

        def state() -> str:
            return str(send(address, f"/api/feedback/{sent['correction_id']}", token)["state"])

        wait_until(lambda: state() == "stored", "the correction is stored", seconds=60, instead=state)
        key = send(address, f"/api/feedback/{sent['correction_id']}", token)["key"]

    assert key.startswith(f"feedback/{CLASSIFIER}/")
    query = f'sum(labelwright_feedback_corrections_total{{job="labelwright-gateway-worker",classifier="{CLASSIFIER}"}})'
    with platform.forwarded(f"service/{PROMETHEUS}", 9090) as (address,):

        def counted() -> list[str]:
            found = send(address, f"/api/v1/query?{urllib.parse.urlencode({'query': query})}", "")["data"]["result"]
            return [each["value"][1] for each in found]

        wait_until(lambda: counted() == ["1"], "Prometheus counts the correction", seconds=60, instead=lambda: str(counted()))
