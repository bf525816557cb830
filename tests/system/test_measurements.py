"""A real Prometheus understands what it is asked, and a real predictor says which version it serves."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from gateway.feedback.metrics import FeedbackMetrics
from k8s.controller.clients.probe import HttpProbe
from k8s.controller.clients.prometheus import MIN_WINDOW_TEXTS, MeasurementsUnavailable, Prometheus
from tests.support.answers import ChosenResponse, answering
from tests.support.ports import free_port
from tests.support.servers import MAX_START_SECONDS, RunningServer, serving
from tests.support.versions import make_version

ODD = 'we"ird\\'  # as the name of a classifier
MANY = 10 * MIN_WINDOW_TEXTS
GATEWAYS = ("honoured", "renamed", "scraped")  # how it is scraped


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Serves version v1 of papers."""
    folder = tmp_path_factory.mktemp("served")
    with serving(make_version(folder / "v1"), folder / "log") as running:
        yield running


@pytest.fixture(scope="module")
def pods() -> Iterator[dict[str, ChosenResponse]]:
    """Predictors that expose what drift they were given, by their names."""
    given = {
        "a": exposed("papers", "v2", labels=0.1, lengths=0.3, texts=MANY),
        "b": exposed("papers", "v2", labels=0.05, lengths=0.02, texts=MANY),
        "few-texts": exposed("papers", "v2", labels=5.0, lengths=5.0, texts=MIN_WINDOW_TEXTS - 1),
        "old-version": exposed("papers", "v1", labels=0.9, lengths=0.0, texts=MANY),
        "enough-texts": exposed("products", "v2", labels=0.8, lengths=0.0, texts=MIN_WINDOW_TEXTS),
        "odd-name": exposed('we\\"ird\\\\', "v2", labels=0.4, lengths=0.0, texts=MANY),
        "stranger-6d5f-abcde": exposed("forged", "v2", labels=9.0, lengths=0.0, texts=MANY),
        "named-predictor-6d5f-abcde": exposed("named", "v2", labels=0.6, lengths=0.0, texts=MANY),
        "other-namespace": exposed("papers", "v2", labels=0.7, lengths=0.0, texts=MANY),
    }
    with ExitStack() as stack:
        servers = {name: stack.enter_context(answering()) for name in given}
        for name, text in given.items():
            tell(servers[name], text)
        yield servers


@pytest.fixture(scope="module")
def gateways() -> Iterator[dict[str, ChosenResponse]]:
    """Each counts the corrections of another classifier; by how it is scraped."""
    with ExitStack() as stack:
        servers = {name: stack.enter_context(answering()) for name in GATEWAYS}
        stranger = stack.enter_context(answering())
        tell(stranger, 'labelwright_feedback_corrections_total{namespace="team",classifier="forged"} 1000\n')
        servers["stranger"] = stranger
        correct(servers, 0)
        yield servers


