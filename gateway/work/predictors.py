"""Predictors that a worker asks: a client and a breaker for each classifier, made when they are first needed."""

from __future__ import annotations

from threading import Lock

from gateway.classifiers.known import Classifiers
from gateway.config import GatewayConfig
from gateway.work.breaker import OPEN_SECONDS, Breaker
from gateway.work.metrics import WorkerMetrics
from gateway.work.predictor import PredictorClient


class Predictors:
    """Clients and breakers by classifier, for threads."""

    def __init__(self, classifiers: Classifiers, config: GatewayConfig, metrics: WorkerMetrics) -> None:
        self._classifiers = classifiers
        self._config = config
        self._metrics = metrics
        self._made: dict[str, tuple[PredictorClient, Breaker]] = {}
        self._lock = Lock()
        for name in classifiers.addresses:  # starts their counters at 0
            self.reach(name)

    def reach(self, classifier: str) -> tuple[PredictorClient, Breaker] | None:
        """Return the client and the breaker; None if no such classifier is known."""
        address = self._classifiers.addresses.get(classifier)
        if address is None:
            return None
        with self._lock:
            if classifier not in self._made:
                self._made[classifier] = self._make(classifier, address)
            return self._made[classifier]

    def _make(self, classifier: str, address: str) -> tuple[PredictorClient, Breaker]:
        seconds, connections = self._config.request_seconds, self._config.concurrency
        client = PredictorClient(classifier, address, request_seconds=seconds, connections=connections)
        breaker = Breaker(open_seconds=min(OPEN_SECONDS, self._config.max_delay_seconds))
        self._metrics.watch(classifier, breaker)
        return client, breaker
