"""What a published version consists of: the types behind `manifest.json`.

Frozen and versioned. Unknown keys are refused, so that a reader never acts on half of what a writer meant.
Knows nothing of files or storage: `model.artifact` reads and writes, this says what is right.
"""

from __future__ import annotations

import re
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

# The newest that this release reads. A version has the oldest that can say what it is, so that older releases read what they
# can: 1, or 2 where `label_required` is false, since a reader of 1 would give every text a label.
SCHEMA_VERSION = 2

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", max_length=64)]
# Part of an object's key, a folder's name and a Kubernetes object's name; never one that hides or climbs.
Name = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?$")]


# A file of a version: a plain name for every system, which hides nothing and is not taken for an option.
FILE_NAME = re.compile(r"[A-Za-z0-9][-A-Za-z0-9._]{0,127}")
RESERVED_FILE_NAME = "manifest.json"
MOST_FILES = 64
SHOWN_CHARACTERS = 200


def shown(value: object) -> str:
    """A value from elsewhere, for a message: quoted, control characters escaped, its end left out if it is long."""
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"


class Task(StrEnum):
    """Whether a text carries any number of labels or exactly one."""

    MULTI_LABEL = "multi-label"
    SINGLE_LABEL = "single-label"


class Precision(StrEnum):
    """The number format of the weights that the served graph holds."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"


class ArchitectureName(StrEnum):
    """Names of what can be fitted, as settings and manifests write them."""

    LINEAR = "linear"
    TRANSFORMER = "transformer"


if TYPE_CHECKING:
    ArchitectureChoice = str
else:  # a setting that also takes auto; mypy does not know unpacking in a Literal
    ArchitectureChoice = Literal["auto", *(each.value for each in ArchitectureName)]


class ScoreName(StrEnum):
    """Names of the scores that a gate may compare, as settings and results write them."""

    MICRO_F1 = "micro-f1"
    MACRO_F1 = "macro-f1"
    SAMPLES_F1 = "samples-f1"
    WEIGHTED_F1 = "weighted-f1"
    ACCURACY = "accuracy"


def _is_none(value: object) -> bool:
    """Whether a field is left out of the JSON: older releases refuse keys that they do not know."""
    return value is None


class Strict(BaseModel):
    """Frozen, and refuses keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class FileEntry(Strict):
    """One file of a version: how to tell that it is whole."""

    sha256: Sha256
    size: int = Field(ge=0, description="bytes")
    stored_as: str | None = Field(
        default=None,
        pattern=rf"^{FILE_NAME.pattern}$",
        description="its object's name, where an interrupted attempt or another publisher has left other bytes under its own",
    )

    @model_serializer(mode="wrap")
    def _as_before(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without stored_as where it says nothing: older releases refuse a key that they do not know."""
        fields: dict[str, Any] = dump(self)
        if self.stored_as is None:
            fields.pop("stored_as", None)
        return fields


class TestSet(Strict):
    """Labelled texts that were given to be scored on."""

    uri: str
    sha256: Sha256
    rows: int = Field(ge=0, description="rows read, before any was set aside")


class Dataset(Strict):
    """The labelled texts that a version came from."""

    uri: str
    sha256: Sha256 = Field(description="of the content of every file read, in the order of their names")
    rows: int = Field(ge=0, description="rows read, before any was set aside")
    columns: tuple[str, ...]
    test: TestSet | None = Field(default=None, description="none: the test part was set aside from the dataset")
    notes: tuple[str, ...] = Field(default=(), description="what was set aside or found out, in sentences")


class Candidate(Strict):
    """One architecture that was tried, and what it cost."""

    architecture: ArchitectureName
    precision: Precision
    validation_micro_f1: Share
    milliseconds_per_text: float = Field(ge=0)
    seconds: float = Field(ge=0)
    cpu_seconds: float = Field(
        default=0, ge=0, description="of all cores, from the examples to the exported model; 0: not measured"
    )
    gpu_seconds: float = Field(default=0, ge=0, description="GPUs times the seconds for which they were held to fit it")
    peak_memory_bytes: int = Field(
        default=0, ge=0, description="the most resident memory of a process of the run until it was fitted; 0: not measured"
    )
    chosen: bool


class Training(Strict):
    """How a version came to be."""

    architecture: ArchitectureName
    base_model: str | None
    seed: int
    epochs: float = Field(ge=0, description="passes over the training part")
    balance: str
    code_version: str
    settings_sha256: Sha256 | None = Field(
        default=None, description="of the settings that decide the result: a Job that is tried again finds its own version by it"
    )
    seconds: float = Field(ge=0)
    cpu_seconds: float = Field(ge=0, description="of all cores, over the whole run; child processes that have ended count")
    gpu_seconds: float = Field(
        default=0, ge=0, description="GPUs times the seconds for which they were held to fit, all candidates"
    )
    peak_memory_bytes: int = Field(ge=0, description="the most resident memory of a process of the run")
    examples: dict[Literal["train", "validation", "test"], int] = Field(description="texts in each part")
    candidates: tuple[Candidate, ...] = ()


class LabelScores(Strict):
    """How well one label is predicted."""

    precision: Share
    recall: Share
    f1: Share
    support: int = Field(ge=0, description="texts that carry the label")


class Scores(Strict):
    """Quality on one part of the data, computed on the exported file."""

    micro_f1: Share
    macro_f1: Share = Field(description="mean over the labels that occur in the part")
    samples_f1: Share = Field(
        description="mean over the texts of each one's F1; where no label is required, 1 if a text carries and is given none"
    )
    weighted_f1: Share
    subset_accuracy: Share = Field(
        description="share of texts whose labels are all right, none for a text that carries none; accuracy when single-label"
    )
    average_precision: Share = Field(description="mean over the labels that occur in the part")
    texts: int = Field(ge=0)
    without_label: Share | None = Field(
        default=None, exclude_if=_is_none, description="share of texts that carry no label; absent: each carries one"
    )
    predicted_without_label: Share | None = Field(
        default=None, exclude_if=_is_none, description="share of texts that are given no label; absent: each is given one"
    )
    per_label: dict[str, LabelScores]

    def by_name(self) -> dict[ScoreName, float]:
        """Return every score that a gate may compare."""
        return {
            ScoreName.MICRO_F1: self.micro_f1,
            ScoreName.MACRO_F1: self.macro_f1,
            ScoreName.SAMPLES_F1: self.samples_f1,
            ScoreName.WEIGHTED_F1: self.weighted_f1,
            ScoreName.ACCURACY: self.subset_accuracy,
        }


class BaselineScores(Strict):
    """What the cheapest architecture reaches on the same texts."""

    architecture: ArchitectureName
    validation: Scores
    test: Scores


class AllScores(Strict):
    """Scores by part; thresholds were chosen on validation, so only test is an honest estimate."""

    validation: Scores
    test: Scores
    baseline: BaselineScores
    milliseconds_per_text: float = Field(ge=0, description="median, one text a call, one thread, tokenizer included")


class Reference(Strict):
    """What served traffic is compared with, to see drift. Measured on the test part."""

    label_rates: tuple[Share, ...] = Field(description="share of texts for which each label is predicted")
    without_label: Share | None = Field(
        default=None, exclude_if=_is_none, description="share of texts for which no label is predicted; absent: there are none"
    )
    token_length_edges: tuple[int, ...] = Field(description="upper edges of the length bins, tokens, inclusive")
    token_length_shares: tuple[Share, ...] = Field(description="share of texts in each bin; one more than the edges")
    unknown_token_rate: Share

    @model_validator(mode="after")
    def _bins_agree(self) -> Self:
        if len(self.token_length_shares) != len(self.token_length_edges) + 1:
            raise ValueError("token_length_shares has one entry for each edge and one for all that is longer")
        return self


class Manifest(Strict):
    """Everything about one published version; the last object written, so its presence means complete."""

    schema_version: Literal[1, 2]
    classifier: Name
    version: Name
    created_at: datetime
    task: Task
    labels: tuple[str, ...] = Field(min_length=1)
    label_required: bool = Field(
        default=True,
        exclude_if=bool,
        description="whether a text is given one label at least, the most probable where none reaches its threshold; "
        "false only when multi-label and from schema 2 on",
    )
    thresholds: tuple[Share, ...] = Field(description="probability from which a label is given; zeros if single-label")
    max_length: int = Field(ge=1, description="tokens; what is longer is cut")
    precision: Precision
    files: dict[str, FileEntry]
    dataset: Dataset
    training: Training
    scores: AllScores
    reference: Reference

    def stored(self, name: str) -> str:
        """The name of the object that holds this file of the version. Raises KeyError for a file that it does not have."""
        return self.files[name].stored_as or name

    @model_validator(mode="after")
    def _files_are_plain(self) -> Self:
        if len(self.files) > MOST_FILES:
            raise ValueError(f"files has {len(self.files):,} entries, expected {MOST_FILES} at most")
        for name, entry in self.files.items():
            for each in (name, entry.stored_as or name):
                if not FILE_NAME.fullmatch(each) or each.lower() == RESERVED_FILE_NAME:
                    expected = "expected letters, digits, '.', '-' and '_', 128 at most, and not manifest.json itself"
                    raise ValueError(f"files names {shown(each)}, which is not a plain file name: {expected}")
        return self

    @model_validator(mode="after")
    def _labels_agree(self) -> Self:
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("labels holds a name twice")
        if "" in self.labels:
            raise ValueError("labels holds an empty name, which in an answer stands for no label")
        if len(self.thresholds) != len(self.labels):
            raise ValueError(f"thresholds has {len(self.thresholds)} entries for {len(self.labels)} labels")
        if len(self.reference.label_rates) != len(self.labels):
            raise ValueError(f"reference.label_rates has {len(self.reference.label_rates)} entries for {len(self.labels)} labels")
        return self

    @model_validator(mode="after")
    def _label_required_agrees(self) -> Self:
        if self.label_required:
            if len(self.labels) < 2:
                raise ValueError(f"labels holds only {self.labels[0]!r}: expected two or more, since every text is given a label")
            return self
        if self.task is Task.SINGLE_LABEL:
            raise ValueError("label_required is false: expected true, since the task is single-label")
        if self.schema_version < 2:
            raise ValueError(f"label_required is false: expected schema_version 2, found {self.schema_version}")
        if self.reference.without_label is None:
            raise ValueError("reference.without_label is missing: expected a share, since label_required is false")
        return self