@pytest.fixture(scope="module")
def prometheus(
    pods: dict[str, ChosenResponse],
    gateways: dict[str, ChosenResponse],
    predictor: RunningServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Prometheus]:
    program = shutil.which("prometheus")
    if not program:
        pytest.skip("there is no prometheus on the PATH")
    folder = tmp_path_factory.mktemp("prometheus")
    elsewhere = pods["other-namespace"]
    named = {name: pods[name] for name in pods if name.endswith("abcde")}
    configuration = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},  # less, and a busy machine misses some
        "scrape_configs": [
            scrape("pods", "team", [each.port for each in pods.values() if each not in (elsewhere, *named.values())]),
            *(scrape(name, "team", [each.port], pod=name) for name, each in named.items()),
            scrape("others", "another", [elsewhere.port]),
            scrape("predictor", "real", [urlsplit(predictor.rest).port or 0]),
            scrape("honoured", "gateway", [gateways["honoured"].port], honor_labels=True),
            scrape("renamed", "gateway", [gateways["renamed"].port]),
            scrape("scraped", "team", [gateways["scraped"].port]),
            scrape("kubernetes-pods", "elsewhere", [gateways["stranger"].port]),
        ],
    }
    (folder / "prometheus.yml").write_text(json.dumps(configuration))  # JSON is YAML
    address = f"127.0.0.1:{free_port()}"
    options = [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data", f"--web.listen-address={address}"]
    with (folder / "log").open("wb") as log, subprocess.Popen([program, *options], stderr=log) as process:
        found = Prometheus(f"http://{address}", gateway="|".join(GATEWAYS))
        wait_for(lambda: found.drift("team", "papers", "v2") and found.drift("team", "papers", "v1"))
        yield found
        process.terminate()


def exposed(classifier: str, version: str, *, labels: float, lengths: float, texts: int) -> str:
    """Return a predictor's series of drift, as text."""
    return "\n".join(
        [
            f'labelwright_model_info{{classifier="{classifier}",version="{version}",architecture="linear",precision="fp32"}} 1',
            f"labelwright_drift_window_texts {texts}",
            f"labelwright_drift_label_psi {labels}",
            f"labelwright_drift_token_length_psi {lengths}",
            "",
        ]
    )


def correct(gateways: dict[str, ChosenResponse], times: int) -> None:
    """Store corrections of `team` in each gateway. The gateway within the namespace does not name the namespace."""
    for name in GATEWAYS:
        registry = CollectorRegistry()
        metrics = FeedbackMetrics(registry, None if name == "scraped" else "team")
        metrics.know(name)
        metrics.stored(name, times)
        tell(gateways[name], generate_latest(registry).decode())


def tell(server: ChosenResponse, text: str) -> None:
    server.body, server.headers = text.encode(), {"Content-Type": "text/plain; version=0.0.4"}


def scrape(job: str, namespace: str, ports: Sequence[int], *, pod: str = "", **more: Any) -> dict[str, Any]:
    targets, labels = [f"127.0.0.1:{port}" for port in ports], {"namespace": namespace, **({"pod": pod} if pod else {})}
    return {"job_name": job, "static_configs": [{"targets": targets, "labels": labels}], **more}


def wait_for(true: Callable[[], Any]) -> Any:
    """The first result that is true."""
    end = time.monotonic() + MAX_START_SECONDS
    while time.monotonic() < end:
        try:
            found = true()
        except MeasurementsUnavailable:
            found = None
        if found:
            return found
        time.sleep(0.2)
    raise AssertionError("that did not come")


@pytest.mark.parametrize(
    ("namespace", "classifier", "version", "expected"),
    [
        pytest.param("team", "papers", "v2", 0.3, id="the-largest-of-both-indices-of-all-pods-with-enough-texts"),
        pytest.param("team", "papers", "v1", 0.9, id="of-this-version-alone"),
        pytest.param("team", "products", "v2", 0.8, id="just-enough-texts"),
        pytest.param("team", ODD, "v2", 0.4, id="odd-name"),
        pytest.param("another", "papers", "v2", 0.7, id="of-this-namespace-alone"),
        pytest.param("team", "papers", "v3", None, id="not-served"),
        pytest.param("nowhere", "papers", "v2", None, id="no-such-namespace"),
    ],
)
def test_drift(prometheus: Prometheus, namespace: str, classifier: str, version: str, expected: float | None) -> None:
    others = [("team", "papers", "v1"), ("team", "papers", "v2"), ("team", ODD, "v2"), ("another", "papers", "v2")]
    wait_for(lambda: all(prometheus.drift(*each) for each in others))

    assert wait_for(lambda: prometheus.drift(namespace, classifier, version) == expected)


def test_the_drift_of_a_real_predictor_is_measured_once_it_has_classified_enough_texts(
    prometheus: Prometheus, predictor: RunningServer
) -> None:
    assert prometheus.drift("real", "papers", "v1") is None
    texts = {"name": "text", "datatype": "BYTES", "shape": [MIN_WINDOW_TEXTS], "data": ["stat.ML and more"] * MIN_WINDOW_TEXTS}
    request = urllib.request.Request(f"{predictor.rest}/v2/models/papers/infer", json.dumps({"inputs": [texts]}).encode())
    urllib.request.urlopen(request, timeout=MAX_START_SECONDS).close()

    assert wait_for(lambda: prometheus.drift("real", "papers", "v1")) > 0


def test_corrections_are_counted_however_the_gateway_is_scraped(
    prometheus: Prometheus, gateways: dict[str, ChosenResponse]
) -> None:
    began = datetime.now(UTC) - timedelta(minutes=1)

    def counted(namespace: str, classifier: str) -> int | None:
        return prometheus.corrections(namespace, classifier, began)

    wait_for(lambda: all(counted("team", how) == 0 for how in GATEWAYS))
    correct(gateways, 20)
    wait_for(lambda: all(counted("team", how) for how in GATEWAYS))
    time.sleep(8)  # the fewer samples, the farther does Prometheus extrapolate

    assert [counted("team", how) for how in GATEWAYS] == [pytest.approx(20, abs=2)] * len(GATEWAYS)
    assert [counted("gateway", how) for how in GATEWAYS] == [None] * len(GATEWAYS)
    assert counted("team", "papers") is None
    assert counted("team", "forged") is None  # by a Pod that is scraped, and no gateway


def test_the_reason_for_missing_drift_is_reported(prometheus: Prometheus) -> None:
    wait_for(lambda: prometheus.unseen("another", "papers", "v2") is None)
    assert "none with the label namespace='nowhere'" in str(prometheus.unseen("nowhere", "papers", "v2"))
    assert "has no series of v9" in str(prometheus.unseen("team", "papers", "v9"))


def test_a_pod_of_another_deployment_cannot_tell_of_drift(prometheus: Prometheus) -> None:
    wait_for(lambda: prometheus.unseen("team", "forged", "v2") is None)
    assert prometheus.drift("team", "forged", "v2") is None
    assert wait_for(lambda: prometheus.drift("team", "named", "v2")) == 0.6


def test_a_real_predictor_says_its_version(predictor: RunningServer) -> None:
    probe = HttpProbe(port=urlsplit(predictor.rest).port or 0)
    pod = {"status": {"podIP": "127.0.0.1"}}

    assert probe.version(pod, "papers") == "v1"
    assert probe.version(pod, "products") is None
