"""Classification of texts: tokenizer, ONNX model, prediction rule. Does not depend on HTTP, KServe or PyTorch.

The trainer scores a version with this code and the server answers with it, so a version's scores hold while it is served.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer

from model.artifact import GRAPH, TOKENIZER, ArtifactRejected, verify
from model.manifest import Manifest, Task
from model.text_length import beginning, max_characters

Floats = NDArray[np.float32]
MAX_BATCH_TOKENS = 8192  # per call, padding included: bounds the memory
CALL_OVERHEAD_TOKENS = 32  # cost of a call, in tokens; a batch with more padding than this is split into two calls
# Keys in an ONNX model's metadata. ONE_TEXT_PER_CALL is present if texts must not be batched: dynamic quantization scales
# activations per call, so a text's result would depend on the other texts. MULTICORE is "false" if several cores are never
# faster than one, however long the text.
ONE_TEXT_PER_CALL = "labelwright.one_text_a_call"
MULTICORE = "labelwright.multicore"
# Fused operators that are slower on a CPU than those they replace: an int8 call of 128 tokens takes 10 % longer with them
# (docs/experiments.md).
SLOWER_FUSIONS = ["SkipLayerNormFusion", "BiasGeluFusion"]
WARM_UP_TEXTS = ("", "A text to classify before the first request.")


class TokenizedText(NamedTuple):
    """A text's token ids, and whether the text was truncated to the model's maximum length."""

    ids: list[int]
    truncated: bool


class Prediction(NamedTuple):
    """Labels of a text and their probabilities, most probable first."""

    labels: tuple[str, ...]
    scores: tuple[float, ...]


@dataclass(frozen=True)
class Selection:
    """Choice of labels in place of the version's own rule.

    threshold: minimum probability of a label, instead of the labels' own thresholds; a text may then get no label.
    top_k: at most this many labels per text, the most probable ones; without `threshold`, every label is eligible.
    """

    top_k: int | None = None
    threshold: float | None = None


OWN_RULE = Selection()


@dataclass(frozen=True)
class PredictionRule:
    """Rule by which probabilities become labels.

    thresholds: of each label [labels], for multi-label tasks.
    label_required: whether every text gets at least one label; always true for single-label tasks.
    """

    task: Task
    labels: tuple[str, ...]
    thresholds: Floats
    label_required: bool = True

    @classmethod
    def from_manifest(cls, manifest: Manifest) -> Self:
        """Return the rule of a published version."""
        return cls(manifest.task, manifest.labels, np.asarray(manifest.thresholds, np.float32), manifest.label_required)

    def assigned(self, probabilities: Floats) -> NDArray[np.bool_]:
        """Return which labels each text gets, [texts, labels].

        Single-label: the most probable label. Multi-label: each label that reaches its threshold. If none does: the most
        probable label if one is required, else none.
        """
        given = np.zeros(probabilities.shape, np.bool_) if self.task is Task.SINGLE_LABEL else probabilities >= self.thresholds
        if not self.label_required:
            return given
        unlabelled = np.flatnonzero(~given.any(axis=1))
        if len(unlabelled):
            given[unlabelled, probabilities[unlabelled].argmax(axis=1)] = True
        return given

    def predictions(self, probabilities: Floats, selection: Selection | None = None) -> list[Prediction]:
        """Return a prediction for each row of `probabilities` [texts, labels]; without a selection, of the labels that `assigned`
        gives."""
        selection = selection or OWN_RULE
        top_k = selection.top_k
        if selection.threshold is not None:
            eligible = probabilities >= selection.threshold
        elif top_k is not None:
            eligible = np.ones(probabilities.shape, np.bool_)
        else:
            eligible = self.assigned(probabilities)
        rows, columns = eligible.nonzero()
        scores = probabilities[rows, columns]
        ranking = np.lexsort((-scores, rows))  # stable: of equal scores, the first label is first
        labels = [self.labels[each] for each in columns[ranking].tolist()]
        ranked: list[float] = scores[ranking].tolist()
        predictions, start = [], 0
        for count in eligible.sum(axis=1).tolist():
            end = start + (count if top_k is None else min(count, top_k))
            predictions.append(Prediction(tuple(labels[start:end]), tuple(ranked[start:end])))
            start += count
        return predictions


class TextTokenizer:
    """Tokenizer that truncates each text to `max_length` tokens and does not pad.

    Only the beginning of a long text is tokenized (`model.text_length`).
    """

    def __init__(self, tokenizer: Tokenizer, max_length: int) -> None:
        tokenizer.no_padding()  # some models' files ask for padding to 128 tokens, seven times the length of a title
        tokenizer.enable_truncation(max_length)
        self._tokenizer = tokenizer
        self.max_length = max_length
        self.unknown_id = _unknown_id(tokenizer)

    def encode(self, texts: Sequence[str]) -> list[TokenizedText]:
        """Return the token ids of each text."""
        beginnings = [beginning(text, self.max_length) for text in texts]
        encodings = self._tokenizer.encode_batch_fast(beginnings)  # fast: without offsets
        return [
            TokenizedText(each.ids, bool(each.overflowing) or len(start) < len(text))
            for each, start, text in zip(encodings, beginnings, texts, strict=True)
        ]

    def tokenized_characters(self, text: str) -> int:
        """Return an upper bound on the characters of the text that are tokenized: an estimate of its cost."""
        return min(len(text), max_characters(self.max_length))


class OnnxModel:
    """ONNX model from `input_ids` and `attention_mask` (int64 [texts, tokens]) to `logits` (float32 [texts, labels]).

    label_count: number of labels.
    one_text_per_call: whether each text needs a call of its own (ONE_TEXT_PER_CALL).
    multicore: whether several cores may be faster than one for a long text (MULTICORE).
    threads: number of threads of a call. threads_alone: the same for a call with `alone`; if it is larger and the model is
        `multicore`, the weights are held twice.
    """

    def __init__(self, path: Path, *, threads: int = 1, threads_alone: int = 1) -> None:
        self._session = _session(path, threads)
        metadata = self._session.get_modelmeta()
        self.multicore = _is_multicore(metadata.custom_metadata_map.get(MULTICORE), metadata.producer_name)
        self._session_alone = _session(path, threads_alone) if self.multicore and threads_alone > threads else self._session
        self.one_text_per_call = ONE_TEXT_PER_CALL in metadata.custom_metadata_map
        self.label_count = self._compute([[0]]).shape[-1]

    def logits(self, tokens: Sequence[TokenizedText], *, alone: bool = False) -> Floats:
        """Return logits [texts, labels] of any number of texts, in batches of texts of similar length.

        A text's logits depend neither on the other texts (see `one_text_per_call`) nor on `alone`, which says that no other
        call is made meanwhile.
        """
        if len(tokens) == 1:
            return self._compute([tokens[0].ids], session=self._session_alone if alone else self._session)
        lengths = [len(each.ids) for each in tokens]
        order = sorted(range(len(tokens)), key=lengths.__getitem__)
        batches = [[at] for at in order] if self.one_text_per_call else _batches(order, lengths)
        computed = [self._compute([tokens[at].ids for at in batch]) for batch in batches]
        if not computed:
            return np.zeros((0, self.label_count), np.float32)
        logits = np.empty((len(tokens), computed[0].shape[1]), np.float32)
        logits[order] = np.concatenate(computed)
        return logits

    def has_token(self, token_id: int) -> bool:
        """Return whether the model has an embedding for this token; tries it in a call."""
        quietly = onnxruntime.RunOptions()
        quietly.log_severity_level = 4  # a failure of this call is not logged
        try:
            self._compute([[token_id]], options=quietly)
        except Exception:  # noqa: BLE001, onnxruntime raises bare exceptions of its own
            return False
        return True

    def _compute(
        self,
        rows: Sequence[Sequence[int]],
        *,
        session: onnxruntime.InferenceSession | None = None,
        options: onnxruntime.RunOptions | None = None,
    ) -> Floats:
        longest = max(1, *(len(each) for each in rows))
        ids = np.zeros((len(rows), longest), np.int64)
        mask = np.zeros((len(rows), longest), np.int64)
        for at, row in enumerate(rows):
            ids[at, : len(row)] = row
            mask[at, : len(row)] = 1
        logits: Floats = (session or self._session).run(["logits"], {"input_ids": ids, "attention_mask": mask}, options)[0]
        return logits


class Classifier:
    """Loaded version: tokenizer, ONNX model and prediction rule."""

    def __init__(self, tokenizer: TextTokenizer, onnx_model: OnnxModel, rule: PredictionRule) -> None:
        self.tokenizer = tokenizer
        self.onnx_model = onnx_model
        self.rule = rule

    @classmethod
    def load(cls, folder: Path, *, threads: int = 1) -> Self:
        """Verify and load the version in `folder`. Raises ArtifactRejected."""
        return cls.assemble(folder, verify(folder), threads=threads)

    @classmethod
    def assemble(cls, folder: Path, manifest: Manifest, *, threads: int = 1, threads_alone: int = 1) -> Self:
        """Load the version in `folder`, whose files were verified against `manifest`, and run WARM_UP_TEXTS through it.

        threads, threads_alone: as in `OnnxModel`. Raises ArtifactRejected if its parts cannot be loaded or do not fit each other.
        """
        try:
            tokenizer = Tokenizer.from_file(str(folder / manifest.stored(TOKENIZER)))
            onnx_model = OnnxModel(folder / manifest.stored(GRAPH), threads=threads, threads_alone=threads_alone)
            loaded = cls(TextTokenizer(tokenizer, manifest.max_length), onnx_model, PredictionRule.from_manifest(manifest))
            logits = onnx_model.logits(loaded.tokenizer.encode(WARM_UP_TEXTS))
        except Exception as error:  # both libraries raise bare exceptions
            raise ArtifactRejected(f"{folder} cannot be loaded: {error}") from error
        _check_logits(logits, folder / GRAPH, label_count=len(manifest.labels))
        _check_vocabulary(tokenizer, onnx_model, folder)
        return loaded

    def warm_up(self) -> None:
        """Classify texts of several lengths, alone and together, so that no request has to wait for memory allocation."""
        longest = " ".join(WARM_UP_TEXTS * self.tokenizer.max_length)
        for text in (*WARM_UP_TEXTS, longest):
            for alone in (False, True):
                self.onnx_model.logits(self.tokenizer.encode([text]), alone=alone)
        self.onnx_model.logits(self.tokenizer.encode(WARM_UP_TEXTS * 16))

    def probabilities(self, texts: Sequence[str]) -> Floats:
        """Return probabilities [texts, labels]: independent if multi-label, summing to 1 if single-label."""
        return to_probabilities(self.onnx_model.logits(self.tokenizer.encode(texts)), self.rule.task)

    def predict(self, texts: Sequence[str], selection: Selection | None = None) -> list[Prediction]:
        """Return a prediction for each text, as `PredictionRule.predictions` describes."""
        return self.rule.predictions(self.probabilities(texts), selection)


def _is_multicore(value: str | None, producer: str) -> bool:
    """Return whether several cores may be faster, from the model's metadata. value: of MULTICORE; None: not written.

    Earlier releases did not write it. Of their models, those whose producer is labelwright are as fast on one core.
    """
    return producer != "labelwright" if value is None else value != "false"


def _session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        str(path), options, providers=["CPUExecutionProvider"], disabled_optimizers=SLOWER_FUSIONS
    )


def to_probabilities(logits: Floats, task: Task) -> Floats:
    """Return the sigmoid of logits [texts, labels] if multi-label, their softmax if single-label."""
    if task is Task.SINGLE_LABEL:
        exponentials: Floats = np.exp(logits - logits.max(axis=1, keepdims=True))
        exponentials /= exponentials.sum(axis=1, keepdims=True)
        return exponentials
    # The exponential overflows float32 from 89 on. Beyond ±80 the sigmoid is below 2e-35 or rounds to 1.
    probabilities: Floats = np.float32(1) / (np.float32(1) + np.exp(-np.clip(logits, -80, 80)))
    return probabilities


def _batches(order: Sequence[int], lengths: Sequence[int]) -> list[list[int]]:
    """Split `order`, ascending in length, so that padding costs less than another call, and batches fit MAX_BATCH_TOKENS."""
    batches: list[list[int]] = []
    unpadded = 0  # tokens in the last batch, without padding
    for at in order:
        size, longest = len(batches[-1]) + 1 if batches else 1, max(1, lengths[at])
        padding = size * longest - (unpadded + longest)
        if not batches or padding > CALL_OVERHEAD_TOKENS or size * longest > MAX_BATCH_TOKENS:
            batches.append([])
            unpadded = 0
        batches[-1].append(at)
        unpadded += longest
    return batches


def _unknown_id(tokenizer: Tokenizer) -> int | None:
    unknown: int | None = tokenizer.token_to_id("[UNK]")
    return tokenizer.token_to_id("<unk>") if unknown is None else unknown


def _check_logits(logits: Floats, graph: Path, *, label_count: int) -> None:
    if logits.shape != (len(WARM_UP_TEXTS), label_count):
        shape = list(logits.shape)
        raise ArtifactRejected(
            f"{graph} gives logits {shape} for {len(WARM_UP_TEXTS)} texts; the manifest names {label_count} labels"
        )
    if not np.isfinite(logits).all():
        raise ArtifactRejected(f"{graph} gives logits that are not finite")


def _check_vocabulary(tokenizer: Tokenizer, onnx_model: OnnxModel, folder: Path) -> None:
    largest = max(tokenizer.get_vocab().values(), default=0)
    if not onnx_model.has_token(largest):
        raise ArtifactRejected(f"{folder / TOKENIZER} has token ids up to {largest}, for which {folder / GRAPH} has no embedding")
