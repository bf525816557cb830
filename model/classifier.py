"""Texts to label probabilities: tokenizer and ONNX session. Knows no HTTP, no KServe, no torch.

The trainer scores with this and the server answers with this, so both speak of the same model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from model.artifact import GRAPH, TOKENIZER, ArtifactRejected, verify
from model.manifest import Task

Floats = NDArray[np.float32]
BATCH_TOKENS = 8192  # bounds the memory of a call; padding counts


@dataclass(frozen=True)
class Prediction:
    """A text's labels and their probabilities, the most probable first."""

    labels: tuple[str, ...]
    scores: tuple[float, ...]


@dataclass(frozen=True)
class Decision:
    """How probabilities become labels."""

    task: Task
    labels: tuple[str, ...]
    thresholds: Floats

    def assigned(self, probabilities: Floats) -> NDArray[np.bool_]:
        """Which labels each text is given, [texts, labels]: at least one.

        Single-label, the most probable label; multi-label, those that reach their own threshold, and the most
        probable one where none does.
        """
        best = np.zeros(probabilities.shape, np.bool_)
        best[np.arange(len(probabilities)), probabilities.argmax(axis=1)] = True
        if self.task is Task.SINGLE_LABEL:
            return best
        passing: NDArray[np.bool_] = probabilities >= self.thresholds
        return np.where(passing.any(axis=1, keepdims=True), passing, best)

    def predictions(self, probabilities: Floats, *, top_k: int | None = None, threshold: float | None = None) -> list[Prediction]:
        """One prediction for each row of `probabilities` [texts, labels].

        Without arguments, the labels that `assigned` gives. `threshold` replaces the labels' own and is obeyed as it
        is, so that there may be no label; `top_k` bounds how many are given and, alone, gives exactly that many.
        """
        if threshold is not None:
            eligible = probabilities >= threshold
        elif top_k is not None:
            eligible = np.ones(probabilities.shape, np.bool_)
        else:
            eligible = self.assigned(probabilities)
        ranking = np.argsort(-probabilities, axis=1, kind="stable")
        return [self._prediction(*row, top_k) for row in zip(probabilities, eligible, ranking, strict=True)]

    def _prediction(self, row: Floats, eligible: NDArray[np.bool_], ranked: NDArray[np.intp], top_k: int | None) -> Prediction:
        chosen = ranked[eligible[ranked]][:top_k]
        return Prediction(tuple(self.labels[each] for each in chosen), tuple(float(row[each]) for each in chosen))


class Encoder:
    """Texts to token ids, cut at `max_length` tokens and not padded."""

    def __init__(self, tokenizer: Tokenizer, max_length: int) -> None:
        tokenizer.no_padding()  # files of some models say "pad to 128", which costs a title seven times its tokens
        tokenizer.enable_truncation(max_length)
        self._tokenizer = tokenizer
        self.unknown_id = _unknown_id(tokenizer)

    def encode(self, texts: Sequence[str]) -> list[Encoding]:
        """An encoding for each text; `overflowing` is not empty where the text was cut."""
        encodings: list[Encoding] = self._tokenizer.encode_batch(list(texts))
        return encodings


class Graph:
    """An ONNX graph from `input_ids` and `attention_mask` (int64 [texts, tokens]) to `logits` (float32 [texts, labels])."""

    def __init__(self, path: Path, *, threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def logits(self, encodings: Sequence[Encoding]) -> Floats:
        """Logits [texts, labels] of any number of texts, computed in batches of similar length."""
        lengths = np.array([len(each.ids) for each in encodings])
        order = np.argsort(lengths, kind="stable")
        found = [self._run([encodings[at] for at in batch]) for batch in _batches(order, lengths)]
        if not found:
            return np.zeros((0, self.label_count), np.float32)
        logits = np.empty((len(encodings), found[0].shape[1]), np.float32)
        logits[order] = np.concatenate(found)
        return logits

    @property
    def label_count(self) -> int:
        """How many labels the graph knows."""
        return int(self._session.get_outputs()[0].shape[1])

    def _run(self, encodings: Sequence[Encoding]) -> Floats:
        longest = max(1, max(len(each.ids) for each in encodings))
        ids = np.zeros((len(encodings), longest), np.int64)
        mask = np.zeros((len(encodings), longest), np.int64)
        for row, each in enumerate(encodings):
            ids[row, : len(each.ids)] = each.ids
            mask[row, : len(each.ids)] = 1
        logits: Floats = self._session.run(["logits"], {"input_ids": ids, "attention_mask": mask})[0]
        return logits


class Classifier:
    """A loaded version."""

    def __init__(self, encoder: Encoder, graph: Graph, decision: Decision) -> None:
        self.encoder = encoder
        self.graph = graph
        self.decision = decision

    @classmethod
    def load(cls, folder: Path, *, threads: int = 1) -> Self:
        """The version in `folder`, verified first. Raises ArtifactRejected."""
        manifest = verify(folder)
        try:
            encoder = Encoder(Tokenizer.from_file(str(folder / TOKENIZER)), manifest.max_length)
            graph = Graph(folder / GRAPH, threads=threads)
        except Exception as error:  # both libraries raise bare exceptions of their own
            raise ArtifactRejected(f"{folder} cannot be loaded: {error}") from error
        if graph.label_count != len(manifest.labels):
            found = f"gives {graph.label_count} logits, the manifest names {len(manifest.labels)} labels"
            raise ArtifactRejected(f"{folder / GRAPH} {found}")
        decision = Decision(manifest.task, manifest.labels, np.asarray(manifest.thresholds, np.float32))
        return cls(encoder, graph, decision)

    def probabilities(self, texts: Sequence[str]) -> Floats:
        """Probabilities [texts, labels]; each label's own when multi-label, summing to 1 when single-label."""
        return to_probabilities(self.graph.logits(self.encoder.encode(texts)), self.decision.task)

    def predict(self, texts: Sequence[str], *, top_k: int | None = None, threshold: float | None = None) -> list[Prediction]:
        """A prediction for each text, as `Decision.predictions` says."""
        return self.decision.predictions(self.probabilities(texts), top_k=top_k, threshold=threshold)


def to_probabilities(logits: Floats, task: Task) -> Floats:
    """Sigmoid when multi-label, softmax when single-label. Shapes [texts, labels]."""
    if task is Task.SINGLE_LABEL:
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        return exponentials / exponentials.sum(axis=1, keepdims=True)
    # Beyond 80 a float32 sigmoid is 0 or 1 to the last bit, and its exponential would overflow.
    probabilities: Floats = np.float32(1) / (np.float32(1) + np.exp(-np.clip(logits, -80, 80)))
    return probabilities


def _batches(order: NDArray[np.intp], lengths: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    """Cut `order`, ascending in length, where a batch padded to its longest would exceed BATCH_TOKENS."""
    batches, start = [], 0
    for end in range(1, len(order) + 1):
        if end == len(order) or (end + 1 - start) * max(1, lengths[order[end]]) > BATCH_TOKENS:
            batches.append(order[start:end])
            start = end
    return batches


def _unknown_id(tokenizer: Tokenizer) -> int | None:
    unknown: int | None = tokenizer.token_to_id("[UNK]")
    return tokenizer.token_to_id("<unk>") if unknown is None else unknown
