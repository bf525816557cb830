"""How good a network is on the validation part, while it is trained and once it is exported."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix

from model.classifier import Floats, OnnxModel, PredictionRule, TextTokenizer, to_probabilities
from model.manifest import Task
from trainer.data.examples import Examples
from trainer.evaluation.scores import f1_score, micro_f1
from trainer.evaluation.thresholds import choose_thresholds


def micro_f1_of(graph: OnnxModel, tokenizer: TextTokenizer, examples: Examples) -> float:
    """The graph's micro-F1 on the examples, with the thresholds that are best for it there."""
    logits = [graph.logits(tokenizer.encode(texts)) for texts in examples.batches()]
    found = np.concatenate(logits)
    return micro_f1_at_best(found, examples.targets, examples.task, label_required=examples.label_required)


def micro_f1_at_best(logits: Floats, targets: csr_matrix, task: Task, *, label_required: bool = True) -> float:
    """Micro-F1 of logits [texts, labels], decided as they are served, with thresholds chosen for them."""
    return f1_at_best(logits, targets, task, label_required=label_required)[0]


def f1_at_best(logits: Floats, targets: csr_matrix, task: Task, *, label_required: bool = True) -> tuple[float, float]:
    """The same, and macro-F1 over the labels that occur in the targets."""
    probabilities = to_probabilities(logits, task)
    rule = PredictionRule(task, (), choose_thresholds(probabilities, targets, task), label_required)
    assigned, truth = rule.assigned(probabilities), targets.toarray().astype(np.bool_)
    carried = truth.sum(0)
    f1 = f1_score((truth & assigned).sum(0), assigned.sum(0), carried)
    return micro_f1(assigned, truth), float(f1[carried > 0].mean()) if carried.any() else 0.0
