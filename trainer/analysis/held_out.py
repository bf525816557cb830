"""Held-out probabilities of every label for every text, by cross-validation.

The models are those of the `linear` architecture, without export.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.special import expit, softmax

from model.manifest import Task
from trainer.analysis.duplicates import label_sums
from trainer.architectures.linear import svm
from trainer.architectures.linear.calibration import Calibration, calibrate
from trainer.architectures.linear.svm import Linear
from trainer.config.settings import Config
from trainer.data.examples import Examples
from trainer.features.tfidf import choose, renumber, tf_idf
from trainer.features.vocabulary import encode, train_tokenizer
from trainer.split.stratify import stratify

log = logging.getLogger(__name__)

Probabilities = NDArray[np.float32]
Positions = NDArray[np.int64]

FOLDS = 3
LEARNT_FROM = 40_000  # texts that a model is fitted on, at most
ENOUGH_TEXTS = 10  # of a label; with fewer, it is not judged
MOST_LABELS = 1_000
MOST_TEXTS = 150_000
MOST_DECISIONS = 60_000_000  # texts times labels, four bytes each
CALIBRATED_ON = 4_000_000  # decisions per fold
MOST_FEATURES = 200_000
MOST_WEIGHTS = 100_000_000  # features times labels
MAX_ITER = 4
AT_ONCE = 4_096


@dataclass(frozen=True, eq=False)
class Scope:
    """Part of the examples that is judged.

    positions: of its texts among all examples; labels: of its labels among all labels; both ascending.
    sampled: whether the texts are a random sample, because there are too many to judge in a few minutes.
    """

    examples: Examples
    positions: Positions
    labels: Positions
    sampled: bool


def scope(examples: Examples, *, seed: int) -> Scope:
    """Return the texts that have a label with at least ENOUGH_TEXTS texts, and those known to have none.

    If there are too many, return a random sample.
    """
    counts = examples.label_counts()
    most_frequent = np.argsort(-counts, kind="stable")[:MOST_LABELS]
    labels = np.sort(most_frequent[counts[most_frequent] >= ENOUGH_TEXTS])
    targets = csr_matrix(examples.targets[:, labels])
    labelled = np.flatnonzero((targets.getnnz(axis=1) > 0) | examples.without_label())
    positions = _sample(labelled, min(MOST_TEXTS, MOST_DECISIONS // max(1, len(labels))), seed=seed)
    names = tuple(examples.labels[at] for at in labels)
    part = replace(examples, labels=names, targets=targets).select(positions)
    return Scope(part, positions, labels, sampled=len(positions) < len(labelled))


def held_out_probabilities(examples: Examples, groups: NDArray[np.int64], config: Config) -> Probabilities:
    """Return the probability of each label for each text [examples, labels], by a model fitted on the other folds.

    groups: duplicates of each example [examples]. A group is in one fold, so that no model has seen a copy of the text. A
    model is fitted on at most LEARNT_FROM texts. Vocabulary, IDF and calibration are computed on all folds: the first two
    do not depend on labels, and the calibration is two numbers per label. The same seed gives the same probabilities.
    """
    rows, seed = _features(examples, config), config.training.seed
    folds = _folds(examples, groups, seed=seed)
    probabilities = np.zeros((len(examples), len(examples.labels)), np.float32)
    for fold in range(FOLDS):
        others, held_out = _sample(np.flatnonzero(folds != fold), LEARNT_FROM, seed=seed), np.flatnonzero(folds == fold)
        log.info("fold %d of %d: fitting on %d texts to judge %d others", fold + 1, FOLDS, len(others), len(held_out))
        max_iter = min(MAX_ITER, config.linear.passes)
        fitted = svm.fit(rows[others], examples.targets[others], C=config.linear.penalty, max_iter=max_iter, seed=seed)
        seen = _sample(held_out, max(1, CALIBRATED_ON // len(examples.labels)), seed=seed)
        calibration = calibrate(fitted.margins(rows[seen]), examples.targets[seen], examples.task)
        for start in range(0, len(held_out), AT_ONCE):
            these = held_out[start : start + AT_ONCE]
            probabilities[these] = _probabilities(fitted, calibration, rows[these], examples.task)
    return probabilities


def _features(examples: Examples, config: Config) -> csr_matrix:
    """Return the TF-IDF of all texts, without words that occur in one text only."""
    settings = config.linear
    tokenizer = train_tokenizer(examples, minimum=2, max_length=settings.max_length)
    count = tokenizer.get_vocab_size()
    tokens = encode(tokenizer, examples, max_length=settings.max_length)
    maximum = min(settings.max_features, MOST_FEATURES, MOST_WEIGHTS // len(examples.labels))
    kept, features = choose(tokens, word_count=count, minimum_texts=2, maximum=maximum)
    return tf_idf(renumber(tokens, kept, word_count=count), features)


def _folds(examples: Examples, groups: NDArray[np.int64], *, seed: int) -> NDArray[np.int64]:
    """Return a fold for each example, stratified by label."""
    numbers = np.unique(groups, return_inverse=True)[1].ravel()
    units = label_sums(examples.targets, numbers)
    assigned = stratify(units, np.bincount(numbers).astype(np.int64), np.full(FOLDS, 1 / FOLDS), seed=seed)
    folds: NDArray[np.int64] = assigned[numbers]
    return folds


def _sample(positions: Positions, most: int, *, seed: int) -> Positions:
    if len(positions) <= most:
        return positions
    return np.sort(np.random.default_rng(seed).choice(positions, most, replace=False))


def _probabilities(fitted: Linear, calibration: Calibration, rows: csr_matrix, task: Task) -> Probabilities:
    logits = fitted.margins(rows) * calibration.slope + calibration.offset
    return np.asarray(softmax(logits, axis=1) if task is Task.SINGLE_LABEL else expit(logits), np.float32)
