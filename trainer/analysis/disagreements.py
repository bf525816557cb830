"""Rows whose labels disagree with models trained on the other rows, ranked. Pure.

Method: Northcutt, Jiang and Chuang, "Confident Learning", JAIR 70, 2021. A label that is not given is suggested if its
probability is at least LIKELY and at least its mean over the texts with the label. For multi-label data, each label is
judged separately (Thyagarajan, Snorrason, Mueller and Northcutt, "Identifying Incorrect Annotations in Multi-Label
Classification Data", 2022): a given label is doubted if its probability is at most its mean over the texts without it.
Rows are ranked by the probability of their least likely given label times that of not giving the most likely other label.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from model.manifest import Task

Probabilities = NDArray[np.float32]
Floats = NDArray[np.float64]
Marks = NDArray[np.bool_]

LIKELY = 0.5  # minimum probability: with several labels per text, means may be low
AT_ONCE = 4_096


class DisagreementKind(StrEnum):
    """Correction that the models suggest: replace a given label, add one, remove one."""

    OTHER = "other"
    MISSING = "missing"
    SURPLUS = "surplus"


SHOWN = {DisagreementKind.OTHER: 50, DisagreementKind.MISSING: 20, DisagreementKind.SURPLUS: 20}


@dataclass(frozen=True)
class Disagreement:
    """Disagreement about the labels of the row at `position`.

    score: probability of the least likely given label, times that of not giving the most likely other label; lower is more
    suspicious. doubted: given labels that should not be; suggested: labels that should be given. Each with its
    probability, the clearest first.
    """

    position: int
    score: float
    doubted: tuple[tuple[int, float], ...]
    suggested: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Disagreements:
    """Number of rows of each kind, and the most suspicious ones, at most SHOWN."""

    counts: dict[DisagreementKind, int]
    worst: dict[DisagreementKind, tuple[Disagreement, ...]]


@dataclass(frozen=True, eq=False)
class _Usual:
    """Mean probability of each label over the texts with the label (inf if there are none) and over the others; both [labels]."""

    where_given: Floats
    elsewhere: Floats


def disagreements(probabilities: Probabilities, targets: csr_matrix, task: Task) -> Disagreements:
    """Return the suspicious rows, from held-out probabilities and the given labels, both [texts, labels]."""
    usual = _usual(probabilities, targets)
    scores = np.zeros(len(probabilities))
    suggested, doubted = np.zeros(len(scores), np.bool_), np.zeros(len(scores), np.bool_)
    for here, some, given in _batches(probabilities, targets):
        missing, surplus = _doubts(some, given, usual, task)
        suggested[here], doubted[here] = missing.any(axis=1), surplus.any(axis=1)
        scores[here] = _scores(some, given)
    rows = {
        DisagreementKind.OTHER: np.flatnonzero(suggested & doubted),
        DisagreementKind.MISSING: np.flatnonzero(suggested & ~doubted),
        DisagreementKind.SURPLUS: np.flatnonzero(doubted & ~suggested),
    }
    worst = {kind: those[np.argsort(scores[those], kind="stable")[: SHOWN[kind]]] for kind, those in rows.items()}
    return Disagreements(
        {kind: len(those) for kind, those in rows.items()},
        {
            kind: tuple(_explained(int(at), float(scores[at]), probabilities, targets, usual, task=task) for at in those)
            for kind, those in worst.items()
        },
    )


def _batches(probabilities: Probabilities, targets: csr_matrix) -> Iterator[tuple[slice, Floats, Marks]]:
    """Yield batches of AT_ONCE rows: their slice, their probabilities and their given labels."""
    for start in range(0, len(probabilities), AT_ONCE):
        here = slice(start, start + AT_ONCE)
        yield here, probabilities[here].astype(np.float64), targets[here].toarray().astype(np.bool_)


def _usual(probabilities: Probabilities, targets: csr_matrix) -> _Usual:
    support = np.asarray(targets.sum(axis=0, dtype=np.int64)).ravel()
    total, where_given = np.zeros(len(support)), np.zeros(len(support))
    for _, some, given in _batches(probabilities, targets):
        total += some.sum(axis=0)
        where_given += (some * given).sum(axis=0)
    elsewhere = (total - where_given) / np.maximum(1, len(probabilities) - support)
    return _Usual(np.where(support > 0, where_given / np.maximum(1, support), np.inf), elsewhere)


def _doubts(some: Floats, given: Marks, usual: _Usual, task: Task) -> tuple[Marks, Marks]:
    """Return the suggested and the doubted labels, both [texts, labels]."""
    likely = some >= np.maximum(usual.where_given, LIKELY)
    if task is Task.MULTI_LABEL:
        return likely & ~given, given & (some <= usual.elsewhere)
    best = np.where(likely, some, 0).argmax(axis=1)[:, None] == np.arange(some.shape[1])
    other = best & likely & ~given
    return other, given & other.any(axis=1)[:, None]


def _scores(some: Floats, given: Marks) -> Floats:
    least_given = np.where(given, some, 1).min(axis=1)
    most_withheld = np.where(given, 0, some).max(axis=1)
    scores: Floats = least_given * (1 - most_withheld)
    return scores


def _explained(
    position: int, score: float, probabilities: Probabilities, targets: csr_matrix, usual: _Usual, *, task: Task
) -> Disagreement:
    [(_, some, given)] = _batches(probabilities[position : position + 1], targets[position])
    missing, surplus = (np.flatnonzero(each[0]) for each in _doubts(some, given, usual, task))
    chance = some[0]
    return Disagreement(
        position=position,
        score=score,
        doubted=tuple((int(at), float(chance[at])) for at in _sorted(surplus, chance)),
        suggested=tuple((int(at), float(chance[at])) for at in _sorted(missing, -chance)),
    )


def _sorted(labels: NDArray[np.int64], by: Floats) -> NDArray[np.int64]:
    return labels[np.argsort(by[labels], kind="stable")]
