"""Types of Labelwright's resources: their specs, their statuses, and the reading of both from documents."""

from k8s.controller.api.durations import parse_duration
from k8s.controller.api.v1alpha1.condition_schema import Condition
from k8s.controller.api.v1alpha1.reading import (
    SpecRejected,
    read_text_classifier,
    read_text_classifier_status,
    read_training_run,
    read_training_run_status,
)
from k8s.controller.api.v1alpha1.shared_sections import (
    BalanceSpec,
    DatasetSpec,
    GateSpec,
    ResourcesSpec,
    StorageSpec,
    TolerationSpec,
    TrackingSpec,
    TrainingSpec,
)
from k8s.controller.api.v1alpha1.text_classifier import (
    DatasetStatus,
    DriftTriggerSpec,
    FailedRolloutStatus,
    FeedbackTriggerSpec,
    HistorySpec,
    ReplicasSpec,
    RolloutSpec,
    RolloutStatus,
    ServedStatus,
    ServingSpec,
    TextClassifierSpec,
    TextClassifierStatus,
    TriggersSpec,
)
from k8s.controller.api.v1alpha1.training_run import (
    RunState,
    ServedVersionSpec,
    TrainingRunSpec,
    TrainingRunStatus,
    TriggerReason,
    TriggerSpec,
)

GROUP = "labelwright.dev"
VERSION = "v1alpha1"

__all__ = [
    "GROUP",
    "VERSION",
    "BalanceSpec",
    "Condition",
    "DatasetSpec",
    "DatasetStatus",
    "DriftTriggerSpec",
    "FailedRolloutStatus",
    "FeedbackTriggerSpec",
    "GateSpec",
    "HistorySpec",
    "ReplicasSpec",
    "ResourcesSpec",
    "RolloutSpec",
    "RolloutStatus",
    "RunState",
    "ServedStatus",
    "ServedVersionSpec",
    "ServingSpec",
    "SpecRejected",
    "StorageSpec",
    "TextClassifierSpec",
    "TextClassifierStatus",
    "TolerationSpec",
    "TrackingSpec",
    "TrainingRunSpec",
    "TrainingRunStatus",
    "TrainingSpec",
    "TriggerReason",
    "TriggerSpec",
    "TriggersSpec",
    "parse_duration",
    "read_text_classifier",
    "read_text_classifier_status",
    "read_training_run",
    "read_training_run_status",
]
