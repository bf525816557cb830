"""Result of a training, small enough for a Pod's termination message.

The trainer writes it. The controller reads it from the Pod's status, so it needs only the Kubernetes API.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from model.fields import Name, Sha256, Strict
from model.gate import GateRecord

MAX_RESULT_BYTES = 4096  # of a termination message; Kubernetes cuts what is longer


class RunResult(Strict):
    """Result of one attempt: a published version, or the reason for a failure. Of a dataset check: the dataset's SHA-256."""

    schema_version: Literal[1] = 1
    exit_code: int
    message: str = Field(
        default="", description="what went wrong, why the version did not pass the gate, or why it was not compared"
    )
    classifier: Name | None = None
    version: Name | None = None
    artifact_uri: str | None = None
    manifest_sha256: Sha256 | None = Field(default=None, description="of the bytes of the version's manifest.json, as published")
    dataset_sha256: Sha256 | None = Field(default=None, description="of the dataset's own files, without corrections")
    test_sha256: Sha256 | None = Field(default=None, description="of the test set, if one was given")
    best_checkpoint: str | None = Field(default=None, description="such as step-1200; none for an architecture without steps")
    mlflow_run_id: str | None = None
    gate: GateRecord | None = None
    seconds: float | None = Field(default=None, ge=0, description="of this attempt")


def write(result: RunResult, path: Path) -> None:
    """Write the result to a file, whose folder exists. A message that is too long is cut."""
    content = result.model_dump_json(exclude_none=True).encode()
    surplus = len(content) - MAX_RESULT_BYTES
    if surplus > 0:
        kept = result.message.encode()[: max(0, len(result.message.encode()) - surplus - 3)].decode(errors="ignore")
        content = result.model_copy(update={"message": f"{kept}…"}).model_dump_json(exclude_none=True).encode()
    path.write_bytes(content)
