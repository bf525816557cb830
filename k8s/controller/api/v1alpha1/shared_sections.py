"""Dataset, training, gate and storage: the parts that a TextClassifier and a TrainingRun have in common."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from k8s.controller.api.v1alpha1.fields import (
    Address,
    Column,
    Duration,
    Folder,
    LabelValue,
    ObjectName,
    Quantity,
    Rule,
    SpecModel,
    Text,
    Uri,
    VersionName,
    WebAddress,
)
from model.gate import GateRule
from model.manifest import FINE_TUNED, ArchitectureChoice
from model.scores import ScoreName


class DatasetSpec(SpecModel):
    """Location and columns of the labelled texts."""

    uri: Uri = Field(
        description="Address of the dataset: s3://bucket/key, hf://owner/name or kaggle://owner/name. A file, a folder or"
        " a glob of Parquet, CSV, TSV or JSON Lines, compressed or not."
    )
    test_uri: Uri | None = Field(
        default=None, description="Address of a test set. Defaults to a random part of the dataset, held out from training."
    )
    corrections: Folder | None = Field(
        default=None,
        description="Folder of corrections by people, such as s3://feedback/feedback/papers/, which each training learns beside "
        "the dataset. Defaults to no corrections.",
    )
    text_columns: tuple[Column, ...] = Field(
        default=("title", "abstract"),
        min_length=1,
        max_length=32,
        description="Columns that make up the text, joined by line breaks.",
    )
    label_column: Column | None = Field(
        default=None,
        description="Column that holds the labels, as strings or lists. Defaults to categories, unless labelColumns is set.",
    )
    label_columns: tuple[Column, ...] | None = Field(
        default=None, min_length=1, max_length=1024, description="Columns of 0 and 1, one for each label and named after it."
    )
    label_separator: Annotated[str, Field(max_length=16)] | None = Field(
        default=None,
        description="Separator of several labels in a string. Empty: each string is one label. Defaults to the separator "
        "that the trainer detects and reports.",
    )
    label_required: bool | None = Field(
        default=None,
        description="Whether every text has a label. False: a row of zeros in all label columns, or an empty list, is an "
        "example of a text without a label, and predictions may be empty. True: such rows are set aside. "
        "Defaults to false if the dataset has such rows.",
    )
    aliases: dict[str, Annotated[str, Field(max_length=256)]] = Field(
        default={},
        max_length=1024,
        description="Labels to rename, from old name to new name. Labels with the same new name count as one; an empty "
        "new name drops the label.",
    )
    sample_count: Annotated[int, Field(ge=1, le=2**53)] | None = Field(
        default=None, description="Number of randomly sampled rows to use. Defaults to all."
    )
    minimum_examples: int = Field(
        default=3,
        ge=1,
        le=2**53,
        description="Minimum number of examples per label. Labels with fewer are set aside, because training, validation "
        "and test part each need one.",
    )
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.labelColumn) || !has(self.labelColumns)",
            "expected one of labelColumn and labelColumns, found both",
            lambda it: it.label_column is None or it.label_columns is None,
            "labelColumns",
        ),
        Rule(
            "!has(self.labelColumn) || !(self.labelColumn in self.textColumns)",
            "expected a column that is not one of textColumns: the text would hold the answer",
            lambda it: it.label_column not in it.text_columns,
            "labelColumn",
        ),
        Rule(
            "!has(self.labelColumns) || !self.labelColumns.exists(each, each in self.textColumns)",
            "expected columns that are not among textColumns: the text would hold the answer",
            lambda it: not set(it.label_columns or ()) & set(it.text_columns),
            "labelColumns",
        ),
    )


class BalanceSpec(SpecModel):
    """Treatment of rare labels. It changes the training part only."""

    strategy: Literal["none", "undersample", "undersample-any", "mltl", "oversample"] = Field(
        default="none",
        description="Balancing strategy for the training part. undersample: drop texts whose labels are all frequent, "
        "with a probability that depends on all of them. undersample-any: draw for each label, and keep the text if any draw "
        "keeps it. mltl: drop texts that have only frequent labels and whose mutual nearest neighbour has clearly different "
        "labels. oversample: repeat texts of rare labels.",
    )
    threshold: Annotated[int, Field(ge=1, le=10**9)] | None = Field(
        default=None, description="Number of texts per label that undersampling aims at. Defaults to the median over the labels."
    )
    share: Annotated[float, Field(gt=0, le=4)] | None = Field(
        default=None, description="Number of texts that oversampling adds, as a share of the training part. Defaults to 0.25."
    )
    loss: Literal["plain", "weighted", "focal"] = Field(
        default="plain",
        description="Loss function. weighted: weight each label by the square root of its rarity. focal: give confident, correct "
        "predictions less weight; transformer only.",
    )


RESOURCE_NAME = r"^[A-Za-z0-9][-A-Za-z0-9._/]{0,316}$"


def _names_resources(side: str) -> Rule:
    return Rule(
        f"!has(self.{side}) || self.{side}.all(name, name.matches('{RESOURCE_NAME}'))",
        "expected names of resources, such as cpu, memory or nvidia.com/gpu",
        lambda it: all(re.fullmatch(RESOURCE_NAME, name) for name in getattr(it, side)),
        side,
    )


class ResourcesSpec(SpecModel):
    """Compute resources of a container."""

    requests: dict[str, Quantity] = Field(default={}, max_length=32, description="Requested resources, such as cpu and memory.")
    limits: dict[str, Quantity] = Field(
        default={}, max_length=32, description="Upper limits, such as memory, or nvidia.com/gpu for GPUs."
    )
    rules: ClassVar[tuple[Rule, ...]] = (_names_resources("requests"), _names_resources("limits"))


class TolerationSpec(SpecModel):
    """Toleration of a node's taint, as in a Pod."""

    key: Annotated[str, Field(min_length=1, max_length=316)] | None = Field(
        default=None, description="Key of the taint. Without it, operator Exists matches every taint."
    )
    operator: Literal["Exists", "Equal"] | None = Field(
        default=None, description="Equal: the value must match. Exists: any value matches. Defaults to Equal."
    )
    value: LabelValue | None = Field(default=None, description="Value of the taint.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        default=None, description="Effect of the taint. Defaults to all effects."
    )
    toleration_seconds: Annotated[int, Field(ge=0, le=2**53)] | None = Field(
        default=None, description="Seconds for which the effect NoExecute is tolerated. Defaults to no limit."
    )


