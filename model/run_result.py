"""What a training came to, in a form small enough for a Pod's termination message.

Written by the trainer, read by whoever started it: the controller learns a run's outcome from the Kubernetes API alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from model.manifest import Name, Sha256, Share, Strict

LARGEST = 4096  # bytes; Kubernetes cuts what is longer

ScoreName = Literal["micro-f1", "macro-f1", "samples-f1", "weighted-f1", "accuracy"]


ROUNDING = 1e-9  # of scores that are exactly as far apart as people write them


class GateScores(Strict):
    """What decides whether a version may be served: its scores on the test part, and what was asked for."""

    score: ScoreName = Field(description="the one that decides; accuracy: the share of texts whose labels are all right")
    value: Share = Field(description="of that score")
    baseline: Share = Field(description="the same score of the linear model, on the same texts")
    micro_f1: Share
    macro_f1: Share
    minimum: Share | None = Field(default=None, description="none: any value will do")
    served_version: Name | None = Field(default=None, description="what it was compared with")
    served_value: Share | None = Field(default=None, description="of the served version, on the same texts")
    tolerance: Share = Field(description="how far the value may be below that of the served version")
    passed: bool | None = Field(default=None, description="none: there was nothing to compare the value with")

    @property
    def is_below_minimum(self) -> bool:
        """Whether a minimum was asked for that it does not reach."""
        return self.minimum is not None and self.value < self.minimum - ROUNDING

    @property
    def is_worse_than_served(self) -> bool:
        """Whether it is behind the version it was compared with by more than the tolerance."""
        return self.served_value is not None and self.value < self.served_value - self.tolerance - ROUNDING


class RunResult(Strict):
    """The outcome of one attempt: a published version, or why there is none. Of a check, what a dataset holds."""

    schema_version: Literal[1] = 1
    exit_code: int
    message: str = Field(default="", description="what went wrong, or why the version did not pass the gate, in a sentence")
    classifier: Name | None = None
    version: Name | None = None
    artifact_uri: str | None = None
    manifest_sha256: Sha256 | None = Field(default=None, description="of the bytes of the version's manifest.json, as published")
    dataset_sha256: Sha256 | None = None
    test_sha256: Sha256 | None = Field(default=None, description="of the test set, if one was given")
    best_checkpoint: str | None = Field(default=None, description="such as step-1200; none for an architecture without steps")
    mlflow_run_id: str | None = None
    gate: GateScores | None = None
    seconds: float | None = Field(default=None, ge=0, description="of this attempt")


def write(result: RunResult, path: Path) -> None:
    """Write it into the file, whose folder exists; a message that is too long loses its end."""
    content = result.model_dump_json(exclude_none=True).encode()
    surplus = len(content) - LARGEST
    if surplus > 0:
        kept = result.message.encode()[: max(0, len(result.message.encode()) - surplus - 3)].decode(errors="ignore")
        content = result.model_copy(update={"message": f"{kept}…"}).model_dump_json(exclude_none=True).encode()
    path.write_bytes(content)
