"""From which probability a label is given: chosen on validation, a threshold for each label."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.special import expit, logit

from model.classifier import Floats
from model.manifest import Task

# A label's own threshold counts as much as its positive examples, the common one as much as this many. Chosen on
# arXiv and the product set, see docs/experiments.md.
PRIOR_EXAMPLES = 10.0
EDGE = 1e-6  # keeps logits finite


def choose_thresholds(probabilities: Floats, targets: csr_matrix, task: Task) -> Floats:
    """Thresholds [labels] that are good for F1, from probabilities and targets [texts, labels].

    Each label's best threshold for its own F1 (Lipton, Elkan and Naryanaswamy, ECML PKDD 2014: there is one for each
    label) is shrunk, in log-odds, towards the one threshold that is best for micro-F1: the fewer examples a label
    has, the more its own optimum is chance. Single-label needs none: zeros.
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
    """The threshold of the highest F1: halfway between the last probability above it and the first below."""
    order = np.argsort(-probabilities, kind="stable")
    ranked = probabilities[order].astype(np.float64)
    hits = np.cumsum(targets[order])
    if not len(hits) or hits[-1] == 0:
        return 0.5
    f1 = 2 * hits / (np.arange(1, len(hits) + 1) + hits[-1])
    below = np.append(ranked[1:], 0.0)
    f1[ranked == below] = -1  # equal probabilities stand on one side
    best = int(f1.argmax())
    return float((ranked[best] + below[best]) / 2)


def _log_odds(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    return logit(np.clip(probabilities, EDGE, 1 - EDGE))
