"""The gate: whether a version is good enough to be served."""

from __future__ import annotations

from dataclasses import dataclass

from k8s.controller.resources import GateSpec
from model.run_result import GateScores


@dataclass(frozen=True)
class Verdict:
    """Whether it passes, and why, for people."""

    passed: bool
    message: str


def judge(measured: GateScores, gate: GateSpec, *, served: str | None = None) -> Verdict:
    """Its score reaches the minimum, and it is not worse than the served version on the same texts by more than the tolerance.

    By the gate of now: the one that the trainer was given may have changed since. A change of the score that is compared asks for
    another training; here the one that was measured counts. served: the version that it should have been compared with.
    """
    scores = measured.model_copy(update={"minimum": gate.minimum, "tolerance": gate.tolerance})
    said = [f"{scores.score} is {scores.value:.4f}"]
    if gate.minimum is not None:
        said.append(f"{'below' if scores.is_below_minimum else 'reaches'} spec.gate.minimum {gate.minimum:g}")
    if scores.served_value is not None:
        how = "worse than" if scores.is_worse_than_served else "not worse than"
        said.append(
            f"{how} the served version {scores.served_version or ''} on the same texts ({scores.served_value:.4f}, "
            f"spec.gate.tolerance {gate.tolerance:g})"
        )
    elif served is not None:
        said.append(f"not compared with the served version {served}, which could not be read")
    elif gate.minimum is None:
        said.append("nothing was asked for")
    return Verdict(not (scores.is_below_minimum or scores.is_worse_than_served), ", ".join(said))
