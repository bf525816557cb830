"""The running controller: events fill a queue, workers reconcile its keys."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry

from k8s.controller import handlers
from k8s.controller.builders.training_job import Images
from k8s.controller.clients.kubernetes import KubernetesCluster
from k8s.controller.clients.probe import HttpProbe
from k8s.controller.clients.prometheus import Measurements
from k8s.controller.decisions.tenancy import Policy
from k8s.controller.reconcile.apply_cache import ApplyCache
from k8s.controller.reconcile.observe import Observer
from k8s.controller.reconcile.reconciler import Reconciler
from k8s.controller.runtime.endpoint import serve
from k8s.controller.runtime.metrics import ControllerMetrics
from k8s.controller.runtime.queue import WorkQueue
from k8s.controller.runtime.recorder import Recorder
from k8s.controller.runtime.scrape_targets import scrape_targets
from k8s.controller.runtime.workers import Workers

log = logging.getLogger(__name__)


class Controller:
    """Controller with all its parts. measurements: None without Prometheus."""

    def __init__(
        self, cluster: KubernetesCluster, images: Images, policy: Policy, *, measurements: Measurements | None, threads: int
    ) -> None:
        self._cluster = cluster
        self._queue, self._apply_cache, self._registry = WorkQueue(threads=threads), ApplyCache(), CollectorRegistry()
        metrics = ControllerMetrics(self._registry, waiting=lambda: len(self._queue))
        observer = Observer(cluster, HttpProbe(), measurements)
        self._recorder = Recorder(cluster)
        reconciler = Reconciler(
            cluster,
            observer,
            images,
            metrics,
            self._apply_cache,
            now=lambda: datetime.now(UTC),
            record=self._recorder,
            policy=policy,
        )
        self._workers = Workers(self._queue, reconciler.reconcile, metrics, threads=threads)

    @contextmanager
    def telling(self, port: int, namespaces: tuple[str, ...]) -> Iterator[None]:
        """Serve /metrics, /healthz and /targets, as the leader or not. Raises OSError if the port is in use.

        namespaces: whose Pods /targets lists; all if there are none.
        """
        endpoint = serve(
            port,
            self._registry,
            healthy=self._workers.are_well,
            targets=lambda component: scrape_targets(self._cluster, namespaces, component),
        )
        try:
            yield
        finally:
            endpoint.close()

    def work(self, namespaces: tuple[str, ...], stop: threading.Event) -> None:
        """Reconcile these namespaces, or all if there are none, until `stop` is set. Running reconciliations are finished."""
        log.info("watching %s", ", ".join(namespaces) or "all namespaces")
        watching = threading.Thread(target=self._watch, args=(namespaces, stop), name="watch")
        self._workers.start()
        watching.start()
        stop.wait()
        self._workers.stop()
        self._recorder.close()
        watching.join()

    def _watch(self, namespaces: tuple[str, ...], stop: threading.Event) -> None:
        """Watch for events. If the watch ends by itself, stop the process, which would otherwise look healthy."""
        try:
            handlers.listen(self._queue, self._apply_cache, self._cluster.saw, namespaces=namespaces, stop=stop)
        finally:
            stop.set()
