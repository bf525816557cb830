"""What is trained on what: the parts that a TextClassifier and a TrainingRun have in common."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from k8s.controller.api.v1alpha1.fields import (
    Address,
    Column,
    Duration,
    LabelValue,
    ObjectName,
    Quantity,
    Rule,
    Spec,
    Text,
    Uri,
    VersionName,
    WebAddress,
)

Architecture = Literal["auto", "linear", "transformer"]
ScoreName = Literal["micro-f1", "macro-f1", "samples-f1", "weighted-f1", "accuracy"]


class DatasetSpec(Spec):
    """Where the labelled texts are, and which columns hold them."""

    uri: Uri = Field(
        description="s3://bucket/key, hf://owner/name or kaggle://owner/name: a file, a folder or a glob of Parquet, CSV, TSV or "
        "JSON Lines, compressed or not."
    )
    test_uri: Uri | None = Field(
        default=None, description="A test set, taken as it is. Without it, a part of the dataset is set aside."
    )
    text_columns: tuple[Column, ...] = Field(
        default=("title", "abstract"), min_length=1, max_length=32, description="Joined by a line break into the text."
    )
    label_column: Column | None = Field(
        default=None, description="The column of labels, strings or lists. Without it and labelColumns: categories."
    )
    label_columns: tuple[Column, ...] | None = Field(
        default=None, min_length=1, max_length=1024, description="Several columns of 0 and 1, named after their labels."
    )
    label_separator: Annotated[str, Field(max_length=16)] | None = Field(
        default=None,
        description="What joins several labels in a string. Empty: the string is one label. Without it, it is found out and "
        "reported.",
    )
    label_required: bool | None = Field(
        default=None,
        description="Whether every text has a label. False: a row of zeros in all label columns, or an empty list, is an example "
        "of a text without a label, and such a text is answered with none. True: such rows are set aside. Without it, false if "
        "the dataset has such rows.",
    )
    aliases: dict[str, Annotated[str, Field(max_length=256)]] = Field(
        default={},
        max_length=1024,
        description="Labels to rename, old name to new, so that both count as one. An empty new name drops the label, as if it "
        "were not given.",
    )
    sample_count: Annotated[int, Field(ge=1, le=2**53)] | None = Field(
        default=None, description="Train on a random sample of this many rows. Without it, on all."
    )
    minimum_examples: int = Field(
        default=3,
        ge=1,
        le=2**53,
        description="A label with fewer is set aside: it could not stand in training, validation and test.",
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


class BalanceSpec(Spec):
    """What is done about labels that are rarer than others, in the training part alone."""

    strategy: Literal["none", "undersample", "undersample-any", "mltl", "oversample"] = Field(
        default="none",
        description="undersample: drop texts by the joint probability of their labels' excess. undersample-any: keep a text if "
        "any of its labels draws to keep it. mltl: drop texts of frequent labels only whose nearest text has other labels. "
        "oversample: repeat texts of rare labels.",
    )
    threshold: Annotated[int, Field(ge=1, le=10**9)] | None = Field(
        default=None, description="Texts of a label that undersampling aims at. Without it, the median of the labels' counts."
    )
    share: Annotated[float, Field(gt=0, le=4)] | None = Field(
        default=None, description="Texts that oversampling adds, as a share of those there are. Without it, 0.25."
    )
    loss: Literal["plain", "weighted", "focal"] = Field(
        default="plain",
        description="weighted: each label by the square root of its rarity. focal: decisions that are right already count less, "
        "of the transformer only.",
    )


RESOURCE_NAME = r"^[A-Za-z0-9][-A-Za-z0-9._/]{0,316}$"


def _names_resources(side: str) -> Rule:
    return Rule(
        f"!has(self.{side}) || self.{side}.all(name, name.matches('{RESOURCE_NAME}'))",
        "expected names of resources, such as cpu, memory or nvidia.com/gpu",
        lambda it: all(re.fullmatch(RESOURCE_NAME, name) for name in getattr(it, side)),
        side,
    )


class ResourcesSpec(Spec):
    """What a container asks of its node."""

    requests: dict[str, Quantity] = Field(
        default={}, max_length=32, description="What is set aside for it on a node, such as cpu and memory."
    )
    limits: dict[str, Quantity] = Field(
        default={}, max_length=32, description="What it may not exceed, such as memory, or nvidia.com/gpu for GPUs."
    )
    rules: ClassVar[tuple[Rule, ...]] = (_names_resources("requests"), _names_resources("limits"))


class TolerationSpec(Spec):
    """A taint of nodes that Pods tolerate, as in a Pod."""

    key: Annotated[str, Field(min_length=1, max_length=316)] | None = Field(
        default=None, description="The taint's. Without it, and with the operator Exists: every taint."
    )
    operator: Literal["Exists", "Equal"] | None = Field(
        default=None, description="Exists: whatever the value. Without it, Equal."
    )
    value: LabelValue | None = Field(default=None, description="The taint's.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        default=None, description="The taint's. Without it, all of them."
    )
    toleration_seconds: Annotated[int, Field(ge=0, le=2**53)] | None = Field(
        default=None, description="Seconds for which NoExecute is tolerated. Without it, no limit."
    )


class TrackingSpec(Spec):
    """Where a run is written down beside its version."""

    uri: WebAddress | None = Field(
        default=None,
        description="Address of an MLflow server. Without it, MLFLOW_TRACKING_URI of the storage's Secret, or no tracking. "
        "The Secret's MLflow credentials are sent only to the server that its MLFLOW_TRACKING_URI names.",
    )
    experiment: Text | None = Field(default=None, description="MLflow's. Without it, the classifier's name.")


class TrainingSpec(Spec):
    """What is fitted, and where."""

    architecture: Architecture = Field(
        default="auto",
        description="auto: linear, and transformer if there is a baseModel; the cheapest of about the best score is published.",
    )
    base_model: Address | None = Field(
        default=None,
        description="The encoder to fine-tune: s3://bucket/prefix/, or a name on the Hugging Face hub.",
    )
    epochs: Annotated[float, Field(gt=0, le=10**6)] | None = Field(
        default=None, description="Passes over the training part, of the transformer. Without it, 3."
    )
    batch_size: Annotated[int, Field(ge=1, le=10**6)] | None = Field(
        default=None, description="Texts per optimizer step, of the transformer. Without it, 32."
    )
    learning_rate: Annotated[float, Field(gt=0, le=10**6)] | None = Field(
        default=None, description="Peak, after warm-up, of the transformer. Without it, 1e-4."
    )
    max_length: Annotated[int, Field(ge=8, le=8192)] | None = Field(
        default=None, description="Tokens of a text that the transformer sees; what is longer is cut. Without it, 256."
    )
    seed: int = Field(default=0, ge=0, le=2**32 - 1, description="Same seed, same data, same machine: same model.")
    balance: BalanceSpec = Field(default=BalanceSpec(), description="What is done about rare labels, in the training part alone.")
    nodes: int = Field(
        default=1,
        ge=1,
        le=64,
        description="Pods that train together, each on a node's GPUs or CPUs. More than one with a baseModel.",
    )
    resources: ResourcesSpec = Field(default=ResourcesSpec(), description="Of the trainer's container, in each Pod.")
    node_selector: dict[str, LabelValue] = Field(default={}, max_length=64, description="Labels of the nodes to train on.")
    tolerations: tuple[TolerationSpec, ...] = Field(default=(), max_length=64, description="Tolerations of the trainer's Pods.")
    timeout: Duration = Field(
        default="72h", description="After so long a run is given up, however often it was interrupted: 90s, 15m, 1h30m."
    )
    tracking: TrackingSpec = Field(default=TrackingSpec(), description="Where a run is written down beside its version.")
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.architecture != 'transformer' || has(self.baseModel)",
            "expected a baseModel: the transformer needs an encoder to fine-tune",
            lambda it: it.architecture != "transformer" or it.base_model is not None,
            "baseModel",
        ),
        Rule(
            "self.nodes == 1 || has(self.baseModel)",
            "expected 1 node where there is no baseModel: only the transformer trains on several",
            lambda it: it.nodes == 1 or it.base_model is not None,
            "nodes",
        ),
        Rule(
            "self.balance.loss != 'focal' || self.architecture == 'transformer' || has(self.baseModel)",
            "expected plain or weighted where there is no baseModel: focal is the transformer's",
            lambda it: it.balance.loss != "focal" or it.architecture == "transformer" or it.base_model is not None,
            "balance.loss",
        ),
    )


class GateSpec(Spec):
    """How good a version has to be, to be served. One that is not stays published, and marked."""

    score: ScoreName = Field(default="micro-f1", description="What is compared, on the test part.")
    minimum: Annotated[float, Field(ge=0, le=1)] | None = Field(
        default=None,
        description="The least score of a version that may be served. Without it, a version whose dataset is suspicious is held.",
    )
    tolerance: float = Field(
        default=0.005, ge=0, le=1, description="How far a version may be behind the served one, on the same test part."
    )
    served_may_fall: bool = Field(
        default=False,
        description="Whether the dataset may change so much that the served version falls on it. Without it, and without a "
        "minimum, such a version is held until it is approved.",
    )
    approve: VersionName | None = Field(
        default=None,
        description="A version to serve although its dataset is suspicious or it is behind the served version. Name it after "
        "looking at its dataset. A minimum still applies.",
    )


class StorageSpec(Spec):
    """Where versions are published, and who may read and write there."""

    uri: Annotated[str, Field(pattern=r"^s3://[a-z0-9][-a-z0-9.]{1,61}[a-z0-9](/[^/$?#\x00-\x20]+)*/?$", max_length=1024)] = (
        Field(description="s3://bucket or s3://bucket/prefix. A version lies at <uri>/<classifier>/<version>/.")
    )
    secret_name: ObjectName | None = Field(
        default=None,
        description="A Secret of this namespace: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL and more, which "
        "become variables of what trains and of what fetches versions. Either this or serviceAccountName.",
    )
    service_account_name: ObjectName | None = Field(
        default=None, description="A ServiceAccount of this namespace that the cloud gives rights to. Either this or secretName."
    )
    deletion_policy: Literal["Keep", "Delete"] = Field(
        default="Keep", description="What becomes of the published versions when the TextClassifier is deleted."
    )
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.secretName) != has(self.serviceAccountName)",
            "expected exactly one of secretName and serviceAccountName",
            lambda it: (it.secret_name is None) != (it.service_account_name is None),
            "secretName",
        ),
    )
