"""What a training came to, in a form small enough for a Pod's termination message.

Written by the trainer, read by whoever started it: the controller learns a run's outcome from the Kubernetes API alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from model.manifest import Name, Sha256, Share, Strict

LARGEST = 4096  # bytes; Kubernetes cuts what is longer


class GateScores(Strict):
    """What decides whether a version may be served: its scores on the test part, and the least that was asked for."""

    micro_f1: Share
    macro_f1: Share
    baseline_micro_f1: Share
    minimum_micro_f1: Share | None = None
    passed: bool | None = Field(default=None, description="none: no least score was asked for")


class RunResult(Strict):
    """The outcome of one attempt: a published version, or why there is none."""

    schema_version: Literal[1] = 1
    exit_code: int
    message: str = Field(default="", description="what went wrong, in a sentence")
    classifier: Name | None = None
    version: Name | None = None
    artifact_uri: str | None = None
    dataset_sha256: Sha256 | None = None
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
