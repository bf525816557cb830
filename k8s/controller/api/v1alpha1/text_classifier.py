"""TextClassifier: dataset, training, triggers, gate, serving and storage of a classifier."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from k8s.controller.api.durations import parse_duration
from k8s.controller.api.v1alpha1.condition_schema import Conditions
from k8s.controller.api.v1alpha1.fields import (
    Duration,
    LabelValue,
    Message,
    ObjectName,
    Rule,
    SpecModel,
    StatusModel,
    Text,
    Time,
    VersionName,
)
from k8s.controller.api.v1alpha1.shared_sections import (
    DatasetSpec,
    GateSpec,
    ResourcesSpec,
    StorageSpec,
    TolerationSpec,
    TrainingSpec,
)
from model.fields import Sha256


class FeedbackTriggerSpec(SpecModel):
    """Retraining after corrections by people."""

    corrections: int = Field(
        ge=1, le=2**53, description="Number of corrections since the latest training at which a new one starts."
    )


class DriftTriggerSpec(SpecModel):
    """Retraining after a change in the texts that are classified."""

    index: float = Field(
        gt=0,
        le=10**6,
        description="Drift index at which a training starts: the population stability index that the server exports to"
        " Prometheus. Above 0.25, drift is large.",
    )


class TriggersSpec(SpecModel):
    """Events that start a training, in addition to a change of the spec."""

    schedule: (
        Annotated[
            str,
            Field(
                pattern=r"^(@(yearly|annually|monthly|weekly|daily|midnight|hourly)|[-*/,#0-9A-Za-z]+( +[-*/,#0-9A-Za-z]+){4})$",
                max_length=128,
            ),
        ]
        | None
    ) = Field(
        default=None,
        description="Cron expression with five fields, such as 0 3 * * 1, or one of @hourly, @daily, @weekly, @monthly, @yearly.",
    )
    time_zone: Annotated[str, Field(pattern=r"^[A-Za-z][-+A-Za-z0-9_/]*$", max_length=64)] = Field(
        default="UTC", description="IANA time zone of the schedule, such as Europe/Berlin."
    )
    dataset_change: bool = Field(default=False, description="Start a training when the content of the dataset changes.")
    dataset_check_interval: Duration = Field(
        default="15m", description="Time between two checks of the dataset's content, 10s or longer."
    )
    feedback: FeedbackTriggerSpec | None = Field(default=None, description="Start a training after enough corrections by people.")
    drift: DriftTriggerSpec | None = Field(
        default=None,
        description="Start a training when the classified texts differ too much from those the served version was tested on.",
    )
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "duration(self.datasetCheckInterval) >= duration('10s')",
            "expected 10s or longer",
            lambda it: parse_duration(it.dataset_check_interval) >= 10,
            "datasetCheckInterval",
        ),
    )


class ReplicasSpec(SpecModel):
    """Number of Pods that serve the classifier."""

    minimum: int = Field(default=1, ge=1, le=1000, description="Smallest number of Pods.")
    maximum: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        default=None, description="Largest number of Pods under load. Defaults to minimum, which turns autoscaling off."
    )
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.maximum) || self.maximum >= self.minimum",
            "expected minimum or more",
            lambda it: it.maximum is None or it.maximum >= it.minimum,
            "maximum",
        ),
    )


class RolloutSpec(SpecModel):
    """Replacement of the served version by another one."""

    strategy: Literal["rolling"] = Field(
        default="rolling", description="Strategy of the rollout. rolling: Pods are replaced one by one."
    )
    deadline: Duration = Field(
        default="10m", description="Time that a new version has to become ready. After it, the previous version is served again."
    )


class ServingSpec(SpecModel):
    """Pods that serve the classifier."""

    version: VersionName | None = Field(
        default=None,
        description="Version to serve, even if a later one has passed the gate. Defaults to the latest version that passed.",
    )
    manifest_sha256: Sha256 | None = Field(
        default=None,
        description="SHA-256 of the manifest.json of spec.serving.version. Pods refuse a version with another manifest. "
        "Defaults to the digest in the version's TrainingRun; without one, the manifest is not checked.",
    )
    replicas: ReplicasSpec = Field(default=ReplicasSpec(), description="Number of Pods that serve the classifier.")
    resources: ResourcesSpec = Field(default=ResourcesSpec(), description="Resources of the predictor's container.")
    secret_name: ObjectName | None = Field(
        default=None,
        description="Secret in this namespace with which the Pods that serve download a version, such as one that may only read. "
        "Defaults to spec.storage.secretName.",
    )
    node_selector: dict[str, LabelValue] = Field(
        default={},
        max_length=64,
        description="Labels that a node must have to run Pods that serve, check the dataset or delete versions.",
    )
    tolerations: tuple[TolerationSpec, ...] = Field(
        default=(),
        max_length=64,
        description="Tolerations of the Pods that serve, check the dataset or delete versions.",
    )
    rollout: RolloutSpec = Field(default=RolloutSpec(), description="Replacement of the served version by another one.")
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.version) || !has(self.manifestSha256)",
            "expected version beside manifestSha256: it is the digest of that version's manifest",
            lambda it: it.version is not None or it.manifest_sha256 is None,
            "manifestSha256",
        ),
    )


class HistorySpec(SpecModel):
    """Number of past runs and versions to keep. The served, the pinned and the newest accepted version are always kept."""

    runs: int = Field(default=10, ge=1, le=100, description="Number of TrainingRuns to keep.")
    versions: int = Field(
        default=5, ge=1, le=100, description="Number of published versions to keep in the storage: the latest ones."
    )


class TextClassifierSpec(SpecModel):
    """Desired state of a classifier."""

    dataset: DatasetSpec = Field(description="Location and columns of the labelled texts.")
    training: TrainingSpec = Field(
        default=TrainingSpec(), description="Model to train, and the nodes and resources to train it on."
    )
    triggers: TriggersSpec = Field(
        default=TriggersSpec(),
        description="Events that start a training, in addition to a change of dataset, storage.uri or training. The fields nodes,"
        " resources, nodeSelector, tolerations, timeout and tracking of training do not repeat a training that has succeeded.",
    )
    gate: GateSpec = Field(
        default=GateSpec(),
        description="Rule that decides whether a version is served. A version that does not pass stays in the storage.",
    )
    serving: ServingSpec = Field(default=ServingSpec(), description="Pods that serve the classifier.")
    storage: StorageSpec = Field(description="Object storage for versions, and its credentials.")
    history: HistorySpec = Field(
        default=HistorySpec(),
        description="Number of past runs and versions to keep. The served, the pinned and the newest accepted version are always"
        " kept.",
    )
    suspend: bool = Field(
        default=False, description="While true, no training starts and no new version is rolled out. The served version stays."
    )


class ServedStatus(StatusModel):
    """Served version: its address, digest and score."""

    version: VersionName = Field(description="Name of the version and of its TrainingRun.")
    uri: Text = Field(description="Address of the version in the storage.")
    manifest_sha256: Sha256 | None = Field(
        default=None,
        description="SHA-256 of manifest.json that the Pods have verified. Absent if the manifest was not checked.",
    )
    score: float | None = Field(default=None, description="Score on the test part, as spec.gate.score defines it.")
    since: Time | None = Field(default=None, description="Time from which all Pods have served this version.")
    pinned: bool = Field(default=False, description="Whether spec.serving.version named this version when it was first served.")


class DatasetStatus(StatusModel):
    """Result of the latest check of the dataset's content."""

    sha256: Sha256 | None = Field(default=None, description="SHA-256 of the dataset's content.")
    test_sha256: Sha256 | None = Field(
        default=None, description="SHA-256 of the test set's content, if spec.dataset.testUri is set."
    )
    checked_at: Time | None = Field(default=None, description="Time of the latest check.")
    message: Message | None = Field(default=None, description="Error of the latest check, if it failed.")


