"""A Prometheus scrapes what the code declares: every panel has series with the labels of its legend, every alert is raised."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from threading import Event, Thread
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, start_http_server

from k8s.controller.runtime.endpoint import serve
from tests.support import declared
from tests.support.chart import CHART, rendered
from tests.support.ports import free_port
from tests.support.prometheus import configuration, program, statically
from tests.support.promql import legend_labels

PATIENCE = 180.0  # seconds; nothing waits for them to pass
DASHBOARDS = ("classifiers", "gateway", "platform", "serving", "training")
ALERTS = sorted(path.stem for path in (CHART / "alerts").iterdir())
# Components whose series have the labels of the release.
OURS = ("controller", "gateway", "gateway-worker")
VALUES: dict[str, Any] = {
    "prometheus.scrapeInterval": "2s",
    "controller.watch.namespaces": ["papers"],
    "gateway.enabled": True,
    "gateway.classifiers": [{"name": declared.CLASSIFIER, "namespace": "papers"}],
}
# What Grafana puts in for All, and for the time between two points.
VARIABLES = {
    "$__rate_interval": "30s",
    "$__range": "1m",
    "$namespace": ".+",
    "$classifier": ".+",
    "$version": ".+",
    "$home": ".+",
    "$release": ".*",
}


class Prometheus:
    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/api/v1"

    def get(self, path: str, **fields: str) -> Any:
        with urllib.request.urlopen(f"{self._url}/{path}?{urllib.parse.urlencode(fields)}", timeout=10) as answer:
            return json.load(answer)["data"]

    def series(self, expression: str) -> list[dict[str, str]]:
        """The labels of each series of the outcome."""
        for name, value in VARIABLES.items():
            expression = expression.replace(name, value)
        return [each["metric"] for each in self.get("query", query=expression)["result"]]

    def alerts(self) -> dict[str, dict[str, str]]:
        """The labels of each alert that is pending or firing, by its name."""
        return {each["labels"]["alertname"]: each["labels"] for each in self.get("alerts")["alerts"]}


def until(found: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            if value := found():
                return value
        except OSError:
            pass
        assert time.monotonic() < deadline, what
        time.sleep(0.5)


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[str, dict[str, str]]]]:
    """A controller, a predictor, a trainer and a gateway whose counters go on, and in which everything is wrong."""
    predictor, counting = declared.predictor(tmp_path_factory.mktemp("version"))
    controller, seeing = declared.controller()
    api, worker_registry, worker_metrics = declared.gateway()
    over = Event()

    def go_on() -> None:
        while not over.wait(0.5):
            declared.use_predictor(counting)
            declared.use_gateway(api, worker_metrics)

    with ExitStack() as stack:
        endpoint = serve(0, controller, healthy=lambda: True, targets=lambda _: [])
        stack.callback(endpoint.close)
        served = {"predictor": predictor, "gateway": api.registry, "gateway-worker": worker_registry}
        ports = {name: _served(stack, registry) for name, registry in served.items()}
        trainer = stack.enter_context(declared.trainer().serve(0))
        worker = Thread(target=go_on)
        worker.start()
        stack.callback(worker.join)
        stack.callback(over.set)
        fall = Thread(target=lambda: over.wait(8) or declared.see(seeing, served_score=0.6))
        fall.start()
        stack.callback(fall.join)
        where = {"controller": endpoint.port, "trainer": trainer, **ports}
        yield {
            f"labelwright-{name}": (
                f"127.0.0.1:{port}",
                {"namespace": "home", "release": "lw"} if name in OURS else {"namespace": "papers", "pod": f"{name}-0"},
            )
            for name, port in where.items()
        }


def _served(stack: ExitStack, registry: CollectorRegistry) -> int:
    """Serve a registry until the stack ends, and return the port."""
    server, thread = start_http_server(0, "127.0.0.1", registry)
    for each in (thread.join, server.server_close, server.shutdown):
        stack.callback(each)
    return server.server_port


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory, targets: dict[str, tuple[str, dict[str, str]]]) -> Iterator[Prometheus]:
    folder, port = tmp_path_factory.mktemp("prometheus"), free_port()
    files = configuration(rendered(**VALUES))
    (folder / "prometheus.yml").write_text(statically(files["prometheus.yml"], targets))
    (folder / "alerts.yml").write_text(files["alerts.yml"])
    command = [
        program("prometheus"), f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
    ]  # fmt: skip
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        found = Prometheus(port)
        until(lambda: len(found.series("up == 1")) == len(targets), (folder / "log").read_text())
        until(lambda: found.series("rate(labelwright_predictor_texts_total[30s]) > 0"), "two scrapes of the predictor")
        yield found
    finally:
        process.terminate()
        process.wait(30)


def panels() -> Iterator[Any]:
    for file in DASHBOARDS:
        for panel in json.loads((CHART / "dashboards" / f"{file}.json").read_text())["panels"]:
            for target in panel["targets"]:
                yield pytest.param(target["expr"], target["legendFormat"], id=f"{file}-{panel['title']}-{target['refId']}")


@pytest.mark.parametrize(("expression", "legend"), list(panels()))
def test_a_panel_has_series_with_the_labels_of_its_legend(prometheus: Prometheus, expression: str, legend: str) -> None:
    found = until(lambda: prometheus.series(expression), f"no series: {expression}")

    for labels in found:
        assert legend_labels(legend) <= set(labels), labels


@pytest.mark.parametrize("file", DASHBOARDS)
def test_every_variable_of_a_dashboard_has_values(prometheus: Prometheus, file: str) -> None:
    for variable in json.loads((CHART / "dashboards" / f"{file}.json").read_text())["templating"]["list"][1:]:
        series, _, label = variable["query"].removeprefix("label_values(").removesuffix(")").rpartition(", ")
        assert {each.get(label) for each in prometheus.series(series)} - {None}, variable["query"]


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_is_raised_where_everything_is_wrong(prometheus: Prometheus, name: str) -> None:
    labels = until(lambda: prometheus.alerts().get(name), f"{name} is not raised")

    of_the_release = name.startswith(("LabelwrightController", "LabelwrightGateway"))
    assert labels["namespace"] == ("home" if of_the_release else "papers")


def test_every_rule_was_evaluated_without_an_error(prometheus: Prometheus) -> None:
    (group,) = prometheus.get("rules")["groups"]

    assert [each["name"] for each in group["rules"] if each.get("lastError")] == []
    assert sorted(each["name"] for each in group["rules"]) == ALERTS
