"""The running controller: events to a queue, the queue to passes."""

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
from k8s.controller.runtime.metrics import ControllerMetrics, serve
from k8s.controller.runtime.queue import WorkQueue
from k8s.controller.runtime.recorder import Recorder
from k8s.controller.runtime.workers import Workers

log = logging.getLogger(__name__)


class Controller:
    """Its parts, put together. measurements: none where drift and corrections are not measured."""

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
    def telling(self, port: int) -> Iterator[None]:
        """Answer /metrics and /healthz, whether it works or waits to lead. Raises OSError if the port is taken."""
        endpoint = serve(port, self._registry, healthy=self._workers.are_well)
        try:
            yield
        finally:
            endpoint.close()

    def work(self, namespaces: tuple[str, ...], stop: threading.Event) -> None:
        """Look after these namespaces, or all, until it is told to stop; passes that are under way are finished."""
        log.info("looking after %s", ", ".join(namespaces) or "all namespaces")
        watching = threading.Thread(target=self._watch, args=(namespaces, stop), name="watch")
        self._workers.start()
        watching.start()
        stop.wait()
        self._workers.stop()
        self._recorder.close()
        watching.join()

    def _watch(self, namespaces: tuple[str, ...], stop: threading.Event) -> None:
        """If it ends by itself, so does the process: what does not watch any more would look well."""
        try:
            handlers.listen(self._queue, self._apply_cache, self._cluster.saw, namespaces=namespaces, stop=stop)
        finally:
            stop.set()
