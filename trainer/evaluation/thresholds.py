"""Choose a threshold for each label on the validation part."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.special import expit, logit

from model.classifier import Floats
from model.manifest import Task

# Weight of the common threshold; the weight of a label's own one is its number of positive examples. Chosen on arXiv and
# the product set, see docs/experiments.md.
PRIOR_EXAMPLES = 10.0
EDGE = 1e-6  # keeps logits finite


def choose_thresholds(probabilities: Floats, targets: csr_matrix, task: Task) -> Floats:
    """Return thresholds [labels] for a high F1, from probabilities and targets [texts, labels].

    Each label's best threshold for its own F1 (Lipton, Elkan and Naryanaswamy, ECML PKDD 2014) is shrunk, in log-odds,
    towards the common threshold that is best for micro-F1: the optimum of a label with few examples is mostly noise.
    Single-label tasks use no thresholds: zeros.
    """
    labels = probabilities.shape[1]
    if task is Task.SINGLE_LABEL:
        return np.zeros(labels, np.float32)
    dense = targets.toarray().astype(np.bool_)
    common = _best_threshold(probabilities.ravel(), dense.ravel())
    own = np.array([_best_threshold(probabilities[:, each], dense[:, each]) for each in range(labels)])
    positives = dense.sum(axis=0)
    trust = positives / (positives + PRIOR_EXAMPLES)
    shrunk = expit(trust * _log_odds(own) + (1 - trust) * _log_odds(np.array(common)))
    thresholds: Floats = shrunk.astype(np.float32)
    return thresholds


def _best_threshold(probabilities: Floats, targets: NDArray[np.bool_]) -> float:
    """Return the threshold with the highest F1, halfway between the nearest probabilities above and below it."""
    order = np.argsort(-probabilities, kind="stable")
    ranked = probabilities[order].astype(np.float64)
    true_positives = np.cumsum(targets[order])
    if not len(true_positives) or true_positives[-1] == 0:
        return 0.5
    f1 = 2 * true_positives / (np.arange(1, len(true_positives) + 1) + true_positives[-1])
    below = np.append(ranked[1:], 0.0)
    f1[ranked == below] = -1  # a threshold cannot separate equal probabilities
    best = int(f1.argmax())
    return float((ranked[best] + below[best]) / 2)


def _log_odds(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    return logit(np.clip(probabilities, EDGE, 1 - EDGE))
