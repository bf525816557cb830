"""TrainingRun: one training of a TextClassifier, and what came of it. A list of them is a table of every training."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from k8s.controller.api.v1alpha1.conditions import Conditions
from k8s.controller.api.v1alpha1.fields import Address, Message, Rule, Schema, Spec, Status, Text, Time, VersionName
from k8s.controller.api.v1alpha1.training import DatasetSpec, GateSpec, StorageSpec, TrainingSpec
from model.manifest import Sha256

TriggerReason = Literal["NewSpec", "Schedule", "DatasetChange", "Feedback", "Drift", "Manual"]
RunState = Literal["Pending", "Running", "Published", "Held", "Rejected", "Failed", "Superseded"]


def _never_changes(name: str) -> Rule:
    return Rule(
        f"!has(oldSelf.{name}) || (has(self.{name}) && self.{name} == oldSelf.{name})",
        f"{name} of a training does not change once it is set: another training is another TrainingRun",
        path=name,
    )


class ServedVersionSpec(Spec):
    """The version that a run is compared with."""

    version: VersionName = Field(description="Its name.")
    uri: Address = Field(description="Where it lies.")
    manifest_sha256: Sha256 | None = Field(
        default=None,
        description="SHA-256 that its manifest.json has to have. With another one there, nothing is compared with it.",
    )


class TriggerSpec(Spec):
    """Why there is this run."""

    reason: TriggerReason = Field(default="Manual", description="What started it.")
    token: Annotated[str, Field(max_length=256)] = Field(
        default="", description="What tells it from others of the same reason: a time, a generation, a dataset's SHA-256."
    )
    message: Message = Field(default="", description="Why there is this run, in one sentence.")


class TrainingRunSpec(Spec):
    """What one training does."""

    classifier: Annotated[str, Field(pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$", max_length=40)] = Field(
        description="The TextClassifier of this namespace that is trained."
    )
    dataset: DatasetSpec | None = Field(
        default=None, description="The labelled texts. Without it, dataset, training, gate and storage are the TextClassifier's."
    )
    training: TrainingSpec | None = Field(default=None, description="What is fitted, and where.")
    gate: GateSpec | None = Field(default=None, description="How good the version has to be, to be served.")
    storage: StorageSpec | None = Field(default=None, description="Where the version is published.")
    served: ServedVersionSpec | None = Field(default=None, description="The version that this one is compared with.")
    trigger: TriggerSpec | None = Field(default=None, description="Why there is this run.")
    cancelled: bool = Field(default=False, description="True: it is stopped, and cannot go on.")
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.dataset) == has(self.storage)",
            "expected both of dataset and storage, or none: then they are the TextClassifier's",
            lambda it: (it.dataset is None) == (it.storage is None),
            "storage",
        ),
        Rule(
            "has(self.dataset) || !has(self.training)",
            "expected dataset and storage beside training; or none of them: then they are the TextClassifier's",
            lambda it: it.dataset is not None or it.training is None,
            "training",
        ),
        Rule(
            "has(self.dataset) || !has(self.gate)",
            "expected dataset and storage beside gate; or none of them: then they are the TextClassifier's",
            lambda it: it.dataset is not None or it.gate is None,
            "gate",
        ),
        Rule(
            "has(self.dataset) || !has(self.trigger)",
            "expected dataset and storage beside trigger; or none of them: then the controller says why there is this run",
            lambda it: it.dataset is not None or it.trigger is None,
            "trigger",
        ),
        *(_never_changes(name) for name in ("classifier", "dataset", "training", "storage", "served", "trigger")),
        Rule("!oldSelf.cancelled || self.cancelled", "a cancelled training cannot go on", path="cancelled"),
    )


class TrainingRunStatus(Status):
    """What came of it."""

    observed_generation: int | None = Field(default=None, description="The generation of the spec that this is about.")
    state: RunState | None = Field(
        default=None,
        description="Pending, Running; then Published: good enough to be served; Held: published, and not served until "
        "someone has looked at its dataset; Rejected: published, and not good enough; Failed: nothing was published; "
        "Superseded: stopped for a later one, or by hand.",
    )
    message: Message | None = Field(default=None, description="What came of it, in one sentence.")
    image: Text | None = Field(
        default=None, description="The trainer's image, if it could not be pulled: another one trains anew."
    )
    trouble: Message | None = Field(default=None, description="Why its Pods do not start, or end before their time.")
    started_at: Time | None = Field(default=None, description="When its Job began.")
    finished_at: Time | None = Field(default=None, description="When its Job ended.")
    seconds: float | None = Field(default=None, ge=0, description="How long the last attempt took.")
    dataset_sha256: Sha256 | None = Field(default=None, description="Of the dataset's content.")
    test_sha256: Sha256 | None = Field(default=None, description="Of the test set's content, where there is one.")
    dataset_hash: Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")] | None = Field(
        default=None, description="The first twelve characters of datasetSha256."
    )
    version: VersionName | None = Field(default=None, description="Of what was published.")
    artifact_uri: Text | None = Field(default=None, description="Where what was published lies.")
    manifest_sha256: Sha256 | None = Field(
        default=None, description="SHA-256 of its manifest.json, which lists the digests of all its files."
    )
    best_checkpoint: Text | None = Field(default=None, description="Such as step-1200; none of an architecture without steps.")
    mlflow_run_id: Text | None = Field(default=None, description="Of the run in MLflow, where it was tracked.")
    score: float | None = Field(default=None, description="The gate's, on the test part.")
    minimum: float | None = Field(default=None, description="The least score that was asked for.")
    served_score: float | None = Field(default=None, description="The score of the version it was compared with.")
    served_version: VersionName | None = Field(default=None, description="The version it was compared with.")
    baseline_score: float | None = Field(default=None, description="The linear model's score, on the same texts.")
    passed: bool | None = Field(default=None, description="Whether it is good enough to be served.")
    deleted: bool | None = Field(default=None, description="Whether its files are gone, by history.versions.")
    result: Annotated[dict[str, Any], Schema({"x-kubernetes-preserve-unknown-fields": True})] | None = Field(
        default=None, description="What the trainer told in the end, as it is."
    )
    conditions: Conditions = ()
