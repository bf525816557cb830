"""The gate: whether a version is good enough to be served."""

from __future__ import annotations

from dataclasses import dataclass

from k8s.controller.resources import GateSpec
from model.run_result import GateScores

ROUNDING = 1e-9  # of a score and a tolerance that are exactly as far apart as people write them


@dataclass(frozen=True)
class Verdict:
    """Whether it passes, and why, for people."""

    passed: bool
    message: str


def judge(scores: GateScores, gate: GateSpec) -> Verdict:
    """Its score reaches the minimum, and it is not worse than the served version on the same texts by more than the tolerance.

    A change of the score that is compared asks for another training; here the one that was measured counts.
    """
    said, missed = [f"{scores.score} is {scores.value:.4f}"], False
    if gate.minimum is not None:
        missed = scores.value < gate.minimum - ROUNDING
        said.append(f"{'below' if missed else 'reaches'} spec.gate.minimum {gate.minimum:g}")
    if scores.served_value is not None:
        worse = scores.value < scores.served_value - gate.tolerance - ROUNDING
        missed = missed or worse
        how = "worse than" if worse else "not worse than"
        said.append(
            f"{how} the served version {scores.served_version or ''} on the same texts ({scores.served_value:.4f}, "
            f"spec.gate.tolerance {gate.tolerance:g})"
        )
    elif gate.minimum is None:
        said.append("nothing was asked for")
    return Verdict(not missed, ", ".join(said))
