"""Texts to label probabilities: tokenizer and ONNX session. Knows no HTTP, no KServe, no torch.

The trainer scores with this and the server answers with this, so both speak of the same model.
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
from model.text_length import beginning, most_characters

Floats = NDArray[np.float32]
BATCH_TOKENS = 8192  # bounds the memory of a call; padding counts
CALL_TOKENS = 32  # a call costs about as much as so many tokens, so that more padding than this is not worth saving one
# Key of a graph's metadata: its activations are scaled by all that is in a call, so that texts would colour each other.
ONE_TEXT_A_CALL = "labelwright.one_text_a_call"
# On a CPU these take longer than the operations they replace: 10 % of an int8 call of 128 tokens (docs/experiments.md).
SLOWER_FUSIONS = ["SkipLayerNormFusion", "BiasGeluFusion"]
WARM_UP = ("", "A text to answer before the first one that matters.")


class Tokens(NamedTuple):
    """A text as token ids, and whether it was longer than the model reads."""

    ids: list[int]
    truncated: bool


class Prediction(NamedTuple):
    """A text's labels and their probabilities, the most probable first."""

    labels: tuple[str, ...]
    scores: tuple[float, ...]


@dataclass(frozen=True)
class Decision:
    """How probabilities become labels.

    label_required: whether a text is given one label at least; always when single-label.
    """

    task: Task
    labels: tuple[str, ...]
    thresholds: Floats
    label_required: bool = True

    @classmethod
    def of(cls, manifest: Manifest) -> Self:
        """The decision of a published version."""
        return cls(manifest.task, manifest.labels, np.asarray(manifest.thresholds, np.float32), manifest.label_required)

    def assigned(self, probabilities: Floats) -> NDArray[np.bool_]:
        """Which labels each text is given, [texts, labels].

        Single-label, the most probable label; multi-label, those that reach their own threshold. Where none does, the most
        probable one if a label is required, else none.
        """
        given = np.zeros(probabilities.shape, np.bool_) if self.task is Task.SINGLE_LABEL else probabilities >= self.thresholds
        if not self.label_required:
            return given
        none = np.flatnonzero(~given.any(axis=1))
        if len(none):
            given[none, probabilities[none].argmax(axis=1)] = True
        return given

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
        rows, columns = eligible.nonzero()
        scores = probabilities[rows, columns]
        ranking = np.lexsort((-scores, rows))  # stable: of equal scores, the first label is first
        labels = [self.labels[each] for each in columns[ranking].tolist()]
        ranked: list[float] = scores[ranking].tolist()
        found, start = [], 0
        for count in eligible.sum(axis=1).tolist():
            end = start + (count if top_k is None else min(count, top_k))
            found.append(Prediction(tuple(labels[start:end]), tuple(ranked[start:end])))
            start += count
        return found


class Encoder:
    """Texts to token ids, cut at `max_length` tokens and not padded.

    No more than the beginning of a long text is tokenised (`model.text_length`).
    """

    def __init__(self, tokenizer: Tokenizer, max_length: int) -> None:
        tokenizer.no_padding()  # files of some models say "pad to 128", which costs a title seven times its tokens
        tokenizer.enable_truncation(max_length)
        self._tokenizer = tokenizer
        self.max_length = max_length
        self.unknown_id = _unknown_id(tokenizer)

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        """The tokens of each text."""
        read = [beginning(text, self.max_length) for text in texts]
        encodings = self._tokenizer.encode_batch_fast(read)  # nobody asks for offsets
        found = zip(encodings, read, texts, strict=True)
        return [Tokens(each.ids, bool(each.overflowing) or len(start) < len(text)) for each, start, text in found]

    def size(self, text: str) -> int:
        """Return how many characters of the text are tokenised at most: a measure of the work that it is."""
        return min(len(text), most_characters(self.max_length))


