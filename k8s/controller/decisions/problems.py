"""What is wrong with a classifier, the worst first: reasons for programs, messages for people."""

from __future__ import annotations

from collections.abc import Iterator

from k8s.controller.decisions.dataset import Checked
from k8s.controller.decisions.rollout import RollOut
from k8s.controller.observed.classifier import Run, Seen

Problem = tuple[str, str]


def problems(
    seen: Seen, rejected: tuple[str, ...], rollout: RollOut, checked: Checked, *, active: Run | None, pruning: str | None
) -> tuple[Problem, ...]:
    """rejected: what is wrong with the spec. active: the run that goes on. pruning: why old versions are still there."""
    of_the_spec = [("SpecRejected", each) for each in rejected]
    found = [*of_the_spec, *_of_training(seen, active), *_of_serving(seen, rollout)]
    if checked.note and checked.note.get("message"):
        found.append(("DatasetUnreadable", f"the dataset could not be looked at: {checked.note['message']}"))
    if seen.measured.problem:
        found.append(("NotMeasured", seen.measured.problem))
    if pruning:
        found.append(("VersionsNotDeleted", f"old versions and checkpoints could not be deleted: {pruning}"))
    return tuple(found)


def _of_training(seen: Seen, active: Run | None) -> Iterator[Problem]:
    if active is not None and active.status.get("trouble"):
        yield "TrainingStuck", f"{active.name}: {active.status['trouble']}"
    judged = seen.judged
    if judged is not None and judged.state == "Held" and judged.name != seen.served.get("version"):
        yield "DatasetSuspicious", f"{judged.name}: {judged.status.get('message', '')}"
    last = seen.standing
    if last is not None and last.state == "Failed":
        yield "TrainingFailed", f"{last.name}: {last.status.get('message', '')}"


def _of_serving(seen: Seen, rollout: RollOut) -> Iterator[Problem]:
    if seen.unserved:
        yield "NotServable", seen.unserved
    if seen.taken:
        yield "NameTaken", f"there is {seen.taken} {seen.name} that was not made for this: delete it or rename this"
    if rollout.problem:
        yield "RollOutFailed", rollout.problem
    if seen.trouble:
        yield "PodsStuck", seen.trouble
    if seen.served and not seen.is_available and rollout.going is None:
        yield "NoPodReady", "no Pod of the served version is ready"
