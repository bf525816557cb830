"""The gate: whether a version is good enough to be served."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from k8s.controller.api.v1alpha1 import GateSpec
from k8s.controller.objects import names
from k8s.controller.objects.kinds import Document
from k8s.controller.observed.wording import in_the_users_terms
from model.gate import GateScores, suspicions


@dataclass(frozen=True)
class Verdict:
    """What becomes of a version, and why, for people. Held: it waits until someone has looked at its dataset."""

    state: Literal["Published", "Held", "Rejected"]
    message: str

    @property
    def passed(self) -> bool:
        """Whether it may be served."""
        return self.state == "Published"


def comparable(served: Document | None, storage: str) -> Document | None:
    """Return version, uri and digest of the served version, if it lies in the run's storage.

    A run may have no credentials for another storage.
    """
    if not served or not names.lies_in(served["uri"], storage):
        return None
    return {field: served[field] for field in ("version", "uri", "manifestSha256") if served.get(field)}


def judge(measured: GateScores, gate: GateSpec, *, version: str = "", served: str | None = None) -> Verdict:
    """Return whether the version may be served, by the gate of now: the one the trainer was given may have changed since.

    A change of the score that is compared asks for another training; here the one that was measured counts. version: whose
    scores these are. served: the version that it should have been compared with.
    """
    scores = measured.model_copy(
        update={"minimum": gate.minimum, "tolerance": gate.tolerance, "served_may_fall": gate.served_may_fall}
    )
    value = f"{scores.score} {scores.value:.4f}"
    if scores.is_below_minimum:
        theirs = "" if scores.served_value is None else f" ({_served(scores)}: {scores.served_value:.4f})"
        return Verdict("Rejected", f"refused: {value} is below spec.gate.minimum {gate.minimum:g}{theirs}")
    said = ", ".join(each for each in (_minimum(gate), _comparison(scores, served)) if each)
    if gate.approve and gate.approve == version:
        return Verdict("Published", f"approved by spec.gate.approve: {value} {said}")
    if doubts := suspicions(scores):
        found = in_the_users_terms("; ".join(doubts))
        return Verdict("Held", f"held: {found}. {_what_to_do(scores, gate, version)}. The version: {value} {said}")
    if scores.is_worse_than_served:
        return Verdict("Rejected", f"refused: {value} {said}")
    return Verdict("Published", f"passes: {value} {said}")


def _minimum(gate: GateSpec) -> str:
    return "" if gate.minimum is None else f"reaches spec.gate.minimum {gate.minimum:g}"


def _served(scores: GateScores) -> str:
    return f"the served version {scores.served_version or ''}".rstrip()


def _comparison(scores: GateScores, served: str | None) -> str:
    """How far the version is from the served one."""
    if scores.served_value is None:
        if served is not None:
            why = f": {scores.not_compared}" if scores.not_compared else ""
            return f"was not compared with the served version {served}, which could not be read{why}"
        return "" if scores.minimum is not None else "without a spec.gate.minimum, and nothing was served to compare it with"
    theirs = f"{_served(scores)} ({scores.served_value:.4f} on the same texts)"
    distance = scores.value - scores.served_value
    if abs(distance) < 0.00005:
        return f"is as good as {theirs}"
    if distance > 0:
        return f"is {distance:.4f} ahead of {theirs}"
    how = "more than" if scores.is_worse_than_served else "within"
    return f"is {-distance:.4f} behind {theirs}, {how} spec.gate.tolerance {scores.tolerance:g}"


def _what_to_do(scores: GateScores, gate: GateSpec, version: str) -> str:
    ways = [f"spec.gate.approve: {version} serves this version", "a spec.gate.minimum that it reaches serves it, too"]
    if suspicions(scores.model_copy(update={"served_may_fall": True})) == ():
        ways.append("spec.gate.servedMayFall: true lets the dataset of this classifier change")
    other = f" (spec.gate.approve is {gate.approve}, which is another version)" if gate.approve else ""
    return f"If the dataset is wrong, correct it; if it is right, {'; '.join(ways)}{other}"
