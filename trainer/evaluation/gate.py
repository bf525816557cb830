"""Whether a version is as good as was asked for. Decides from scores alone; trainer.publishing measures them."""

from __future__ import annotations

from model.gate import DataChange, GateScores, best_constant, suspicions
from model.manifest import AllScores, Name, Scores, Strict, Task
from trainer.config.settings import GateConfig

MOST_CHARACTERS = 600  # of the reason why nothing was compared


class ServedScores(Strict):
    """The version that was served when another was trained, and its scores on the test part of that other."""

    version: Name
    uri: str
    scores: Scores
    data: DataChange | None = None  # none: written by a release that did not compare datasets


def judge(settings: GateConfig, scores: AllScores, task: Task, served: ServedScores | str | None = None) -> GateScores:
    """Return the version's scores beside what was asked for. served: of the served version; or why there are none.

    It passes if it reaches the minimum, is not behind the served version by more than the tolerance, and is not suspicious.
    Without a minimum and a served version there is nothing to pass, but to be suspicious.
    """
    score, why_not = settings.score, None
    if isinstance(served, str):
        served, why_not = None, served
    found = GateScores(
        score=score,
        value=scores.test.by_name()[score],
        baseline=scores.baseline.test.by_name()[score],
        micro_f1=scores.test.micro_f1,
        macro_f1=scores.test.macro_f1,
        texts=scores.test.texts,
        constant=best_constant(scores.test, task),
        minimum=settings.minimum,
        served_version=served.version if served else None,
        served_value=served.scores.by_name()[score] if served else None,
        not_compared=shortened(why_not) if why_not else None,
        tolerance=settings.tolerance,
        data=served.data if served else None,
        served_may_fall=settings.served_may_fall,
    )
    asked = found.minimum is not None or found.served_value is not None
    reasons = shortcomings(found)
    return found.model_copy(update={"passed": not reasons if asked or reasons else None})


def shortened(sentence: str) -> str:
    """The sentence, so that it fits into a run's result."""
    return sentence if len(sentence) <= MOST_CHARACTERS else f"{sentence[: MOST_CHARACTERS - 1]}…"


def remarks(gate: GateScores) -> tuple[str, ...]:
    """What to say of the version: why it does not pass, and why it was not compared with the served version."""
    why = () if gate.not_compared is None else (f"it was not compared with the served version: {gate.not_compared}",)
    return (*shortcomings(gate), *why)


def comparison(gate: GateScores, texts: int) -> str:
    """Both versions' values in one sentence; empty if there was none to compare with."""
    if gate.served_value is None:
        return ""
    ours, theirs = f"{gate.score} {gate.value:.3f}", f"the served version {gate.served_version}: {gate.served_value:.3f}"
    return f"{ours}, {theirs} on the same {texts:,} texts"


def shortcomings(gate: GateScores) -> tuple[str, ...]:
    """Why the version does not pass, in sentences without a full stop; none if it passes."""
    found = []
    if gate.is_below_minimum:
        found.append(f"the version's {gate.score} on the test part is {gate.value:.4f}, gate.minimum is {gate.minimum}")
    if gate.is_worse_than_served:
        found.append(
            f"the version's {gate.score} on the test part is {gate.value:.4f}, that of the served version "
            f"{gate.served_version} is {gate.served_value:.4f} on the same texts, gate.tolerance is {gate.tolerance}"
        )
    return (*found, *suspicions(gate))