class TrackingSpec(SpecModel):
    """Experiment tracking with MLflow."""

    uri: WebAddress | None = Field(
        default=None,
        description="Address of an MLflow server. Defaults to MLFLOW_TRACKING_URI in the storage's Secret; without "
        "either, no tracking. The Secret's MLflow credentials are sent only to the server that its "
        "MLFLOW_TRACKING_URI names.",
    )
    experiment: Text | None = Field(default=None, description="Name of the MLflow experiment. Defaults to the classifier's name.")


IS_FINE_TUNED = f"self.architecture in {[each.value for each in FINE_TUNED]}"


class TrainingSpec(SpecModel):
    """Model to train, and the nodes and resources to train it on."""

    architecture: ArchitectureChoice = Field(
        default="auto",
        description="Architecture of the model. auto: train linear, and transformer if baseModel is set, then publish the"
        " fastest one whose score is close to the best.",
    )
    base_model: Address | None = Field(
        default=None,
        description="Encoder to fine-tune: s3://bucket/prefix/ or a name on the Hugging Face hub.",
    )
    epochs: Annotated[float, Field(gt=0, le=10**6)] | None = Field(
        default=None, description="Number of epochs of the transformer. Defaults to 3."
    )
    batch_size: Annotated[int, Field(ge=1, le=10**6)] | None = Field(
        default=None, description="Number of texts per optimizer step of the transformer. Defaults to 32."
    )
    learning_rate: Annotated[float, Field(gt=0, le=10**6)] | None = Field(
        default=None, description="Peak learning rate of the transformer, after warm-up. Defaults to 1e-4."
    )
    max_length: Annotated[int, Field(ge=8, le=8192)] | None = Field(
        default=None, description="Number of tokens after which the transformer truncates a text. Defaults to 256."
    )
    seed: int = Field(
        default=0, ge=0, le=2**32 - 1, description="Random seed. The same seed, data and machine give the same model."
    )
    balance: BalanceSpec = Field(
        default=BalanceSpec(), description="Treatment of rare labels. It changes the training part only."
    )
    nodes: int = Field(
        default=1,
        ge=1,
        le=64,
        description="Number of Pods for distributed training, each with its own GPUs or CPUs. More than 1 requires baseModel.",
    )
    resources: ResourcesSpec = Field(default=ResourcesSpec(), description="Resources of the trainer's container, in each Pod.")
    node_selector: dict[str, LabelValue] = Field(
        default={}, max_length=64, description="Labels that a node must have to run the trainer's Pods."
    )
    tolerations: tuple[TolerationSpec, ...] = Field(default=(), max_length=64, description="Tolerations of the trainer's Pods.")
    timeout: Duration = Field(
        default="72h",
        description="Maximum duration of a run, including interruptions, such as 90s, 15m or 1h30m. After it, the run fails.",
    )
    tracking: TrackingSpec = Field(default=TrackingSpec(), description="Experiment tracking with MLflow.")
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            f"!({IS_FINE_TUNED}) || has(self.baseModel)",
            "expected a baseModel: the transformer fine-tunes it",
            lambda it: it.architecture not in FINE_TUNED or it.base_model is not None,
            "baseModel",
        ),
        Rule(
            "self.nodes == 1 || has(self.baseModel)",
            "expected 1 without baseModel: only the transformer trains on several nodes",
            lambda it: it.nodes == 1 or it.base_model is not None,
            "nodes",
        ),
        Rule(
            f"self.balance.loss != 'focal' || {IS_FINE_TUNED} || has(self.baseModel)",
            "expected plain or weighted without baseModel: only the transformer has focal loss",
            lambda it: it.balance.loss != "focal" or it.architecture in FINE_TUNED or it.base_model is not None,
            "balance.loss",
        ),
    )


