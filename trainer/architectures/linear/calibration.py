"""Calibration of margins to log-odds: a slope and an offset for each label, fitted on the validation part.

Method: Platt, "Probabilistic outputs for support vector machines", 1999. This module does not know texts or features.
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
# Prior and its strength: margins of a squared hinge loss need a slope of about 5.
SLOPE, OFFSET = 5.0, 0.0
TRUST_ALL = 1.0
# Strength with which labels are drawn to the shared calibration. With independent slopes, log-loss is 1 % lower, but
# micro-F1 is 0.001 lower too: the most probable label is wrong more often.
TRUST_LABEL = 1000.0
STEPS = 30
HOTTEST, COLDEST = 0.1, 100.0


@dataclass(frozen=True, eq=False)
class Calibration:
    """logits = slope * margins + offset; float64 [labels], slopes above 0."""

    slope: Doubles
    offset: Doubles


def calibrate(margins: NDArray[np.float32], targets: csr_matrix, task: Task) -> Calibration:
    """Return the calibration that maximises the likelihood of `targets`; margins and targets are [texts, labels].

    Multi-label: each label has its own slope and offset, regularised towards those fitted on all labels together.
    Single-label: all labels share one slope, so that the order of a text's labels does not change.
    """
    labels = margins.shape[1]
    if task is Task.SINGLE_LABEL:
        return Calibration(np.full(labels, _sharpness(margins, targets)), np.zeros(labels))
    truth = targets.toarray().astype(np.float64)
    doubles = margins.astype(np.float64)
    shared = _newton(doubles.reshape(-1, 1), truth.reshape(-1, 1), np.array([[SLOPE], [OFFSET]]), TRUST_ALL)
    return Calibration(*_newton(doubles, truth, np.repeat(shared, labels, axis=1), TRUST_LABEL))


def _newton(margins: Doubles, truth: Doubles, prior: Doubles, trust: float) -> Doubles:
    """Return slopes and offsets [2, labels] that minimise log-loss + trust / 2 * |(log slope, offset) - prior's|^2.

    Damped Newton steps, on all labels at once. The logarithm of the slope is optimised, so that the slope stays above 0.
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
    """Return Newton's direction [2, labels], with the curvature of the logistic loss only, which is never negative."""
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
    """Return the slope of the softmax that maximises the likelihood of the texts' labels."""
    if not targets.nnz:
        return SLOPE
    truth = targets.toarray().astype(np.float64)
    doubles = margins.astype(np.float64)
    own = (doubles * truth).sum(axis=1)

    def loss(logarithm: float) -> float:
        slope = np.exp(logarithm)
        surprise = logsumexp(slope * doubles, axis=1) - slope * own
        return float(surprise.sum() + TRUST_ALL / 2 * (logarithm - np.log(SLOPE)) ** 2)

    return float(np.exp(minimize_scalar(loss, bounds=(np.log(HOTTEST), np.log(COLDEST)), method="bounded").x))
