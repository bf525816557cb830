"""Files of the managed Grafana, loaded by the stand-in, which refuses what Grafana would not load."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.chart import Rendered, rendered
from tests.support.ports import free_port

SERVER = Path(__file__).parents[1] / "support" / "grafana" / "server.py"
NAME = "lw-labelwright-grafana"


def mounted(them: Rendered, root: Path) -> dict[str, str]:
    """Write the files of the container below root; return its variables, with every folder below root."""
    maps = {each["metadata"]["name"]: each["data"] for each in them.all("ConfigMap")}
    spec = them.one("Deployment", NAME)["spec"]["template"]["spec"]
    volumes = {each["name"]: each["configMap"]["name"] for each in spec["volumes"] if "configMap" in each}
    for mount in them.container("grafana")["volumeMounts"]:
        target = root / mount["mountPath"].lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        if "subPath" in mount:
            text = maps[volumes[mount["name"]]][mount["subPath"]]
            target.write_text(text.replace("/etc/labelwright", f"{root}/etc/labelwright"))
        else:
            target.mkdir(parents=True, exist_ok=True)
            for name, text in maps.get(volumes.get(mount["name"], ""), {}).items():
                (target / name).write_text(text)
    given = {each["name"]: each.get("value", "") for each in them.container("grafana")["env"]}
    paths = {name: f"{root}{value}" for name, value in given.items() if value.startswith("/")}
    return {**given, **paths, "GF_PATHS_PROVISIONING": f"{root}/etc/grafana/provisioning"}


Start = Callable[[dict[str, str]], "Grafana"]


class Grafana:
    def __init__(self, settings: dict[str, str]) -> None:
        self._port = free_port()
        environment = {"PATH": os.environ["PATH"], **settings, "GF_SERVER_HTTP_PORT": str(self._port)}
        self.process = subprocess.Popen([sys.executable, SERVER], env=environment, stderr=subprocess.PIPE, text=True)

    def get(self, path: str) -> tuple[int, Any]:
        deadline = time.monotonic() + 60
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self._port}{path}", timeout=10) as answer:
                    return answer.status, json.load(answer)
            except urllib.error.HTTPError as error:
                return error.code, json.load(error)
            except OSError:
                assert self.process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.1)


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[Grafana] = []

    def start(settings: dict[str, str]) -> Grafana:
        started.append(Grafana(settings))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.communicate()


def test_the_dashboards_and_the_data_source_are_loaded(start: Start, tmp_path: Path) -> None:
    grafana = start(mounted(rendered(), tmp_path))

    assert grafana.get("/api/health") == (200, {"database": "ok"})
    found = {each["title"]: each["folderTitle"] for each in grafana.get("/api/search")[1]}
    assert found == {
        f"Labelwright / {each}": "Labelwright" for each in ("Classifiers", "Gateway", "Platform", "Serving", "Training")
    }
    ((source,),) = (grafana.get("/api/datasources")[1],)
    assert (source["uid"], source["url"]) == ("labelwright-prometheus", "http://lw-labelwright-prometheus.home:9090")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"title": ""}, "expected a title", id="no-title"),
        pytest.param({"uid": "x" * 41}, "expected a title, and a uid", id="long-uid"),
        pytest.param({"uid": "labelwright-serving"}, "the uid labelwright-serving is that of", id="twice"),
        pytest.param({"apiVersion": "dashboard.grafana.app/v2", "spec": {}}, "schema v2", id="v2"),
    ],
)
def test_a_dashboard_that_grafana_would_not_load_makes_it_unhealthy(
    start: Start, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    settings = mounted(rendered(), tmp_path)
    file = tmp_path / "etc/labelwright/dashboards/training/training.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))

    status, answer = start(settings).get("/api/health")

    assert status == 503
    assert message in answer["message"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"LABELWRIGHT_PROMETHEUS_URL": ""}, "has the type prometheus and the address", id="no-address"),
        pytest.param({"GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION": "false"}, "the default password", id="default-password"),
        pytest.param({"GF_AUTH_ANONYMOUS_ORG_ROLE": "Admin"}, "may change something", id="anonymous-administrator"),
        pytest.param({"GF_PATHS_DATA": "/nowhere"}, "/nowhere", id="no-data-folder"),
    ],
)
def test_settings_that_are_not_safe_end_it(start: Start, tmp_path: Path, change: dict[str, str], message: str) -> None:
    process = start({**mounted(rendered(), tmp_path), **change}).process

    _, error = process.communicate(timeout=60)

    assert process.returncode == 1
    assert message in error
