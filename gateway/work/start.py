"""Assembly of a worker: Celery application, sweeper, courier, flusher, metrics."""

from __future__ import annotations

import logging
import warnings
from typing import Any

from celery import Celery
from celery.platforms import SecurityWarning
from celery.signals import worker_ready, worker_shutting_down
from prometheus_client import CollectorRegistry, start_http_server
from redis import Redis
from redis.exceptions import RedisError

from gateway.classifiers.known import Classifiers
from gateway.config import GatewayConfig
from gateway.feedback.batches import Batches
from gateway.feedback.flusher import Flusher, open_feedback
from gateway.feedback.metrics import FeedbackMetrics
from gateway.records.connections import for_worker
from gateway.records.leases import Leases
from gateway.records.webhooks import Webhooks
from gateway.work.courier import Courier
from gateway.work.dispatch import TASK_NAME, WORKER_OPTIONS, make_dispatcher, send_hint
from gateway.work.metrics import WorkerMetrics
from gateway.work.predictors import Predictors
from gateway.work.sweeper import Sweeper
from gateway.work.task import Work

logger = logging.getLogger(__name__)


def make_worker(config: GatewayConfig) -> Celery:
    """Return the Celery application of a worker, with its threads."""
    app = make_dispatcher(config.redis, concurrency=config.concurrency)
    registry = CollectorRegistry()
    metrics = WorkerMetrics(registry)
    client = for_worker(config.redis)
    leases = Leases(client, config)
    classifiers = Classifiers(config)
    work = Work(leases, config, Predictors(classifiers, config, metrics), metrics)
    courier = Courier(Webhooks(for_worker(config.redis)), config, metrics)
    sweeper = Sweeper(leases, lambda: send_hint(app), metrics)
    flusher = _flusher(client, config, classifiers, registry)
    threads = [sweeper.thread, *courier.threads, *([flusher.thread] if flusher else [])]

    @app.task(name=TASK_NAME)  # type: ignore[untyped-decorator]
    def hint() -> None:
        try:
            work.do_what_is_due()
        except RedisError as error:  # a claimed task is due again after its lease; the sweeper sends a hint for it
            logger.warning("Redis is away: %s", error)

    @worker_ready.connect(weak=False)  # type: ignore[untyped-decorator]
    def ready(**_: Any) -> None:
        if config.metrics_port:
            start_http_server(config.metrics_port, registry=registry)
        classifiers.start()
        for thread in threads:
            thread.start()
        logger.info("the worker is ready")

    @worker_shutting_down.connect(weak=False)  # type: ignore[untyped-decorator]
    def stopping(**_: Any) -> None:
        work.stop()
        for thread in threads:
            thread.stop()
        classifiers.stop()

    return app


def _flusher(client: Redis, config: GatewayConfig, classifiers: Classifiers, registry: CollectorRegistry) -> Flusher | None:
    store = open_feedback(config)
    if store is None:
        return None
    batches, metrics = Batches(client, config), FeedbackMetrics(registry, config.discover_namespace)
    metrics.watch(batches.waiting)
    return Flusher(batches, store, metrics, lambda: classifiers.addresses)


def run_worker(config: GatewayConfig) -> None:
    """Work until SIGTERM; then finish the claimed tasks."""
    warnings.filterwarnings("ignore", category=SecurityWarning)  # Celery warns of root because of pickle; hints are JSON
    make_worker(config).worker_main(["--quiet", "worker", "--loglevel", "WARNING", *WORKER_OPTIONS])
