"""TrainingRun: one training of a TextClassifier and its outcome. `kubectl get` lists all of them as a table."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from k8s.controller.api.v1alpha1.condition_schema import Conditions
from k8s.controller.api.v1alpha1.fields import Address, Message, Rule, Schema, SpecModel, StatusModel, Text, Time, VersionName
from k8s.controller.api.v1alpha1.shared_sections import DatasetSpec, GateSpec, StorageSpec, TrainingSpec
from model.fields import Sha256

TriggerReason = Literal["NewSpec", "Schedule", "DatasetChange", "Feedback", "Drift", "Manual"]
RunState = Literal["Pending", "Running", "Published", "Held", "Rejected", "Failed", "Superseded"]


def _never_changes(name: str) -> Rule:
    return Rule(
        f"!has(oldSelf.{name}) || (has(self.{name}) && self.{name} == oldSelf.{name})",
        f"{name} cannot be changed once it is set: create another TrainingRun",
        path=name,
    )


class ServedVersionSpec(SpecModel):
    """Served version that a run is compared with."""

    version: VersionName = Field(description="Name of the version.")
    uri: Address = Field(description="Address of the version in the storage.")
    manifest_sha256: Sha256 | None = Field(
        default=None,
        description="SHA-256 that the version's manifest.json must have. A version with another manifest is not compared.",
    )


class TriggerSpec(SpecModel):
    """Reason for this run."""

    reason: TriggerReason = Field(default="Manual", description="Kind of event that started the run.")
    token: Annotated[str, Field(max_length=256)] = Field(
        default="", description="Identifier of the event among those of the same reason, such as a time or a dataset's SHA-256."
    )
    message: Message = Field(default="", description="Reason for this run, in one sentence.")


class TrainingRunSpec(SpecModel):
    """Specification of one training."""

    classifier: Annotated[str, Field(pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$", max_length=40)] = Field(
        description="TextClassifier in this namespace that the run trains."
    )
    dataset: DatasetSpec | None = Field(
        default=None,
        description="Location and columns of the labelled texts. Without it, dataset, training, gate and storage are "
        "copied from the TextClassifier.",
    )
    training: TrainingSpec | None = Field(default=None, description="Model to train, and the nodes and resources to train it on.")
    gate: GateSpec | None = Field(default=None, description="Rule that decides whether the version is served.")
    storage: StorageSpec | None = Field(default=None, description="Object storage for the version, and its credentials.")
    served: ServedVersionSpec | None = Field(default=None, description="Served version that this run is compared with.")
    trigger: TriggerSpec | None = Field(default=None, description="Reason for this run.")
    cancelled: bool = Field(default=False, description="Set to true to stop the run. A stopped run cannot be resumed.")
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.dataset) == has(self.storage)",
            "expected both dataset and storage, or neither: then the TextClassifier's are used",
            lambda it: (it.dataset is None) == (it.storage is None),
            "storage",
        ),
        Rule(
            "has(self.dataset) || !has(self.training)",
            "expected dataset and storage beside training, or none of the three: then the TextClassifier's are used",
            lambda it: it.dataset is not None or it.training is None,
            "training",
        ),
        Rule(
            "has(self.dataset) || !has(self.gate)",
            "expected dataset and storage beside gate, or none of the three: then the TextClassifier's are used",
            lambda it: it.dataset is not None or it.gate is None,
            "gate",
        ),
        Rule(
            "has(self.dataset) || !has(self.trigger)",
            "expected dataset and storage beside trigger, or none of the three: then the controller sets the trigger",
            lambda it: it.dataset is not None or it.trigger is None,
            "trigger",
        ),
        *(_never_changes(name) for name in ("classifier", "dataset", "training", "storage", "served", "trigger")),
        Rule("!oldSelf.cancelled || self.cancelled", "a cancelled run cannot be resumed", path="cancelled"),
    )


class TrainingRunStatus(StatusModel):
    """Observed state of a run."""

    observed_generation: int | None = Field(default=None, description="Generation of the spec that this status refers to.")
    state: RunState | None = Field(
        default=None,
        description="One of Pending, Running, Published (passed the gate), Held (published, waits for approval), "
        "Rejected (published, failed the gate), Failed (nothing was published), Superseded (stopped by "
        "spec.cancelled or for another training).",
    )
    message: Message | None = Field(default=None, description="Outcome of the run, in one sentence.")
    image: Text | None = Field(
        default=None, description="Trainer image that could not be pulled. A controller with another image starts a new training."
    )
    trouble: Message | None = Field(default=None, description="Reason why Pods do not start or fail repeatedly.")
    started_at: Time | None = Field(default=None, description="Time at which the Job started.")
    finished_at: Time | None = Field(default=None, description="Time at which the Job ended.")
    seconds: float | None = Field(default=None, ge=0, description="How long the last attempt took.")
    dataset_sha256: Sha256 | None = Field(default=None, description="SHA-256 of the dataset's content, without corrections.")
    test_sha256: Sha256 | None = Field(default=None, description="SHA-256 of the test set's content, if there is a test set.")
    dataset_hash: Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")] | None = Field(
        default=None, description="First twelve characters of datasetSha256."
    )
    version: VersionName | None = Field(default=None, description="Name of the published version.")
    artifact_uri: Text | None = Field(default=None, description="Address of the published version in the storage.")
    manifest_sha256: Sha256 | None = Field(
        default=None, description="SHA-256 of the version's manifest.json, which lists the digests of all its files."
    )
    best_checkpoint: Text | None = Field(
        default=None, description="Published checkpoint, such as step-1200. Absent for architectures without checkpoints."
    )
    mlflow_run_id: Text | None = Field(default=None, description="Identifier of the run in MLflow, if it was tracked.")
    score: float | None = Field(default=None, description="Score on the test part, as spec.gate.score defines it.")
    minimum: float | None = Field(default=None, description="Value of spec.gate.minimum when the run was judged.")
    served_score: float | None = Field(default=None, description="Score of the served version on the same test part.")
    served_version: VersionName | None = Field(default=None, description="Served version that the run was compared with.")
    baseline_score: float | None = Field(default=None, description="Score of the linear baseline on the same test part.")
    passed: bool | None = Field(
        default=None,
        description="Whether the version may be served. Still true if a later gate refuses a version that is served.",
    )
    deleted: bool | None = Field(
        default=None, description="Whether the version's files were deleted, as history.versions demands."
    )
    result: Annotated[dict[str, Any], Schema({"x-kubernetes-preserve-unknown-fields": True})] | None = Field(
        default=None, description="Result that the trainer reported, unchanged."
    )
    conditions: Conditions = ()