class GateSpec(GateRule, SpecModel):
    """Rule that decides whether a version is served. A version that does not pass stays in the storage."""

    score: ScoreName = Field(default=ScoreName.MICRO_F1, description="Score that the gate compares, on the test part.")
    minimum: Annotated[float, Field(ge=0, le=1)] | None = Field(
        default=None,
        description="Lowest score of a version that may be served. Without it, a version is held for approval if "
        "its dataset is suspicious.",
    )
    tolerance: float = Field(
        default=0.005,
        ge=0,
        le=1,
        description="How far a version's score may be below the served version's, on the same test part.",
    )
    served_may_fall: bool = Field(
        default=False,
        description="Whether the dataset may change so much that the served version scores far lower on it. If false, and"
        " without minimum, a version trained on such a dataset is held for approval.",
    )
    approve: VersionName | None = Field(
        default=None,
        description="Version to serve although its dataset is suspicious or it scores below the served version. Check the"
        " dataset before you set it. spec.gate.minimum still applies.",
    )


class StorageSpec(SpecModel):
    """Object storage for versions, and its credentials."""

    uri: Annotated[str, Field(pattern=r"^s3://[a-z0-9][-a-z0-9.]{1,61}[a-z0-9](/[^/$?#\x00-\x20]+)*/?$", max_length=1024)] = (
        Field(description="s3://bucket or s3://bucket/prefix. Versions are stored at <uri>/<classifier>/<version>/.")
    )
    secret_name: ObjectName | None = Field(
        default=None,
        description="Secret in this namespace with AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL and other"
        " variables of the AWS SDK. All its keys become environment variables of the containers that train or download "
        "versions. Exclusive with serviceAccountName.",
    )
    service_account_name: ObjectName | None = Field(
        default=None,
        description="ServiceAccount in this namespace with access to the storage by workload identity. Exclusive with "
        "secretName.",
    )
    deletion_policy: Literal["Keep", "Delete"] = Field(
        default="Keep",
        description="Fate of the published versions when the TextClassifier is deleted. Keep: they stay. Delete: all "
        "versions below <uri>/<classifier>/ are deleted.",
    )
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.secretName) != has(self.serviceAccountName)",
            "expected exactly one of secretName and serviceAccountName",
            lambda it: (it.secret_name is None) != (it.service_account_name is None),
            "secretName",
        ),
    )
