"""Scores of a network on the validation part, during training and after export."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix

from model.classifier import Floats, OnnxModel, PredictionRule, TextTokenizer, to_probabilities
from model.manifest import Task
from trainer.data.examples import Examples
from trainer.evaluation.scoring import f1_score, micro_f1
from trainer.evaluation.thresholds import choose_thresholds


def micro_f1_of(graph: OnnxModel, tokenizer: TextTokenizer, examples: Examples) -> float:
    """Return the graph's micro-F1 on the examples, with thresholds chosen on them."""
    logits = np.concatenate([graph.logits(tokenizer.encode(texts)) for texts in examples.batches()])
    return micro_f1_at_best(logits, examples.targets, examples.task, label_required=examples.label_required)


def micro_f1_at_best(logits: Floats, targets: csr_matrix, task: Task, *, label_required: bool = True) -> float:
    """Return the micro-F1 of logits [texts, labels] under the prediction rule of the server, with thresholds chosen on them."""
    return f1_at_best(logits, targets, task, label_required=label_required)[0]


def f1_at_best(logits: Floats, targets: csr_matrix, task: Task, *, label_required: bool = True) -> tuple[float, float]:
    """Return micro-F1 as `micro_f1_at_best` does, and macro-F1 over the labels that occur in the targets."""
    probabilities = to_probabilities(logits, task)
    rule = PredictionRule(task, (), choose_thresholds(probabilities, targets, task), label_required)
    assigned, truth = rule.assigned(probabilities), targets.toarray().astype(np.bool_)
    carried = truth.sum(0)
    f1 = f1_score((truth & assigned).sum(0), assigned.sum(0), carried)
    return micro_f1(assigned, truth), float(f1[carried > 0].mean()) if carried.any() else 0.0
