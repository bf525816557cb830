"""Predictions of a classifier for examples, and their scores. Always uses the exported file."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray

from model.classifier import Classifier, Floats, to_probabilities
from model.manifest import Reference
from model.scores import Scores
from trainer.data.examples import Examples
from trainer.evaluation.scoring import score
from trainer.run.progress import track

BATCH_TEXTS = 512
TIMED_TEXTS = 200
LENGTH_EDGES = (4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)


@dataclass(frozen=True, eq=False)
class Answers:
    """Predictions of a classifier.

    probabilities: float32 [texts, labels].
    token_lengths: tokens of each text after cutting [texts].
    unknown_tokens: number of tokens that the tokenizer does not know.
    """

    probabilities: Floats
    token_lengths: NDArray[np.int64]
    unknown_tokens: int


def answer(classifier: Classifier, examples: Examples, what: str) -> Answers:
    """Return the predictions for all texts. what: name of this work in the progress display."""
    probabilities = np.empty((len(examples), len(classifier.rule.labels)), np.float32)
    lengths = np.empty(len(examples), np.int64)
    unknown_id = classifier.tokenizer.unknown_id
    unknown, start = 0, 0
    batches = examples.batches(BATCH_TEXTS)
    for texts in track(batches, total=-(-len(examples) // BATCH_TEXTS), what=what):
        tokens = classifier.tokenizer.encode(texts)
        here = slice(start, start + len(texts))
        probabilities[here] = to_probabilities(classifier.onnx_model.logits(tokens), classifier.rule.task)
        lengths[here] = [len(each.ids) for each in tokens]
        if unknown_id is not None:
            unknown += sum(each.ids.count(unknown_id) for each in tokens)
        start += len(texts)
    return Answers(probabilities, lengths, unknown)


def evaluate(classifier: Classifier, examples: Examples, answers: Answers) -> Scores:
    """Return the scores of the labels that the classifier predicts with its own thresholds."""
    assigned = classifier.rule.assigned(answers.probabilities)
    return score(answers.probabilities, assigned, examples.targets, examples.labels, label_required=examples.label_required)


def milliseconds_per_text(classifier: Classifier, examples: Examples) -> float:
    """Return the median time of a call with one text, including the tokenizer, on the classifier's threads."""
    texts = examples.select(np.arange(min(TIMED_TEXTS, len(examples)))).texts()
    classifier.probabilities(texts[:10])  # the first calls allocate memory
    return median(_milliseconds(classifier, text) for text in texts)


def reference(classifier: Classifier, answers: Answers, *, max_length: int) -> Reference:
    """Return the statistics of texts and predictions that served traffic is compared with."""
    edges = tuple(each for each in LENGTH_EDGES if each < max_length)
    bins = np.searchsorted(np.array(edges), answers.token_lengths, side="left")
    texts, tokens = max(1, len(answers.token_lengths)), max(1, int(answers.token_lengths.sum()))
    assigned = classifier.rule.assigned(answers.probabilities)
    without = None if classifier.rule.label_required else int((~assigned.any(axis=1)).sum()) / texts
    return Reference(
        label_rates=tuple(assigned.sum(axis=0) / texts),
        without_label=without,
        token_length_edges=edges,
        token_length_shares=tuple(np.bincount(bins, minlength=len(edges) + 1) / texts),
        unknown_token_rate=answers.unknown_tokens / tokens,
    )


def _milliseconds(classifier: Classifier, text: str) -> float:
    start = time.perf_counter()
    classifier.probabilities([text])
    return (time.perf_counter() - start) * 1000
