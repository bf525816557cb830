"""One attempt at a run: its checkpoints, interruption, metrics, tracker and processes."""

from __future__ import annotations

from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry

from trainer.run.checkpoint_store import Checkpoints
from trainer.run.interruption import Interruption
from trainer.run.processes import Processes
from trainer.tracking.tracker import Tracker, Untracked
from trainer.tracking.training_metrics import TrainingMetrics


def _unseen() -> TrainingMetrics:
    return TrainingMetrics(CollectorRegistry())


@dataclass(frozen=True)
class Attempt:
    """Context of a run in this process. Without checkpoints, nothing is resumed and nothing is saved."""

    checkpoints: Checkpoints | None = None
    interruption: Interruption = field(default_factory=Interruption)
    metrics: TrainingMetrics = field(default_factory=_unseen)
    tracker: Tracker = field(default_factory=Untracked)
    processes: Processes = field(default_factory=Processes)