class ScheduleStatus(StatusModel):
    """Schedule and the time from which it applies. Earlier times start no training."""

    expression: Text = Field(description="Cron expression and time zone.")
    since: Time = Field(
        description="Time from which the schedule applies: when the controller first saw it, or the classifier's creation if it"
        " had no run yet."
    )


class RolloutStatus(StatusModel):
    """Rollout in progress."""

    version: VersionName = Field(description="Name of the version.")
    manifest_sha256: Sha256 | None = Field(default=None, description="SHA-256 that the version's manifest.json must have.")
    started_at: Time = Field(description="Time at which the rollout began.")
    deadline_paused_at: Time | None = Field(
        default=None,
        description="Time at which the deadline was last paused because the delay was not this version's fault: no node had room "
        "for a Pod, or no Pod could be reached. The deadline starts over at this time.",
    )
    excused_at: Time | None = Field(
        default=None, description="Deprecated: the former name of deadlinePausedAt. The controller replaces it."
    )


class FailedRolloutStatus(StatusModel):
    """Rollout that was given up."""

    version: VersionName = Field(description="Name of the version.")
    manifest_sha256: Sha256 | None = Field(default=None, description="SHA-256 that the version's manifest.json had to have.")
    generation: int = Field(
        description="Generation of the TextClassifier during the rollout. A change of the spec allows another attempt."
    )
    time: Time = Field(description="Time at which the rollout was given up.")
    message: Message = Field(default="", description="Reason why the rollout was given up.")


class TextClassifierStatus(StatusModel):
    """Observed state of a classifier."""

    observed_generation: int | None = Field(default=None, description="Generation of the spec that this status refers to.")
    state: Annotated[str, Field(pattern=r"^[A-Z][A-Za-z]*$", max_length=32)] | None = Field(
        default=None,
        description="One of Pending, Training, Stuck (a training does not start or fails repeatedly), RollingOut, "
        "Ready, Degraded (a version is served, but there is a problem), Held (no version is served, one waits for approval), "
        "Rejected, Cancelled, Failed, Unavailable (no Pod is ready), Suspended, Invalid, Deleting.",
    )
    message: Message | None = Field(default=None, description="Explanation of the state, in one sentence.")
    version: VersionName | None = Field(default=None, description="Name of the served version.")
    run_score: float | None = Field(default=None, description="Score of the latest published version on the test part.")
    score: float | None = Field(default=None, description="Score of the served version on the test part.")
    url: Text | None = Field(default=None, description="URL of the classifier within the cluster.")
    served: ServedStatus | None = Field(default=None, description="Served version: its address, digest and score.")
    active_run: VersionName | None = Field(default=None, description="TrainingRun in progress.")
    latest_run: VersionName | None = Field(default=None, description="Latest TrainingRun.")
    dataset: DatasetStatus | None = Field(default=None, description="Result of the latest check of the dataset's content.")
    schedule: ScheduleStatus | None = Field(default=None, description="Schedule and the time from which it applies.")
    next_schedule: Time | None = Field(default=None, description="Time of the next scheduled training.")
    rollout: RolloutStatus | None = Field(default=None, description="Rollout in progress.")
    failed_rollouts: tuple[FailedRolloutStatus, ...] = Field(
        default=(), max_length=100, description="Rollouts that were given up."
    )
    corrections: int | None = Field(default=None, description="Number of corrections by people since the latest training.")
    drift_index: float | None = Field(
        default=None,
        description="The larger of two population stability indices, of predicted labels and of text lengths, against the test "
        "part. 0 means no drift.",
    )
    conditions: Conditions = ()