class Graph:
    """An ONNX graph from `input_ids` and `attention_mask` (int64 [texts, tokens]) to `logits` (float32 [texts, labels]).

    label_count: how many labels it knows.
    one_text_a_call: whether it gets texts one by one, because they would colour each other.
    threads: of one call. threads_alone: of a call that is made alone; if more, a second copy of the weights is held.
    """

    def __init__(self, path: Path, *, threads: int = 1, threads_alone: int = 1) -> None:
        self._session = _session(path, threads)
        self._session_alone = _session(path, threads_alone) if threads_alone > threads else self._session
        self.one_text_a_call = ONE_TEXT_A_CALL in self._session.get_modelmeta().custom_metadata_map
        self.label_count = self._compute([[0]]).shape[-1]

    def logits(self, tokens: Sequence[Tokens], *, alone: bool = False) -> Floats:
        """Logits [texts, labels] of any number of texts, computed in batches of similar length.

        A text's logits do not depend on the others: a graph of which that is not true says so, and gets one a call. Nor
        do they depend on `alone`, said where no other call is made meanwhile.
        """
        if len(tokens) == 1:
            return self._compute([tokens[0].ids], session=self._session_alone if alone else self._session)
        lengths = [len(each.ids) for each in tokens]
        order = sorted(range(len(tokens)), key=lengths.__getitem__)
        found = [self._compute([tokens[at].ids for at in batch]) for batch in self._batches(order, lengths)]
        if not found:
            return np.zeros((0, self.label_count), np.float32)
        logits = np.empty((len(tokens), found[0].shape[1]), np.float32)
        logits[order] = np.concatenate(found)
        return logits

    def _batches(self, order: list[int], lengths: Sequence[int]) -> list[list[int]]:
        return [[at] for at in order] if self.one_text_a_call else _batches(order, lengths)

    def knows(self, token_id: int) -> bool:
        """Whether the graph has a row for this token, tried by asking for it."""
        quietly = onnxruntime.RunOptions()
        quietly.log_severity_level = 4  # what fails here is an answer, not an error
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
    """A loaded version."""

    def __init__(self, encoder: Encoder, graph: Graph, decision: Decision) -> None:
        self.encoder = encoder
        self.graph = graph
        self.decision = decision

    @classmethod
    def load(cls, folder: Path, *, threads: int = 1) -> Self:
        """The version in `folder`, verified first. Raises ArtifactRejected."""
        return cls.assemble(folder, verify(folder), threads=threads)

    @classmethod
    def assemble(cls, folder: Path, manifest: Manifest, *, threads: int = 1, threads_alone: int = 1) -> Self:
        """The version in `folder`, whose files were found to be as `manifest` says; it has answered once.

        Raises ArtifactRejected if its parts cannot be loaded or do not fit each other.
        """
        try:
            tokenizer = Tokenizer.from_file(str(folder / manifest.stored(TOKENIZER)))
            graph = Graph(folder / manifest.stored(GRAPH), threads=threads, threads_alone=threads_alone)
            loaded = cls(Encoder(tokenizer, manifest.max_length), graph, Decision.of(manifest))
            logits = graph.logits(loaded.encoder.encode(WARM_UP))
        except Exception as error:  # both libraries raise bare exceptions of their own
            raise ArtifactRejected(f"{folder} cannot be loaded: {error}") from error
        _check_logits(logits, folder / GRAPH, label_count=len(manifest.labels))
        _check_vocabulary(tokenizer, graph, folder)
        return loaded

    def warm_up(self) -> None:
        """Answer texts of every size, alone and together, so that no request pays for the memory that a first call takes."""
        longest = " ".join(WARM_UP * self.encoder.max_length)
        for text in (*WARM_UP, longest):
            for alone in (False, True):
                self.graph.logits(self.encoder.encode([text]), alone=alone)
        self.graph.logits(self.encoder.encode(WARM_UP * 16))

    def probabilities(self, texts: Sequence[str]) -> Floats:
        """Probabilities [texts, labels]; each label's own when multi-label, summing to 1 when single-label."""
        return to_probabilities(self.graph.logits(self.encoder.encode(texts)), self.decision.task)

    def predict(self, texts: Sequence[str], *, top_k: int | None = None, threshold: float | None = None) -> list[Prediction]:
        """A prediction for each text, as `Decision.predictions` says."""
        return self.decision.predictions(self.probabilities(texts), top_k=top_k, threshold=threshold)


def _session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        str(path), options, providers=["CPUExecutionProvider"], disabled_optimizers=SLOWER_FUSIONS
    )


def to_probabilities(logits: Floats, task: Task) -> Floats:
    """Sigmoid when multi-label, softmax when single-label. Shapes [texts, labels]."""
    if task is Task.SINGLE_LABEL:
        exponentials: Floats = np.exp(logits - logits.max(axis=1, keepdims=True))
        exponentials /= exponentials.sum(axis=1, keepdims=True)
        return exponentials
    # Beyond 80 a float32 sigmoid is 0 or 1 to the last bit, and its exponential would overflow.
    probabilities: Floats = np.float32(1) / (np.float32(1) + np.exp(-np.clip(logits, -80, 80)))
    return probabilities


def _batches(order: Sequence[int], lengths: Sequence[int]) -> list[list[int]]:
    """Cut `order`, ascending in length, where padding would cost more than another call, or exceed BATCH_TOKENS."""
    batches: list[list[int]] = []
    real = 0  # tokens in the last batch, which padding comes on top of
    for at in order:
        size, longest = len(batches[-1]) + 1 if batches else 1, max(1, lengths[at])
        padding = size * longest - (real + longest)
        if not batches or padding > CALL_TOKENS or size * longest > BATCH_TOKENS:
            batches.append([])
            real = 0
        batches[-1].append(at)
        real += longest
    return batches


def _unknown_id(tokenizer: Tokenizer) -> int | None:
    unknown: int | None = tokenizer.token_to_id("[UNK]")
    return tokenizer.token_to_id("<unk>") if unknown is None else unknown


def _check_logits(logits: Floats, graph: Path, *, label_count: int) -> None:
    if logits.shape != (len(WARM_UP), label_count):
        shape = list(logits.shape)
        raise ArtifactRejected(f"{graph} gives logits {shape} for {len(WARM_UP)} texts, the manifest names {label_count} labels")
    if not np.isfinite(logits).all():
        raise ArtifactRejected(f"{graph} gives logits that are not numbers")


def _check_vocabulary(tokenizer: Tokenizer, graph: Graph, folder: Path) -> None:
    largest = max(tokenizer.get_vocab().values(), default=0)
    if not graph.knows(largest):
        raise ArtifactRejected(f"{folder / TOKENIZER} has token ids up to {largest}, which {folder / GRAPH} does not know")
