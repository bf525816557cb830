"""Prometheus series of the controller, and the endpoint with /metrics and /healthz."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from socketserver import TCPServer, ThreadingMixIn
from threading import Lock, Thread
from typing import TYPE_CHECKING, Literal
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, make_wsgi_app
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

RECONCILE_SECONDS_BUCKETS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
DAY = 86_400.0
RUN_SECONDS_BUCKETS = (10.0, 30.0, 60.0, 180.0, 600.0, 1_800.0, 3_600.0, 3 * 3_600.0, 6 * 3_600.0, DAY / 2, DAY, 2 * DAY, 3 * DAY)
Reason = Literal["conflict", "refused", "unavailable", "fault"]
IDLE_SECONDS = 10.0  # until an idle connection is closed
CLASSIFIER_LABELS = ("namespace", "classifier")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClassifierGauges:
    """Figures of a classifier's status. None: no series."""

    ready: bool = False
    version: str | None = None  # served version
    run_score: float | None = None  # of the latest published version
    served_score: float | None = None
    minimum_score: float | None = None
    corrections: int | None = None
    drift_index: float | None = None


class ControllerMetrics:
    """Metrics of the controller. Labels: kind (of object), reason (`Reason`), namespace, classifier, state (of a run).

    waiting: returns the number of keys that wait in the queue. Any thread may call.
    """

    def __init__(self, registry: CollectorRegistry, *, waiting: Callable[[], int] = lambda: 0) -> None:
        self._reconcile = Histogram(
            "labelwright_controller_reconcile_seconds",
            "Duration of a reconciliation, in seconds.",
            ["kind"],
            buckets=RECONCILE_SECONDS_BUCKETS,
            registry=registry,
        )
        self._errors = Counter(
            "labelwright_controller_reconcile_errors",
            "Reconciliations that failed.",
            ["kind", "reason"],
            registry=registry,
        )
        queue = Gauge("labelwright_controller_queue_keys", "Objects that wait for a reconciliation.", registry=registry)
        queue.set_function(lambda: float(waiting()))
        self._runs = Counter(
            "labelwright_training_runs", "Training runs that ended.", [*CLASSIFIER_LABELS, "state"], registry=registry
        )
        self._run_seconds = Histogram(
            "labelwright_training_run_seconds",
            "Duration of a training run, in seconds.",
            CLASSIFIER_LABELS,
            buckets=RUN_SECONDS_BUCKETS,
            registry=registry,
        )
        self._classifiers = _ClassifierSeries()
        registry.register(self._classifiers)

    def passed(self, kind: str, seconds: float) -> None:
        """Observe the duration of a reconciliation, successful or not."""
        self._reconcile.labels(kind).observe(seconds)

    def failed(self, kind: str, reason: Reason) -> None:
        """Count a failed reconciliation."""
        self._errors.labels(kind, reason).inc()

    def ended(self, namespace: str, classifier: str, *, state: str, seconds: float | None) -> None:
        """Count a run that has ended. seconds: None if it never started."""
        self._runs.labels(namespace, classifier, state).inc()
        if seconds is not None:
            self._run_seconds.labels(namespace, classifier).observe(seconds)

    def seen(self, namespace: str, classifier: str, facts: ClassifierGauges) -> None:
        """Set the figures of a classifier."""
        self._classifiers.see(namespace, classifier, facts)

    def forget(self, namespace: str, classifier: str) -> None:
        """Remove the series of a deleted classifier."""
        self._classifiers.forget(namespace, classifier)
        labels = dict(zip(CLASSIFIER_LABELS, (namespace, classifier), strict=True))
        self._runs.remove_by_labels(labels)
        self._run_seconds.remove_by_labels(labels)


class _ClassifierSeries(Collector):
    """Series of each classifier, from its latest status."""

    GAUGES = (
        ("ready", "1 if the classifier serves requests, else 0."),
        ("run_score", "Score of the latest published version on the test part."),
        ("served_score", "Score of the served version."),
        ("minimum_score", "Score that a version must reach to be served."),
        ("corrections", "Number of corrections by people since the latest training."),
        ("drift_index", "Larger population stability index of predicted labels and text lengths, against the test part."),
    )

    def __init__(self) -> None:
        self._lock = Lock()
        self._facts: dict[tuple[str, str], ClassifierGauges] = {}

    def see(self, namespace: str, classifier: str, facts: ClassifierGauges) -> None:
        with self._lock:
            self._facts[namespace, classifier] = facts

    def forget(self, namespace: str, classifier: str) -> None:
        with self._lock:
            self._facts.pop((namespace, classifier), None)

    def collect(self) -> Iterator[Metric]:
        with self._lock:
            seen = dict(self._facts)
        for name, explanation in self.GAUGES:
            family = GaugeMetricFamily(f"labelwright_classifier_{name}", explanation, labels=CLASSIFIER_LABELS)
            for labels, facts in seen.items():
                value = getattr(facts, name)
                if value is not None:
                    family.add_metric(labels, float(value))
            yield family
        info = GaugeMetricFamily(
            "labelwright_classifier_info",
            "Served version, as a label. The value is always 1.",
            labels=[*CLASSIFIER_LABELS, "version"],
        )
        for labels, facts in seen.items():
            if facts.version is not None:
                info.add_metric([*labels, facts.version], 1)
        yield info


class MetricsEndpoint:
    """HTTP endpoint with /metrics and /healthz. `serve` opens it."""

    def __init__(self, server: _MetricsServer) -> None:
        self.port: int = server.server_port
        self._server = server
        self._thread = Thread(target=server.serve_forever, args=(0.1,), name="metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop the server."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def serve(port: int, registry: CollectorRegistry, *, healthy: Callable[[], bool]) -> MetricsEndpoint:
    """Serve on this port (0: a free one) of every address, in threads. Raises OSError if the port is taken.

    /metrics: the registry's series; /healthz: 200, or 503 if `healthy` returns False; anything else: 404.
    """
    metrics = make_wsgi_app(registry)

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        match environ["PATH_INFO"]:
            case "/metrics":
                found: Iterable[bytes] = metrics(environ, start_response)
                return found
            case "/healthz":
                return _respond(start_response, *(("200 OK", "well") if healthy() else ("503 Service Unavailable", "not well")))
        return _respond(start_response, "404 Not Found", "expected /metrics or /healthz")

    server = _MetricsServer(port)
    server.set_app(answer)
    return MetricsEndpoint(server)


def _respond(start_response: StartResponse, status: str, text: str) -> list[bytes]:
    start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
    return [f"{text}\n".encode()]


class _MetricsServer(ThreadingMixIn, WSGIServer):
    """Server on IPv4 and, if available, IPv6. It does not look up its host name, which may be slow."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        both = socket.has_dualstack_ipv6()
        self.address_family = socket.AF_INET6 if both else socket.AF_INET
        super().__init__(("::" if both else "", port), _MetricsHandler)

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        TCPServer.server_bind(self)
        self.server_name, self.server_port = "localhost", self.server_address[1]
        self.setup_environ()

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002
        """Log a client that disconnects or stays idle, which is no error."""
        logger.debug("%s was not answered", client_address, exc_info=True)


class _MetricsHandler(WSGIRequestHandler):
    timeout = IDLE_SECONDS

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Log nothing: probes and scrapes are frequent."""
