"""Prometheus metrics of a training.

A series appears with its first value, so there is no loss of 0 before the first step.
"""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Any

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from trainer.errors import ConfigRejected

log = logging.getLogger(__name__)

EVERY_ADDRESS = ("::", "0.0.0.0")  # noqa: S104 - the first includes IPv4; the second is for kernels without IPv6
NO_IPV6 = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
GAUGES = {
    "step": "Completed optimizer steps.",
    "steps": "Optimizer steps of the whole training.",
    "epoch": "Passes over the training part, including the current fraction.",
    "loss": "Mean loss per text since the previous value.",
    "learning_rate": "Learning rate of the encoder.",
    "texts_per_second": "Texts per second in training, without the time of evaluations.",
    "validation_micro_f1": "Micro-F1 of the last evaluation on the validation part.",
    "validation_macro_f1": "Macro-F1 of the last evaluation on the validation part.",
}


class Phase(StrEnum):
    """Current phase of a run."""

    READING = "reading"
    SPLITTING = "splitting"
    FITTING = "fitting"
    EVALUATING = "evaluating"
    PUBLISHING = "publishing"


class TrainingMetrics:
    """The gauges `labelwright_training_…` of one training. Label: phase (of `Phase`). Any thread may call.

    clock: seconds, for the age of the last checkpoint.
    """

    def __init__(self, registry: CollectorRegistry, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Register the series. Raises ValueError if the registry has them already."""
        self.registry = registry
        self._clock = clock
        self._values: dict[str, float] = {}
        self._phase: Phase | None = None
        self._saved_at: float | None = None
        registry.register(_Series(self._now))

    def phase(self, phase: Phase) -> None:
        """Set the phase."""
        self._phase = phase

    def progressed(self, step: int, *, steps: int, epoch: float) -> None:
        """Set the completed steps and epochs."""
        self._values |= {"step": step, "steps": steps, "epoch": epoch}

    def measured(self, *, loss: float, learning_rate: float, texts_per_second: float) -> None:
        """Set the means since the previous call."""
        self._values |= {"loss": loss, "learning_rate": learning_rate, "texts_per_second": texts_per_second}

    def validated(self, *, micro_f1: float, macro_f1: float | None = None) -> None:
        """Set the scores of an evaluation."""
        self._values["validation_micro_f1"] = micro_f1
        if macro_f1 is not None:
            self._values["validation_macro_f1"] = macro_f1

    def checkpoint_saved(self) -> None:
        """Set the time of the last checkpoint to now."""
        self._saved_at = self._clock()

    @contextmanager
    def serve(self, port: int | None) -> Iterator[int | None]:
        """Serve GET /metrics on `port` of all addresses; 0: any free port; None: do not serve. Yield the port.

        Raises ConfigRejected if the port cannot be opened.
        """
        if port is None:
            yield None
            return
        server, thread = _listen(port, self.registry)
        log.info("metrics are at http://localhost:%d/metrics", server.server_port)
        try:
            yield server.server_port
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def _now(self) -> tuple[dict[str, float], Phase | None]:
        values = dict(self._values)
        if self._saved_at is not None:
            values["last_checkpoint_age_seconds"] = self._clock() - self._saved_at
        return values, self._phase


class _Series(Collector):
    """Collector of the current values."""

    def __init__(self, now: Callable[[], tuple[dict[str, float], Phase | None]]) -> None:
        self._now = now

    def describe(self) -> Iterable[Metric]:
        return [*(_gauge(name) for name in GAUGES), _age(), _phases()]

    def collect(self) -> Iterator[Metric]:
        values, phase = self._now()
        for name, value in values.items():
            family = _gauge(name) if name in GAUGES else _age()
            family.add_metric([], value)
            yield family
        if phase is not None:
            phases = _phases()
            for each in Phase:
                phases.add_metric([each], float(each is phase))
            yield phases


def _gauge(name: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"labelwright_training_{name}", GAUGES[name])


def _age() -> GaugeMetricFamily:
    return GaugeMetricFamily("labelwright_training_last_checkpoint_age_seconds", "Seconds since a checkpoint was saved.")


def _phases() -> GaugeMetricFamily:
    return GaugeMetricFamily("labelwright_training_phase", "1 for the current phase, 0 for the others.", labels=["phase"])


def _listen(port: int, registry: CollectorRegistry) -> Any:
    for address in EVERY_ADDRESS:
        try:
            return start_http_server(port, address, registry)
        except OSError as error:
            if error.errno in NO_IPV6 and address != EVERY_ADDRESS[-1]:
                continue
            why = "in use" if error.errno == errno.EADDRINUSE else f"not available ({error.strerror})"
            raise ConfigRejected(f"progress.metrics_port is {port}: the port is {why}; 0 takes any free port") from error
    raise AssertionError
