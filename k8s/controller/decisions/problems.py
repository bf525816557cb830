"""Problems of a classifier, the worst first, each with a reason and a message."""

from __future__ import annotations

from collections.abc import Iterator

from k8s.controller.decisions.dataset import DatasetCheck
from k8s.controller.decisions.rollout import Rollout
from k8s.controller.observed.classifier import ObservedClassifier
from k8s.controller.observed.run import TrainingRunSummary

Problem = tuple[str, str]


def problems(
    observed: ObservedClassifier,
    rejected: tuple[str, ...],
    rollout: Rollout,
    checked: DatasetCheck,
    *,
    active: TrainingRunSummary | None,
    pruning: str | None,
) -> tuple[Problem, ...]:
    """Return the problems. rejected: errors of the spec. active: the run in progress. pruning: why old versions still exist."""
    of_the_spec = [("SpecRejected", each) for each in rejected]
    found = [*of_the_spec, *_of_training(observed, active), *_of_serving(observed, rollout)]
    if checked.note and checked.note.get("message"):
        found.append(("DatasetUnreadable", f"the dataset could not be checked: {checked.note['message']}"))
    if observed.measured.problem:
        found.append(("NotMeasured", observed.measured.problem))
    if pruning:
        found.append(("VersionsNotDeleted", f"old versions and checkpoints could not be deleted: {pruning}"))
    return tuple(found)


def _of_training(observed: ObservedClassifier, active: TrainingRunSummary | None) -> Iterator[Problem]:
    if active is not None and active.status.get("trouble"):
        yield "TrainingStuck", f"{active.name}: {active.status['trouble']}"
    judged = observed.judged
    if judged is not None and judged.state == "Held" and judged.name != observed.served.get("version"):
        yield "DatasetSuspicious", f"{judged.name}: {judged.status.get('message', '')}"
    last = observed.latest_effective_run
    if last is not None and last.state == "Failed":
        yield "TrainingFailed", f"{last.name}: {last.status.get('message', '')}"


def _of_serving(observed: ObservedClassifier, rollout: Rollout) -> Iterator[Problem]:
    if observed.serving_unavailable:
        yield "NotServable", observed.serving_unavailable
    if observed.name_conflict:
        yield (
            "NameTaken",
            f"{observed.name_conflict} {observed.name} exists that does not belong to this TextClassifier: delete one of them",
        )
    if rollout.problem:
        yield "RollOutFailed", rollout.problem
    if observed.trouble:
        yield "PodsStuck", observed.trouble
    if observed.served and not observed.is_available and rollout.in_progress is None:
        yield "NoPodReady", "no Pod of the served version is ready"
