"""Observed state of a TrainingRun, for its own reconciliation and for its classifier's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from pydantic import ValidationError

from k8s.controller.api.v1alpha1 import TrainingRunSpec
from k8s.controller.objects import names
from k8s.controller.objects.documents import owned_by, parse_time
from k8s.controller.objects.kinds import TEXT_CLASSIFIER, Document
from model.gate import GateRecord
from model.scores import ScoreName

JUDGED_STATES = {"Published", "Held", "Rejected"}
FINAL_STATES = JUDGED_STATES | {"Failed", "Superseded"}
# Fields about where a training runs: a change of them does not repeat a training that has succeeded.
PLACEMENT_FIELDS = {"nodes", "resources", "nodeSelector", "tolerations", "timeout", "tracking"}


@dataclass(frozen=True)
class TrainingRunSummary:
    """TrainingRun, as its classifier sees it."""

    document: Document

    @property
    def name(self) -> str:
        """Name of the run and of its version."""
        return str(self.document["metadata"]["name"])

    @property
    def created(self) -> datetime:
        """Time of creation, to the second."""
        return parse_time(self.document["metadata"]["creationTimestamp"])

    @property
    def sequence(self) -> int:
        """Position among the classifier's runs; 0 if the run was made by hand or the annotation is not a number."""
        number = str((self.document["metadata"].get("annotations") or {}).get(names.SEQUENCE, ""))
        return int(number) if re.fullmatch(r"[0-9]{1,9}", number) else 0

    @property
    def status(self) -> Document:
        """Status as its own reconciliation has written it."""
        status: Document = self.document.get("status") or {}
        return status

    @property
    def state(self) -> str:
        """State; Pending before the first reconciliation."""
        return str(self.status.get("state", "Pending"))

    @property
    def is_over(self) -> bool:
        """Whether the run has ended."""
        return self.state in FINAL_STATES

    @property
    def was_superseded(self) -> bool:
        """Whether the controller stopped it for another spec."""
        return self.state == "Superseded" and names.SUPERSEDED in (self.document["metadata"].get("annotations") or {})

    @property
    def was_refused(self) -> bool:
        """Whether the gate held or refused its version; a changed gate may pass it."""
        return self.state in ("Held", "Rejected")

    @property
    def was_cancelled(self) -> bool:
        """Whether a user stopped it."""
        return self.state == "Superseded" and not self.was_superseded

    @property
    def has_begun(self) -> bool:
        """Whether its Job has started."""
        return "startedAt" in self.status

    @property
    def has_files(self) -> bool:
        """Whether its version has files in the storage."""
        return bool(self.status.get("artifactUri")) and not self.files_deleted

    @property
    def has_left(self) -> bool:
        """Whether the storage may have files of it: a version, or checkpoints of an unfinished training."""
        unfinished = self.state in ("Superseded", "Failed") and self.has_begun
        return (self.has_files or unfinished) and not self.files_deleted

    @property
    def files_deleted(self) -> bool:
        """Whether its version was deleted because of history.versions."""
        return (self.document["metadata"].get("annotations") or {}).get(names.FILES) == "deleted"

    @property
    def may_be_served(self) -> bool:
        """Whether its version exists and has passed the gate."""
        return self.has_files and bool(self.status.get("passed"))

    @property
    def trigger(self) -> Document:
        """Trigger of the run."""
        trigger: Document = self.document["spec"].get("trigger") or {}
        return trigger

    @property
    def data(self) -> str | None:
        """Fingerprint of the dataset that it has read or was started for, if known."""
        meant = str(self.trigger["token"]) if self.trigger.get("reason") == "DatasetChange" else None
        return fingerprint(self.status) or meant  # the dataset may have changed again before it was read

    @property
    def was_judged(self) -> bool:
        """Whether the gate has given a verdict on its version, whose files are still there."""
        return self.state in JUDGED_STATES and not self.files_deleted

    def lacks_score(self, asked: Document) -> ScoreName | None:
        """Return the score that spec.gate asks for, if the version was published and this score was not measured."""
        score = (asked.get("gate") or {}).get("score")
        compared = (self.document["spec"].get("gate") or {}).get("score", ScoreName.MICRO_F1)
        if score in (None, compared) or self.state not in JUDGED_STATES:
            return None
        record = recorded(self.status)
        return None if record is not None and record.has_score(ScoreName(score)) else ScoreName(score)

    def asks_for_the_same(self, asked: Document) -> bool:
        """Return whether the spec still asks for this training. A successful one may differ in PLACEMENT_FIELDS.

        A changed gate judges the result again, unless its score was not measured.
        """
        if self.lacks_score(asked):
            return False
        own, target = what_is_trained(self.document["spec"]), what_is_trained(asked)
        if self.state in JUDGED_STATES:
            return _without_placement(own) == _without_placement(target)
        return own == target


