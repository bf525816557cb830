"""Tiny valid version without a training: a text gets the labels whose names it contains."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import WhitespaceSplit

from model.artifact import GRAPH, MANIFEST, TOKENIZER, describe, to_json
from model.manifest import AllScores, ArchitectureName, BaselineScores, Dataset, Manifest, Precision, Reference, Task, Training
from model.scores import LabelScores, Scores

LABELS = ("cs.LG", "stat.ML", "math.CO")
PRESENT, ABSENT = 2.0, -2.0  # logits of labels whose name is in the text, and of others


def make_version(
    folder: Path,
    *,
    labels: Sequence[str] = LABELS,
    task: Task = Task.MULTI_LABEL,
    classifier: str = "papers",
    version: str = "v1",
    max_length: int = 16,
    label_required: bool = True,
) -> Path:
    """Write a complete version into `folder` and return it. A name counts if there are spaces around it."""
    folder.mkdir(parents=True, exist_ok=True)
    write_tokenizer(folder / TOKENIZER, labels)
    write_graph(folder / GRAPH, len(labels))
    manifest = make_manifest(
        folder,
        labels=labels,
        task=task,
        classifier=classifier,
        version=version,
        max_length=max_length,
        label_required=label_required,
    )
    (folder / MANIFEST).write_bytes(to_json(manifest))
    return folder


def write_tokenizer(path: Path, words: Sequence[str]) -> None:
    """Write a tokenizer of whole words: 0 is unknown, the words follow in order."""
    vocabulary = {"[UNK]": 0} | {word.lower(): at for at, word in enumerate(words, start=1)}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = Lowercase()
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.save(str(path))


def write_graph(path: Path, label_count: int) -> None:
    """Write a graph in which token `i`, once or more, raises the logit of label `i - 1`."""
    table = np.vstack([np.zeros((1, label_count)), np.eye(label_count)]).astype(np.float32)
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["weights"]),
        helper.make_node("Mul", ["rows", "weights"], ["masked"]),
        helper.make_node("ReduceMax", ["masked"], ["found"], axes=[1], keepdims=0),
        helper.make_node("Mul", ["found", "span"], ["raised"]),
        helper.make_node("Add", ["raised", "absent"], ["logits"]),
    ]
    constants: dict[str, NDArray[Any]] = {
        "table": table,
        "last": np.array([2], np.int64),
        "span": np.array(PRESENT - ABSENT, np.float32),
        "absent": np.array(ABSENT, np.float32),
    }
    names = ("input_ids", "attention_mask")
    tokens = [helper.make_tensor_value_info(name, TensorProto.INT64, ["texts", "tokens"]) for name in names]
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["texts", label_count])
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "tiny", tokens, [logits], initializers)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), str(path))


def make_manifest(
    folder: Path,
    *,
    labels: Sequence[str] = LABELS,
    task: Task = Task.MULTI_LABEL,
    classifier: str = "papers",
    version: str = "v1",
    max_length: int = 16,
    label_required: bool = True,
) -> Manifest:
    """Return a manifest of the files in `folder`, with invented scores."""
    scores = _scores(labels)
    return Manifest(
        schema_version=1 if label_required else 2,
        classifier=classifier,
        version=version,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        task=task,
        labels=tuple(labels),
        label_required=label_required,
        thresholds=tuple(0.5 if task is Task.MULTI_LABEL else 0.0 for _ in labels),
        max_length=max_length,
        precision=Precision.FP32,
        files=describe(folder),
        dataset=Dataset(uri="file:///texts.csv", sha256="0" * 64, rows=100, columns=("text", "labels")),
        training=_training(),
        scores=AllScores(
            validation=scores,
            test=scores,
            baseline=BaselineScores(architecture=ArchitectureName.LINEAR, validation=scores, test=scores),
            milliseconds_per_text=0.1,
        ),
        reference=Reference(
            label_rates=tuple(0.1 for _ in labels),
            without_label=None if label_required else 0.7,
            token_length_edges=(8, 16),
            token_length_shares=(0.5, 0.4, 0.1),
            unknown_token_rate=0.2,
        ),
    )


def _training() -> Training:
    return Training(
        architecture=ArchitectureName.LINEAR,
        base_model=None,
        seed=1,
        epochs=1.0,
        balance="none",
        code_version="test",
        seconds=1.0,
        cpu_seconds=1.0,
        peak_memory_bytes=1,
        examples={"train": 80, "validation": 10, "test": 10},
    )


def _scores(labels: Sequence[str]) -> Scores:
    return Scores(
        micro_f1=0.9,
        macro_f1=0.9,
        samples_f1=0.9,
        weighted_f1=0.9,
        subset_accuracy=0.8,
        average_precision=0.9,
        texts=10,
        per_label={label: LabelScores(precision=0.9, recall=0.9, f1=0.9, support=3) for label in labels},
    )
