"""Types of `manifest.json`, which describes a published version.

Frozen and versioned. Unknown keys are refused, since a reader that ignored one could misread the version. Knows no files and
no storage: `model.artifact` reads and writes manifests.
"""

from __future__ import annotations

import hashlib
import re
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from model.fields import Name, Sha256, Share, Strict, is_none
from model.scores import Scores

# Newest schema that this release reads. A manifest has the oldest schema that can describe its version, so that older releases
# can read it: 1, or 2 if `label_required` is false, since a reader of schema 1 would give every text a label.
SCHEMA_VERSION = 2


# Name of a file of a version: valid on every system, not hidden, not mistaken for an option.
FILE_NAME = re.compile(r"[A-Za-z0-9][-A-Za-z0-9._]{0,127}")
RESERVED_FILE_NAME = "manifest.json"
MAX_FILES = 64
MAX_SHOWN_CHARACTERS = 200


def quoted(value: object) -> str:
    """Return an untrusted value for a message: quoted, control characters escaped, cut if it is long."""
    text = repr(value)
    return text if len(text) <= MAX_SHOWN_CHARACTERS else f"{text[:MAX_SHOWN_CHARACTERS]}…"


class Task(StrEnum):
    """Kind of classification: any number of labels per text, or exactly one."""

    MULTI_LABEL = "multi-label"
    SINGLE_LABEL = "single-label"


class Precision(StrEnum):
    """Number format of the weights in the served ONNX model."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"


class ArchitectureName(StrEnum):
    """Names of the architectures, as in settings and manifests."""

    LINEAR = "linear"
    TRANSFORMER = "transformer"


# Architectures that start from a pretrained encoder, which a setting must name.
FINE_TUNED = (ArchitectureName.TRANSFORMER,)

if TYPE_CHECKING:
    ArchitectureChoice = str
else:  # a setting that also takes auto; mypy does not know unpacking in a Literal
    ArchitectureChoice = Literal["auto", *(each.value for each in ArchitectureName)]


class FileEntry(Strict):
    """Checksum and size of one file of a version."""

    sha256: Sha256
    size: int = Field(ge=0, description="bytes")
    stored_as: str | None = Field(
        default=None,
        pattern=rf"^{FILE_NAME.pattern}$",
        description="name of its object, if an interrupted attempt or another publisher left other bytes under its own name",
    )

    @model_serializer(mode="wrap")
    def _as_before(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out `stored_as` if it is None, because older releases refuse unknown keys."""
        fields: dict[str, Any] = dump(self)
        if self.stored_as is None:
            fields.pop("stored_as", None)
        return fields


class TestSet(Strict):
    """Separate test set of a training."""

    uri: str
    sha256: Sha256
    rows: int = Field(ge=0, description="rows read, before any was left out")


class LearntCorrections(Strict):
    """Corrections from which a version was trained, beside the dataset. A text counts once, by its latest correction."""

    uri: str
    sha256: Sha256 = Field(description="of the content of every file read, in the order of their names")
    dataset_sha256: Sha256 = Field(description="of the dataset's own files")
    files: int = Field(ge=0)
    rows: int = Field(ge=0, description="rows read")
    withdrawn: int = Field(ge=0, description="corrections that were withdrawn")
    texts: int = Field(ge=0, description="texts with a correction: the sum of corrected, added and left_out")
    corrected: int = Field(ge=0, description="texts of the dataset, with the corrected labels in place of their own")
    tested: int = Field(ge=0, description="of these, texts of the test part, which the model is not trained on")
    added: int = Field(ge=0, description="texts that the dataset lacks, added to the training or validation part")
    left_out: int = Field(ge=0, description="texts that are not used; the dataset's notes say why")

    @property
    def covering_sha256(self) -> str:
        """SHA-256 of the dataset and its corrections together: the dataset's own, if there is no file of corrections."""
        both = f"{self.dataset_sha256}{self.sha256}"
        return hashlib.sha256(both.encode()).hexdigest() if self.files else self.dataset_sha256

    @model_validator(mode="after")
    def _every_text_is_counted_once(self) -> Self:
        if self.texts != self.corrected + self.added + self.left_out or self.tested > self.corrected:
            raise ValueError("texts is not the sum of corrected, added and left_out, or tested is more than corrected")
        return self


class Dataset(Strict):
    """Labelled texts from which a version was trained."""

    uri: str
    sha256: Sha256 = Field(
        description="of the content of every file read, in the order of their names; with corrections, of the two hashes "
        "corrections.dataset_sha256 and corrections.sha256 in hexadecimal, one after the other"
    )
    rows: int = Field(ge=0, description="rows read, before any was left out")
    columns: tuple[str, ...]
    test: TestSet | None = Field(default=None, description="none: the test part is a part of the dataset")
    notes: tuple[str, ...] = Field(default=(), description="sentences on rows that were left out and on other findings")
    corrections: LearntCorrections | None = Field(
        default=None, exclude_if=is_none, description="absent: the training was given no corrections"
    )

    @property
    def own_sha256(self) -> str:
        """SHA-256 of the dataset's own files, whatever corrections were learnt beside them."""
        return self.corrections.dataset_sha256 if self.corrections else self.sha256

    @property
    def rows_with_added(self) -> int:
        """Number of rows read, and of texts that corrections added to them."""
        return self.rows + (self.corrections.added if self.corrections else 0)


