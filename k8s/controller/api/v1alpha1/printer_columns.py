"""Columns of `kubectl get`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class PrinterColumn:
    """Column of `kubectl get`."""

    name: str
    path: str
    description: str
    type: str = "string"
    wide: bool = False  # only with -o wide

    def document(self) -> dict[str, Any]:
        """Return the column as an entry of a CRD."""
        priority = {"priority": 1} if self.wide else {}
        return {"name": self.name, "type": self.type, "description": self.description, "jsonPath": self.path, **priority}


def _of_condition(kind: str, field: str) -> str:
    return f'.status.conditions[?(@.type=="{kind}")].{field}'


AGE = PrinterColumn("Age", ".metadata.creationTimestamp", "Time since creation.", type="date")

TEXT_CLASSIFIER_COLUMNS = (
    PrinterColumn("Version", ".status.version", "Name of the served version."),
    PrinterColumn("Score", ".status.score", "Score of the served version.", type="number"),
    PrinterColumn("State", ".status.state", "State of the classifier."),
    PrinterColumn("Ready", _of_condition("Ready", "status"), "Whether the classifier serves requests."),
    PrinterColumn("Gate", _of_condition("GatePassed", "reason"), "Verdict of the gate on the latest published version."),
    AGE,
    PrinterColumn("Run", ".status.activeRun", "TrainingRun in progress.", wide=True),
    PrinterColumn("Message", ".status.message", "Explanation of the state.", wide=True),
)

TRAINING_RUN_COLUMNS = (
    PrinterColumn("Date", ".status.startedAt", "Time at which the training started."),
    PrinterColumn("Dataset", ".status.datasetHash", "First twelve characters of the SHA-256 of the dataset's content."),
    PrinterColumn("Path", ".spec.dataset.uri", "Address of the dataset."),
    PrinterColumn("MLflow", ".status.mlflowRunId", "Identifier of the run in MLflow."),
    PrinterColumn("Checkpoint", ".status.bestCheckpoint", "Published checkpoint."),
    PrinterColumn("F1", ".status.score", "Score on the test part.", type="number"),
    PrinterColumn("Minimum", ".status.minimum", "Lowest score that passes the gate.", type="number"),
    PrinterColumn("Weights", ".status.artifactUri", "Address of the published version."),
    PrinterColumn("State", ".status.state", "State of the run."),
    PrinterColumn("Message", ".status.message", "Outcome of the run.", wide=True),
)
