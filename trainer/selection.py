"""Select which of the fitted models is published.

With `auto`, it is the fastest (fewest milliseconds per text) of the candidates whose micro-F1 is at most `tolerance` below the
best.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from tokenizers import Tokenizer

from model.artifact import GRAPH, TOKENIZER
from model.classifier import Classifier, OnnxModel, PredictionRule, TextTokenizer
from model.manifest import ArchitectureName
from model.scores import Scores
from trainer.architectures.base import Exported
from trainer.config.settings import TrainingConfig
from trainer.data.examples import Examples
from trainer.evaluation.evaluate import answer, evaluate, milliseconds_per_text
from trainer.evaluation.thresholds import choose_thresholds

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class ScoredCandidate:
    """An exported model as it would be served, with its scores on validation."""

    exported: Exported
    classifier: Classifier
    validation: Scores
    milliseconds_per_text: float

    @property
    def architecture(self) -> ArchitectureName:
        """Architecture of the exported model."""
        return self.exported.architecture


def score_candidate(exported: Exported, validation: Examples) -> ScoredCandidate:
    """Choose the exported model's thresholds on the validation part, and score and time it there."""
    tokenizer = TextTokenizer(Tokenizer.from_file(str(exported.folder / TOKENIZER)), exported.max_length)
    onnx_model, labels, task = OnnxModel(exported.folder / GRAPH), validation.labels, validation.task
    rule = PredictionRule(task, labels, np.zeros(len(labels), np.float32), validation.label_required)
    without_thresholds = Classifier(tokenizer, onnx_model, rule)
    answers = answer(without_thresholds, validation, f"scoring {exported.architecture} on validation")
    thresholds = choose_thresholds(answers.probabilities, validation.targets, task)
    classifier = Classifier(tokenizer, onnx_model, replace(rule, thresholds=thresholds))
    scores = evaluate(classifier, validation, answers)
    candidate = ScoredCandidate(exported, classifier, scores, milliseconds_per_text(classifier, validation))
    log.info(
        "%s: validation micro-F1 %.4f, %.2f ms per text, fitted in %.0f s",
        exported.architecture, scores.micro_f1, candidate.milliseconds_per_text, exported.seconds,
    )  # fmt: skip
    return candidate


def select(candidates: Sequence[ScoredCandidate], settings: TrainingConfig) -> ScoredCandidate:
    """Return the candidate of the configured architecture; with `auto`, the fastest within the tolerance."""
    if settings.architecture == "auto":
        return fastest_within_tolerance(candidates, settings.selection_tolerance)
    return next(each for each in candidates if each.architecture == settings.architecture)


def fastest_within_tolerance(candidates: Sequence[ScoredCandidate], tolerance: float) -> ScoredCandidate:
    """Return the candidate with the fewest milliseconds per text whose micro-F1 is at most `tolerance` below the best."""
    lowest_accepted = max(each.validation.micro_f1 for each in candidates) - tolerance
    return min(
        (each for each in candidates if each.validation.micro_f1 >= lowest_accepted), key=lambda each: each.milliseconds_per_text
    )