def what_is_trained(asked: Document) -> Document:
    """Return the fields of a spec that define a training; storage.deletionPolicy does not."""
    storage = {name: value for name, value in (asked.get("storage") or {}).items() if name != "deletionPolicy"}
    return {"dataset": asked.get("dataset"), "training": asked.get("training"), "storage": storage}


def _without_placement(asked: Document) -> Document:
    training = {name: value for name, value in (asked["training"] or {}).items() if name not in PLACEMENT_FIELDS}
    return {"dataset": asked["dataset"], "training": training, "uri": (asked["storage"] or {}).get("uri")}


def fingerprint(facts: Mapping[str, object]) -> str | None:
    """Return a fingerprint of a dataset and its test set, from the hashes in a status."""
    hashes = [str(facts[name]) for name in ("datasetSha256", "testSha256") if facts.get(name)]
    return "+".join(hashes) or None


def recorded(status: Document) -> GateRecord | None:
    """Return the scores that the trainer measured; None if the status has none, or an invalid record that someone else wrote."""
    try:
        return GateRecord.model_validate((status.get("result") or {}).get("gate"))
    except ValidationError:
        return None


def runs_of(runs: list[Document], uid: str) -> tuple[TrainingRunSummary, ...]:
    """Return the runs of the classifier with that uid, the oldest first."""
    own = [TrainingRunSummary(each) for each in runs if owned_by(each, uid) and "deletionTimestamp" not in each["metadata"]]
    return tuple(sorted(own, key=lambda run: (run.created, run.sequence, run.name)))


@dataclass(frozen=True)
class ObservedRun:
    """Run, and everything that its decisions depend on. classifier: the one that it names, if it exists. name_conflict: whether a
    Job of its name belongs to something else.
    """

    run: Document
    spec: TrainingRunSpec
    classifier: Document | None
    job: Document | None
    pods: list[Document]
    now: datetime
    name_conflict: bool = False

    @property
    def status(self) -> Document:
        """Status as it was last written."""
        status: Document = self.run.get("status") or {}
        return status

    @property
    def record(self) -> GateRecord | None:
        """Scores that the trainer measured for the version."""
        return recorded(self.status)

    @property
    def is_ending(self) -> bool:
        """Whether the run is being deleted or has ended."""
        return "deletionTimestamp" in self.run["metadata"] or self.status.get("state") in FINAL_STATES

    @property
    def belongs(self) -> bool:
        """Whether the run belongs to a classifier."""
        return belongs_to_a_classifier(self.run)

    @property
    def is_its_turn(self) -> bool:
        """Whether the run may start: one run of a classifier trains at a time."""
        if not self.belongs:
            return True
        active = ((self.classifier or {}).get("status") or {}).get("activeRun")
        return bool(active == self.run["metadata"]["name"])


def belongs_to_a_classifier(run: Document) -> bool:
    """Return whether a classifier owns the run. Labels do not count: they may be copied with a manifest."""
    return any(each["kind"] == TEXT_CLASSIFIER.kind for each in run["metadata"].get("ownerReferences") or ())
