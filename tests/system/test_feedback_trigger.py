"""A Prometheus between the gateway's flushers and the controller, which counts each stored correction of a classifier."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, start_http_server

from gateway.feedback.metrics import FeedbackMetrics
from k8s.controller.clients.prometheus import MeasurementsUnavailable, Prometheus
from tests.support.prometheus import program
from tests.support.redis import free_port

PATIENCE_SECONDS = 120.0
SINCE = timedelta(minutes=5)


def exported(stack: ExitStack, namespace: str | None) -> tuple[FeedbackMetrics, int]:
    """Series of a flusher at a port."""
    registry = CollectorRegistry()
    metrics = FeedbackMetrics(registry, namespace)
    metrics.know("papers")
    server, thread = start_http_server(0, "127.0.0.1", registry)
    for each in (thread.join, server.server_close, server.shutdown):
        stack.callback(each)
    return metrics, int(server.server_port)


def eventually(found: Callable[[], int | None], expected: int) -> None:
    deadline, last = time.monotonic() + PATIENCE_SECONDS, None
    while last != expected:
        try:
            last = found()
        except MeasurementsUnavailable:  # it starts
            last = None
        assert time.monotonic() < deadline, last
        time.sleep(0.3)


def prometheus(stack: ExitStack, folder: Path, jobs: list[dict[str, Any]]) -> str:
    """Start a Prometheus that scrapes these, and return its address."""
    configuration, port = folder / "prometheus.yml", free_port()
    configuration.write_text(yaml.safe_dump({"global": {"scrape_interval": "1s"}, "scrape_configs": jobs}))
    options = [f"--config.file={configuration}", f"--storage.tsdb.path={folder}/data", f"--web.listen-address=127.0.0.1:{port}"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([program("prometheus"), *options], stdout=log, stderr=log)
    stack.callback(process.wait)
    stack.callback(process.kill)
    return f"http://127.0.0.1:{port}"


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_the_controller_counts_what_all_flushers_have_stored_and_nothing_else(stack: ExitStack, tmp_path: Path) -> None:
    """Count so whether or not Prometheus honours the labels of the series."""
    jobs, counters = [], {}
    for honoured in (True, False):
        way = "honoured" if honoured else "renamed"
        flushers = {each: exported(stack, namespace) for each, namespace in (
            ("first", f"team-{way}"), ("second", f"team-{way}"), ("at home", None), ("idle", f"idle-{way}"),
        )}  # fmt: skip
        stranger = exported(stack, f"team-{way}")
        counters[way] = {name: metrics for name, (metrics, _) in flushers.items()} | {"stranger": stranger[0]}
        for name, ports in ((f"labelwright-gateway-{way}", [port for _, port in flushers.values()]), (way, [stranger[1]])):
            targets = [{"targets": [f"127.0.0.1:{port}" for port in ports], "labels": {"namespace": f"home-{way}"}}]
            jobs.append({"job_name": name, "honor_labels": honoured, "static_configs": targets})
    controller = Prometheus(prometheus(stack, tmp_path, jobs), gateway="labelwright-gateway-.*")

    def counted(namespace: str) -> int | None:
        return controller.corrections(namespace, "papers", datetime.now(UTC) - SINCE)

    for each in (f"{namespace}-{way}" for way in counters for namespace in ("team", "home", "idle")):
        eventually(partial(counted, each), 0)
    for metrics in counters.values():
        for name, corrections in (("first", 3), ("second", 4), ("at home", 2), ("stranger", 100)):
            metrics[name].stored("papers", corrections)
    for way in counters:
        eventually(partial(counted, f"team-{way}"), 7)
        eventually(partial(counted, f"home-{way}"), 2)
        assert counted(f"idle-{way}") == 0
    assert controller.corrections("team-honoured", "products", datetime.now(UTC) - SINCE) is None
