"""Measure what the gate judges by: the scores of a version, the baseline and the served version on the same texts.

The measurement is a GateRecord, which is defined in model/gate.py, together with the rule that judges it.
"""

from __future__ import annotations

from model.fields import Name, Strict
from model.gate import DataChange, GateRecord, GateRule, best_constant
from model.manifest import AllScores, Task
from model.scores import Scores
from trainer.config.settings import GateConfig
from trainer.shown_values import cut

MAX_REASON_CHARACTERS = 600  # of the reason why nothing was compared, in a run's result


class ServedScores(Strict):
    """The version that was served when another was trained, and its scores on the test part of that other."""

    version: Name
    uri: str
    scores: Scores
    data: DataChange | None = None  # none: written by a release that did not compare datasets


class NotCompared(Strict):
    """Reason why a version was not compared with the served version, in a sentence."""

    not_compared: str


Comparison = ServedScores | NotCompared | None  # none: nothing was served


def measure(settings: GateConfig, scores: AllScores, task: Task, served: Comparison = None) -> GateRecord:
    """Return the record that decides whether the version may be served."""
    compared = served if isinstance(served, ServedScores) else None
    rule = GateRule(**{name: getattr(settings, name) for name in GateRule.model_fields})
    record = GateRecord(
        scores=scores.test.by_name(),
        baseline_scores=scores.baseline.test.by_name(),
        served_scores=compared.scores.by_name() if compared else {},
        served_version=compared.version if compared else None,
        not_compared=cut(served.not_compared, MAX_REASON_CHARACTERS) if isinstance(served, NotCompared) else None,
        texts=scores.test.texts,
        constant=best_constant(scores.test, task),
        data=compared.data if compared else None,
        rule=rule,
    )
    passed, is_asked = record.verdict.passed, rule.minimum is not None or compared is not None
    return record.model_copy(update={"passed": passed if is_asked or not passed else None})


def comparison(record: GateRecord, texts: int) -> str:
    """Return both versions' scores in one sentence; empty if there was none to compare with."""
    if not record.served_scores:
        return ""
    score = record.rule.score
    theirs = f"the served version {record.served_version}: {record.served_scores[score]:.3f}"
    return f"{score} {record.scores[score]:.3f}, {theirs} on the same {texts:,} texts"
