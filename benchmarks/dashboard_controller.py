"""The controller with a cluster in memory, for pictures of its metrics: python benchmarks/dashboard_controller.py PORT

Queue, workers, reconciliations, decisions and metrics are the controller's own. API server, Jobs and KServe are those of the
tests (tests/support/kubernetes): they take seconds for what takes minutes on a cluster.
"""

from __future__ import annotations

import sys
import threading
import time
from datetime import UTC, datetime
from itertools import cycle
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector

sys.path.insert(0, str(Path(__file__).parents[1]))

from k8s.controller.objects.kinds import TEXT_CLASSIFIER
from k8s.controller.reconcile.observe import Observer
from k8s.controller.reconcile.reconciler import Reconciler
from k8s.controller.runtime.endpoint import serve
from k8s.controller.runtime.metrics import ControllerMetrics
from k8s.controller.runtime.queue import Key
from k8s.controller.runtime.workers import Workers
from tests.support.kubernetes.simulation import API, IMAGES, SPEC, Simulation

SPACE = "team-a"
CLASSIFIERS = ("docstrings", "papers", "tickets")
FIRST_SCORE, BETTER, WORST = 0.82, 0.005, 0.44  # of trainings; the gate's minimum is 0.5
FAILS_EVERY = 5  # trainings, of which one is refused by the gate
PAUSE_SECONDS = 0.2  # between two actions of the cluster
CHANGE_SECONDS = 35.0  # between two changes of a spec


def main() -> None:
    """Run until the process is stopped."""
    simulation = Simulation()
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    metrics = ControllerMetrics(registry, waiting=lambda: len(simulation.queue))
    observer = Observer(simulation.cluster, simulation.world)
    reconciler = Reconciler(simulation.cluster, observer, IMAGES, metrics, simulation.apply_cache, simulation.clock)
    alone = threading.Lock()  # the cluster in memory is not meant for two threads

    def reconcile(key: Key) -> float | None:
        with alone:
            return reconciler.reconcile(key)

    workers = Workers(simulation.queue, reconcile, metrics, threads=2)
    serve(int(sys.argv[1]), registry, healthy=workers.are_well, targets=lambda _: [])
    simulation.trainer.score = FIRST_SCORE
    workers.start()
    threading.Thread(target=move, args=(simulation, alone), daemon=True).start()
    for name in CLASSIFIERS:
        with alone:
            simulation.cluster.create(_document(name))
        time.sleep(CHANGE_SECONDS / 4)
    for number, name in enumerate(cycle(CLASSIFIERS), start=1):
        time.sleep(CHANGE_SECONDS)
        with alone:
            simulation.trainer.score = min(FIRST_SCORE + BETTER * number, 0.95) if number % FAILS_EVERY else WORST
            simulation.cluster.merge(TEXT_CLASSIFIER, SPACE, name, {"spec": {"training": {"seed": number}}})


def move(simulation: Simulation, alone: threading.Lock) -> None:
    """Let time pass, and the other components of the cluster act."""
    while True:
        with alone:
            simulation.clock.now = datetime.now(UTC)
            simulation.world.step()
        time.sleep(PAUSE_SECONDS)


def _document(name: str) -> dict[str, Any]:
    spec = {**SPEC, "dataset": {"uri": f"s3://datasets/{name}/"}, "gate": {"minimum": 0.5}}
    return {"apiVersion": API, "kind": "TextClassifier", "metadata": {"name": name, "namespace": SPACE}, "spec": spec}


if __name__ == "__main__":
    main()