class Candidate(Strict):
    """One model that the run fitted, and its cost."""

    architecture: ArchitectureName
    precision: Precision
    validation_micro_f1: Share
    milliseconds_per_text: float = Field(ge=0)
    seconds: float = Field(ge=0)
    cpu_seconds: float = Field(
        default=0, ge=0, description="all cores together, from the examples to the exported model; 0: not measured"
    )
    gpu_seconds: float = Field(default=0, ge=0, description="number of GPUs times the seconds for which they were reserved")
    peak_memory_bytes: int = Field(
        default=0, ge=0, description="largest resident memory of a process of the run until it was fitted; 0: not measured"
    )
    chosen: bool


class Training(Strict):
    """Training of a version: its settings and its cost."""

    architecture: ArchitectureName
    base_model: str | None
    seed: int
    epochs: float = Field(ge=0, description="passes over the training part")
    balance: str
    code_version: str
    settings_sha256: Sha256 | None = Field(
        default=None, description="of the settings that decide the result; a repeated Job recognises its own version by it"
    )
    seconds: float = Field(ge=0)
    cpu_seconds: float = Field(ge=0, description="all cores together, whole run; child processes that have ended are included")
    gpu_seconds: float = Field(
        default=0, ge=0, description="number of GPUs times the seconds for which they were reserved, all candidates"
    )
    peak_memory_bytes: int = Field(ge=0, description="largest resident memory of a process of the run")
    examples: dict[Literal["train", "validation", "test"], int] = Field(description="texts in each part")
    candidates: tuple[Candidate, ...] = ()


class BaselineScores(Strict):
    """Scores of the baseline on the same texts."""

    architecture: ArchitectureName
    validation: Scores
    test: Scores


class AllScores(Strict):
    """Scores by part. Thresholds were chosen on the validation part, so only the test scores are unbiased."""

    validation: Scores
    test: Scores
    baseline: BaselineScores
    milliseconds_per_text: float = Field(ge=0, description="median, one text per call, one thread, tokenizer included")


class Reference(Strict):
    """Statistics of the test part, with which recent requests are compared to measure drift."""

    label_rates: tuple[Share, ...] = Field(description="share of texts that are given each label")
    without_label: Share | None = Field(
        default=None, exclude_if=is_none, description="share of texts that are given no label; absent: each is given one"
    )
    token_length_edges: tuple[int, ...] = Field(description="upper edges of the length bins, tokens, inclusive")
    token_length_shares: tuple[Share, ...] = Field(description="share of texts in each bin; one more entry than edges")
    unknown_token_rate: Share

    @model_validator(mode="after")
    def _bins_agree(self) -> Self:
        if len(self.token_length_shares) != len(self.token_length_edges) + 1:
            raise ValueError("token_length_shares: expected one entry per edge, and one more for longer texts")
        return self


class Manifest(Strict):
    """Description of one published version. Written last, so a version that has one is complete."""

    schema_version: Literal[1, 2]
    classifier: Name
    version: Name
    created_at: datetime
    task: Task
    labels: tuple[str, ...] = Field(min_length=1)
    label_required: bool = Field(
        default=True,
        exclude_if=bool,
        description="whether each text is given at least one label, the most probable one if none reaches its threshold; "
        "false only if multi-label, and only from schema 2 on",
    )
    thresholds: tuple[Share, ...] = Field(description="probability from which on each label is given; zeros if single-label")
    max_length: int = Field(ge=1, description="tokens; longer texts are cut")
    precision: Precision
    files: dict[str, FileEntry]
    dataset: Dataset
    training: Training
    scores: AllScores
    reference: Reference

    def stored(self, name: str) -> str:
        """Return the name of a file's object. Raises KeyError if the version has no such file."""
        return self.files[name].stored_as or name

    @model_validator(mode="after")
    def _files_are_plain(self) -> Self:
        if len(self.files) > MAX_FILES:
            raise ValueError(f"files has {len(self.files):,} entries: expected at most {MAX_FILES}")
        for name, entry in self.files.items():
            for each in (name, entry.stored_as or name):
                if not FILE_NAME.fullmatch(each) or each.lower() == RESERVED_FILE_NAME:
                    expected = "expected at most 128 letters, digits, '.', '-' and '_', and not manifest.json itself"
                    raise ValueError(f"files names {quoted(each)}, which is not a plain file name: {expected}")
        return self

    @model_validator(mode="after")
    def _labels_agree(self) -> Self:
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("labels holds a name twice")
        if "" in self.labels:
            raise ValueError("labels holds an empty name, which in a response means no label")
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
