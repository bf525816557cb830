"""TextClassifier: where the texts are, how good is good enough, when to train again, how it is served."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from k8s.controller.api.durations import parse_duration
from k8s.controller.api.v1alpha1.conditions import Conditions
from k8s.controller.api.v1alpha1.fields import Duration, LabelValue, Message, Rule, Spec, Status, Text, Time, VersionName
from k8s.controller.api.v1alpha1.training import DatasetSpec, GateSpec, ResourcesSpec, StorageSpec, TolerationSpec, TrainingSpec
from model.manifest import Sha256


class FeedbackTriggerSpec(Spec):
    """Training again once people have corrected enough."""

    corrections: int = Field(ge=1, le=2**53, description="Since the latest training.")


class DriftTriggerSpec(Spec):
    """Training again once the texts are no longer those it was trained on."""

    index: float = Field(
        gt=0, le=10**6, description="The drift index of the served version, from Prometheus, that starts a training."
    )


class TriggersSpec(Spec):
    """When to train again. A change of dataset or training always does."""

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
        default=None, description="In cron's five fields, such as 0 3 * * 1, or @hourly, @daily, @weekly, @monthly, @yearly."
    )
    time_zone: Annotated[str, Field(pattern=r"^[A-Za-z][-+A-Za-z0-9_/]*$", max_length=64)] = Field(
        default="UTC", description="Of the schedule, such as Europe/Berlin."
    )
    dataset_change: bool = Field(default=False, description="Train when the content of the dataset has changed.")
    dataset_check_interval: Duration = Field(default="15m", description="How often the content is looked at: 10s or longer.")
    feedback: FeedbackTriggerSpec | None = Field(default=None, description="Train once people have corrected enough.")
    drift: DriftTriggerSpec | None = Field(
        default=None, description="Train once the texts are no longer those that the served version was trained on."
    )
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "duration(self.datasetCheckInterval) >= duration('10s')",
            "expected 10s or longer",
            lambda it: parse_duration(it.dataset_check_interval) >= 10,
            "datasetCheckInterval",
        ),
    )


class ReplicasSpec(Spec):
    """How many Pods answer."""

    minimum: int = Field(default=1, ge=1, le=1000, description="So many at least.")
    maximum: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        default=None, description="So many at most, by the load. Without it, as many as minimum."
    )
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.maximum) || self.maximum >= self.minimum",
            "expected minimum or more",
            lambda it: it.maximum is None or it.maximum >= it.minimum,
            "maximum",
        ),
    )


class RolloutSpec(Spec):
    """How another version takes the place of the served one."""

    strategy: Literal["rolling"] = Field(default="rolling", description="rolling: Pods are replaced one by one.")
    deadline: Duration = Field(default="10m", description="After so long without success, the version before is served again.")


class ServingSpec(Spec):
    """How the classifier is served."""

    version: VersionName | None = Field(
        default=None, description="The version to serve, whatever came later. Without it, the latest that passed the gate."
    )
    manifest_sha256: Sha256 | None = Field(
        default=None,
        description="SHA-256 of the manifest.json of that version: Pods refuse another one. Without it, the one that "
        "the version's TrainingRun tells; if that tells none, any is taken.",
    )
    replicas: ReplicasSpec = Field(default=ReplicasSpec(), description="How many Pods answer.")
    resources: ResourcesSpec = Field(default=ResourcesSpec(), description="Of the server's container.")
    node_selector: dict[str, LabelValue] = Field(
        default={}, max_length=64, description="Labels of the nodes to serve on, and to look at datasets and delete versions on."
    )
    tolerations: tuple[TolerationSpec, ...] = Field(
        default=(),
        max_length=64,
        description="Tolerations of these Pods.",
    )
    rollout: RolloutSpec = Field(default=RolloutSpec(), description="How another version takes the place of the served one.")
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.version) || !has(self.manifestSha256)",
            "expected version beside manifestSha256: it is the digest of that version's manifest",
            lambda it: it.version is not None or it.manifest_sha256 is None,
            "manifestSha256",
        ),
    )


class HistorySpec(Spec):
    """What is kept of the past. What is served is always kept."""

    runs: int = Field(default=10, ge=1, le=100, description="TrainingRuns that have ended.")
    versions: int = Field(default=5, ge=1, le=100, description="Published versions, the latest ones.")


class TextClassifierSpec(Spec):
    """What a user wants of a classifier."""

    dataset: DatasetSpec = Field(description="Where the labelled texts are, and which columns hold them.")
    training: TrainingSpec = Field(default=TrainingSpec(), description="What is fitted, and where.")
    triggers: TriggersSpec = Field(
        default=TriggersSpec(), description="When to train again. A change of dataset or training always does."
    )
    gate: GateSpec = Field(
        default=GateSpec(), description="How good a version has to be, to be served. One that is not stays published, and marked."
    )
    serving: ServingSpec = Field(default=ServingSpec(), description="How the classifier is served.")
    storage: StorageSpec = Field(description="Where versions are published, and who may read and write there.")
    history: HistorySpec = Field(default=HistorySpec(), description="What is kept of the past. What is served is always kept.")
    suspend: bool = Field(
        default=False, description="No new trainings and no new versions while this is true. What is served stays."
    )


class ServedStatus(Status):
    """The version that answers."""

    version: VersionName = Field(description="Its name, which is also that of its TrainingRun.")
    uri: Text = Field(description="Where it lies.")
    manifest_sha256: Sha256 | None = Field(
        default=None,
        description="SHA-256 of its manifest.json, which its Pods have found there. Without it, nothing vouches for it.",
    )
    score: float | None = Field(default=None, description="The gate's, on the test part.")
    since: Time | None = Field(default=None, description="When it became the only one to answer.")


class DatasetStatus(Status):
    """The content of the dataset when it was last looked at."""

    sha256: Sha256 | None = Field(default=None, description="Of the dataset's content.")
    test_sha256: Sha256 | None = Field(default=None, description="Of the test set's content, where there is one.")
    checked_at: Time | None = Field(default=None, description="When it was last looked at.")
    message: Message | None = Field(default=None, description="Why it could not be looked at.")


class ScheduleStatus(Status):
    """Since when a schedule holds: one that is new does not ask for what it would have asked for before."""

    expression: Text = Field(description="The schedule and its time zone.")
    since: Time = Field(description="When it was first seen.")


class RolloutStatus(Status):
    """The version that is taking the place of the served one."""

    version: VersionName = Field(description="Its name.")
    manifest_sha256: Sha256 | None = Field(default=None, description="SHA-256 that its manifest.json has to have.")
    started_at: Time = Field(description="When it began to.")
    deadline_paused_at: Time | None = Field(
        default=None,
        description="When the deadline was last paused because the delay was not this version's fault: no node had room for a "
        "Pod, or no Pod could be reached. The deadline starts over at this time.",
    )
    excused_at: Time | None = Field(
        default=None, description="Deprecated: the former name of deadlinePausedAt. The controller reads it once and removes it."
    )


class FailedRolloutStatus(Status):
    """A version that did not come to be served."""

    version: VersionName = Field(description="Its name.")
    manifest_sha256: Sha256 | None = Field(default=None, description="SHA-256 that its manifest.json had to have.")
    generation: int = Field(description="Of the TextClassifier, at that time: another generation tries again.")
    time: Time = Field(description="When it was given up.")
    message: Message = Field(default="", description="Why.")


class TextClassifierStatus(Status):
    """What the controller found, and did."""

    observed_generation: int | None = Field(default=None, description="The generation of the spec that this is about.")
    state: Annotated[str, Field(pattern=r"^[A-Z][A-Za-z]*$", max_length=32)] | None = Field(
        default=None,
        description="In one word: Pending, Training, Stuck (a training does not start, or fails again and again), RollingOut, "
        "Ready, Degraded (a version is served, and something is wrong), Held (no version is served, and one waits for approval), "
        "Rejected, Cancelled, Failed, Unavailable (no Pod is ready), Suspended, Invalid, Deleting.",
    )
    message: Message | None = Field(default=None, description="What the state means now, in one sentence.")
    version: VersionName | None = Field(default=None, description="The version that answers.")
    run_score: float | None = Field(
        default=None, description="The gate's score of the latest published version, on the test part."
    )
    score: float | None = Field(default=None, description="The gate's score of the version that answers, on the test part.")
    url: Text | None = Field(default=None, description="Where it answers, within the cluster.")
    served: ServedStatus | None = Field(default=None, description="The version that answers.")
    active_run: VersionName | None = Field(default=None, description="The TrainingRun that has not ended.")
    latest_run: VersionName | None = Field(default=None, description="The TrainingRun that began last.")
    dataset: DatasetStatus | None = Field(default=None, description="The dataset's content when it was last looked at.")
    schedule: ScheduleStatus | None = Field(default=None, description="The schedule, since it was set.")
    next_schedule: Time | None = Field(default=None, description="When the schedule starts the next training.")
    rollout: RolloutStatus | None = Field(default=None, description="The version that is taking the place of the served one.")
    failed_rollouts: tuple[FailedRolloutStatus, ...] = Field(
        default=(), max_length=100, description="Versions that did not come to be served."
    )
    corrections: int | None = Field(default=None, description="By people, since the latest training.")
    drift_index: float | None = Field(default=None, description="Of the texts that came, against those it was trained on.")
    conditions: Conditions = ()
