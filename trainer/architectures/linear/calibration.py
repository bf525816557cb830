"""Margins to log-odds: a slope and an offset for each label, found on validation, so that probabilities mean what they say.

Platt, "Probabilistic outputs for support vector machines", 1999. Knows nothing of texts or of how margins came about.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.sparse import csr_matrix
from scipy.special import expit, logsumexp

from model.manifest import Task

Doubles = NDArray[np.float64]
# What is assumed before any text was seen, and how strongly: margins of a squared hinge need a slope of about 5.
SLOPE, OFFSET = 5.0, 0.0
TRUST_ALL = 1.0
# Labels stay close to each other: with slopes of their own, log-loss is 1 % lower and micro-F1 0.001 lower too, since the
# most probable label is more often the wrong one.
TRUST_LABEL = 1000.0
STEPS = 30
HOTTEST, COLDEST = 0.1, 100.0


@dataclass(frozen=True, eq=False)
class Calibration:
    """logits = slope * margins + offset; float64 [labels], slopes above 0."""

    slope: Doubles
    offset: Doubles


def calibrate(margins: NDArray[np.float32], targets: csr_matrix, task: Task) -> Calibration:
    """The calibration under which `targets` are most likely, from margins and targets [texts, labels].

    Multi-label: each label has its own, drawn towards the one that fits all labels together, by as much as its texts
    leave it open. Single-label: all labels share one slope, so that the order of a text's labels stays.
    """
    labels = margins.shape[1]
    if task is Task.SINGLE_LABEL:
        return Calibration(np.full(labels, _sharpness(margins, targets)), np.zeros(labels))
    truth = targets.toarray().astype(np.float64)
    found = margins.astype(np.float64)
    shared = _newton(found.reshape(-1, 1), truth.reshape(-1, 1), np.array([[SLOPE], [OFFSET]]), TRUST_ALL)
    return Calibration(*_newton(found, truth, np.repeat(shared, labels, axis=1), TRUST_LABEL))


def _newton(margins: Doubles, truth: Doubles, prior: Doubles, trust: float) -> Doubles:
    """Slopes and offsets [2, labels] that minimise log-loss + trust / 2 * |log slope, offset - the prior's|^2.

    Damped Newton steps on all labels at once. A slope moves by its logarithm, and so stays above 0.
    """
    place = np.stack((np.log(prior[0]), prior[1]))
    start = place.copy()
    loss = _loss(margins, truth, place, start, trust)
    for _ in range(STEPS):
        direction = _direction(margins, truth, place, start, trust)
        scale = np.ones(place.shape[1])
        for _ in range(STEPS):
            tried = place - scale * direction
            now = _loss(margins, truth, tried, start, trust)
            if (now <= loss).all():
                break
            scale = np.where(now <= loss, scale, scale / 2)
        better = now <= loss
        place, improved, loss = np.where(better, tried, place), loss - now, np.where(better, now, loss)
        if improved.max() < 1e-9 * max(1.0, float(np.abs(loss).max())):
            break
    return np.stack((np.exp(place[0]), place[1]))


def _loss(margins: Doubles, truth: Doubles, place: Doubles, start: Doubles, trust: float) -> Doubles:
    logits = np.exp(np.minimum(place[0], 10)) * margins + place[1]
    total: Doubles = (np.logaddexp(0, logits) - truth * logits).sum(axis=0) + trust / 2 * ((place - start) ** 2).sum(axis=0)
    return total


def _direction(margins: Doubles, truth: Doubles, place: Doubles, start: Doubles, trust: float) -> Doubles:
    """Newton's direction [2, labels], with the curvature of the logistic loss alone, which is never negative."""
    by_slope = np.exp(np.minimum(place[0], 10)) * margins
    chance = expit(by_slope + place[1])
    error, spread = chance - truth, chance * (1 - chance)
    first = np.stack(((error * by_slope).sum(axis=0), error.sum(axis=0))) + trust * (place - start)
    aa = (spread * by_slope**2).sum(axis=0) + trust
    ab = (spread * by_slope).sum(axis=0)
    bb = spread.sum(axis=0) + trust
    direction: Doubles = np.stack((bb * first[0] - ab * first[1], aa * first[1] - ab * first[0])) / (aa * bb - ab**2)
    return direction


def _sharpness(margins: NDArray[np.float32], targets: csr_matrix) -> float:
    """The slope of the softmax under which the texts' labels are most likely."""
    if not targets.nnz:
        return SLOPE
    truth = targets.toarray().astype(np.float64)
    found = margins.astype(np.float64)
    own = (found * truth).sum(axis=1)

    def loss(logarithm: float) -> float:
        slope = np.exp(logarithm)
        surprise = logsumexp(slope * found, axis=1) - slope * own
        return float(surprise.sum() + TRUST_ALL / 2 * (logarithm - np.log(SLOPE)) ** 2)

    return float(np.exp(minimize_scalar(loss, bounds=(np.log(HOTTEST), np.log(COLDEST)), method="bounded").x))
