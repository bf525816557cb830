"""What is seen of a classifier: the facts that every decision is made of, read from documents in one place."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from k8s.controller.api.v1alpha1 import TextClassifierSpec
from k8s.controller.builders.serving import DOWNLOADER, PORT, SERVER, VOUCHED
from k8s.controller.objects import names
from k8s.controller.objects.documents import condition, owned_by, parse_time, trouble
from k8s.controller.objects.kinds import Document
from k8s.controller.observed.wording import of_serving

FINAL = {"Published", "Held", "Rejected", "Failed", "Superseded"}
# Where and with what a training runs: a change of it is no reason to repeat one that has succeeded.
PLACEMENT = {"nodes", "resources", "nodeSelector", "tolerations", "timeout", "tracking"}


@dataclass(frozen=True)
class Run:
    """A TrainingRun, as its classifier sees it."""

    document: Document

    @property
    def name(self) -> str:
        """Its version's name, too."""
        return str(self.document["metadata"]["name"])

    @property
    def created(self) -> datetime:
        """To the second."""
        return parse_time(self.document["metadata"]["creationTimestamp"])

    @property
    def sequence(self) -> int:
        """The how-manieth it is; 0 of one that was made by hand, and where somebody has written something else there."""
        said = str((self.document["metadata"].get("annotations") or {}).get(names.SEQUENCE, ""))
        return int(said) if re.fullmatch(r"[0-9]{1,9}", said) else 0

    @property
    def status(self) -> Document:
        """As its own passes have written it."""
        status: Document = self.document.get("status") or {}
        return status

    @property
    def state(self) -> str:
        """Pending before its first pass."""
        return str(self.status.get("state", "Pending"))

    @property
    def is_over(self) -> bool:
        """Whether it will do no more."""
        return self.state in FINAL

    @property
    def was_superseded(self) -> bool:
        """Whether it was stopped for another spec, and not by hand: then it answers for nothing."""
        return self.state == "Superseded" and names.SUPERSEDED in (self.document["metadata"].get("annotations") or {})

    @property
    def was_refused(self) -> bool:
        """Whether it published a version that is not served: another gate may let it pass."""
        return self.state in ("Held", "Rejected")

    @property
    def was_cancelled(self) -> bool:
        """Whether someone has stopped it by hand."""
        return self.state == "Superseded" and not self.was_superseded

    @property
    def has_begun(self) -> bool:
        """Whether its Job was made."""
        return "startedAt" in self.status

    @property
    def has_files(self) -> bool:
        """Whether there is a version of it."""
        return bool(self.status.get("artifactUri")) and not self.files_deleted

    @property
    def has_left(self) -> bool:
        """Whether something of it may lie in the storage: a version, or checkpoints of what did not come to its end."""
        unfinished = self.state in ("Superseded", "Failed") and self.has_begun
        return (self.has_files or unfinished) and not self.files_deleted

    @property
    def files_deleted(self) -> bool:
        """Whether its version was deleted, by history.versions."""
        return (self.document["metadata"].get("annotations") or {}).get(names.FILES) == "deleted"

    @property
    def may_be_served(self) -> bool:
        """Whether its version is there and has passed the gate."""
        return self.has_files and bool(self.status.get("passed"))

    @property
    def trigger(self) -> Document:
        """Why it was made."""
        trigger: Document = self.document["spec"].get("trigger") or {}
        return trigger

    @property
    def data(self) -> str | None:
        """A hash of the texts that it was made from or for, if that is known."""
        meant = str(self.trigger["token"]) if self.trigger.get("reason") == "DatasetChange" else None
        return fingerprint(self.status) or meant  # it may have changed again before it was read

    @property
    def score_compared(self) -> str:
        """By its gate."""
        return str((self.document["spec"].get("gate") or {}).get("score", "micro-f1"))

    def asks_for_the_same(self, asked: Document) -> bool:
        """Whether it is the training that is asked for now. What has succeeded need not be repeated elsewhere.

        Of the gate, only which score it compares: by that the trainer chooses among architectures, and measures no other.
        """
        if self.score_compared != (asked.get("gate") or {}).get("score", self.score_compared):
            return False
        ours, theirs = what_is_trained(self.document["spec"]), what_is_trained(asked)
        if self.state in ("Published", "Held", "Rejected"):
            return _what_matters(ours) == _what_matters(theirs)
        return ours == theirs


def what_is_trained(asked: Document) -> Document:
    """Of a spec; what becomes of versions when the classifier is deleted is no matter of a training."""
    storage = {name: value for name, value in (asked.get("storage") or {}).items() if name != "deletionPolicy"}
    return {"dataset": asked.get("dataset"), "training": asked.get("training"), "storage": storage}


def _what_matters(asked: Document) -> Document:
    training = {name: value for name, value in (asked["training"] or {}).items() if name not in PLACEMENT}
    return {"dataset": asked["dataset"], "training": training, "uri": (asked["storage"] or {}).get("uri")}


def fingerprint(facts: Mapping[str, object]) -> str | None:
    """Of a dataset and its test set, by the hashes in a status."""
    hashes = [str(facts[name]) for name in ("datasetSha256", "testSha256") if facts.get(name)]
    return "+".join(hashes) or None


@dataclass(frozen=True)
class Measured:
    """What Prometheus knows; none: nothing, or it was not asked."""

    drift: float | None = None
    corrections: int | None = None
    problem: str | None = None


@dataclass(frozen=True)
class SmallJob:
    """A Job that hashes the dataset or deletes versions, and its Pods once it is over."""

    job: Document
    pods: list[Document] = field(default_factory=list)


@dataclass(frozen=True)
class Seen:
    """A classifier and all that bears on it.

    runs: its own, the oldest first. pods: those that serve, while not all is as it should be with them. answers: by the name
    of each that is ready, the version that it says it serves; empty if nobody had to be asked. taken: what KServe has of its
    name that is somebody else's. unserved: why KServe cannot be asked for anything. busy: of a classifier that is being
    deleted, whether a training still goes on. waits: whether another image of the predictor is not its own to have yet.
    """

    classifier: Document
    spec: TextClassifierSpec
    runs: tuple[Run, ...]
    jobs: tuple[SmallJob, ...]
    service: Document | None
    deployment: Document | None
    now: datetime
    pods: tuple[Document, ...] = ()
    answers: Mapping[str, str | None] = field(default_factory=dict)
    measured: Measured = Measured()
    taken: str | None = None
    unserved: str | None = None
    busy: bool = False
    waits: bool = False

    @property
    def name(self) -> str:
        """The classifier's."""
        return str(self.classifier["metadata"]["name"])

    @property
    def status(self) -> Document:
        """As it was last written."""
        status: Document = self.classifier.get("status") or {}
        return status

    @property
    def generation(self) -> int:
        """Of the spec."""
        return int(self.classifier["metadata"].get("generation", 1))

    @property
    def created(self) -> datetime:
        """When it was first applied."""
        return parse_time(self.classifier["metadata"]["creationTimestamp"])

    @property
    def served(self) -> Document:
        """The version that was last seen to be served, {} before the first."""
        served: Document = self.status.get("served") or {}
        return served

    @cached_property
    def active(self) -> tuple[Run, ...]:
        """Runs that are not over, the oldest first."""
        return tuple(run for run in self.runs if not run.is_over)

    @property
    def standing(self) -> Run | None:
        """The newest run that answers for what was asked: none that was stopped for another spec."""
        return next((run for run in reversed(self.runs) if not run.was_superseded), None)

    @property
    def judged(self) -> Run | None:
        """The newest run of which the gate has said something."""
        return next((run for run in reversed(self.runs) if "passed" in run.status), None)

    @property
    def newest(self) -> Run | None:
        """The run that was made last."""
        return self.runs[-1] if self.runs else None

    def run_of(self, version: str) -> Run | None:
        """The run that published it, if that is still known."""
        return next((run for run in self.runs if run.name == version), None)

    @property
    def uri(self) -> str | None:
        """Of the version that the InferenceService asks for."""
        predictor: Document = ((self.service or {}).get("spec") or {}).get("predictor") or {}
        found: str | None = (predictor.get("model") or {}).get("storageUri")
        return found

    @property
    def asked_manifest(self) -> str | None:
        """The digest of a manifest that the InferenceService tells its Pods to look for."""
        return _told((((self.service or {}).get("spec") or {}).get("predictor") or {}).get("initContainers"))

    def keeps_service(self, uri: str) -> bool:
        """Whether the InferenceService is left as it is: what is in a storage of before is fetched with the keys of before."""
        return self.service is not None and uri == self.uri and not names.lies_in(uri, self.spec.storage.uri)

    @property
    def trouble(self) -> str | None:
        """Why a Pod that should serve does not start; that there is no node for one, if nothing else."""
        found = trouble(sorted(self.pods, key=_has_no_node))
        return of_serving(found) if found else None

    @property
    def fits_nowhere(self) -> bool:
        """Whether there is no node for a Pod, which no other version would change, and none of its version fails by itself."""
        own = [pod for pod in self.pods if _source(pod) == self.uri]
        return any(map(_has_no_node, own)) and not trouble([pod for pod in own if not _has_no_node(pod)])

    @property
    def is_available(self) -> bool:
        """Whether a Pod answers, of whatever version."""
        return bool(((self.deployment or {}).get("status") or {}).get("availableReplicas"))


def ordered(runs: list[Document], uid: str) -> tuple[Run, ...]:
    """Those of the classifier of that uid, the oldest first."""
    own = [Run(each) for each in runs if owned_by(each, uid) and "deletionTimestamp" not in each["metadata"]]
    return tuple(sorted(own, key=lambda run: (run.created, run.sequence, run.name)))


def served_uri(deployment: Document | None) -> str | None:
    """The version that all Pods of the Deployment are of, once they all are."""
    if deployment is None:
        return None
    status, wanted = deployment.get("status") or {}, deployment["spec"].get("replicas", 1)
    seen = deployment["metadata"].get("generation") == status.get("observedGeneration")
    counts = ("replicas", "updatedReplicas", "availableReplicas")
    if not seen or not wanted or any(status.get(each, 0) != wanted for each in counts):
        return None
    return _source(deployment["spec"]["template"])


def predictor_image(deployment: Document | None) -> str | None:
    """The image that the Deployment's Pods serve with, or soon do."""
    containers = ((deployment or {}).get("spec") or {}).get("template", {}).get("spec", {}).get("containers") or ()
    return next((each.get("image") for each in containers if each.get("name") == SERVER), None)


def served_manifest(deployment: Document | None) -> str | None:
    """The digest of a manifest that all Pods of the Deployment have found in their version, once they all are of one."""
    if deployment is None or served_uri(deployment) is None:
        return None
    return _told(deployment["spec"]["template"].get("spec", {}).get("initContainers"))


def _told(containers: list[Document] | None) -> str | None:
    """The digest among the downloader's arguments."""
    given = [each for container in containers or () if container["name"] == DOWNLOADER for each in container.get("args") or ()]
    prefix = f"{VOUCHED}="
    return next((each.removeprefix(prefix) for each in given if each.startswith(prefix)), None)


def _source(pod: Document) -> str | None:
    """The version that it fetches."""
    found: str | None = (pod["metadata"].get("annotations") or {}).get(names.SOURCE)
    return found


def _has_no_node(pod: Document) -> bool:
    return condition(pod, "PodScheduled").get("status") == "False"


def why_not(seen: Seen) -> str:
    """What hinders the Pods, in Kubernetes' and KServe's own words."""
    if seen.trouble:
        return seen.trouble
    deployment, service = seen.deployment, seen.service
    failure = ((service or {}).get("status") or {}).get("modelStatus", {}).get("lastFailureInfo", {})
    said = [condition(deployment, each).get("message") for each in ("ReplicaFailure",)]
    said += [failure.get("message")]
    ready = condition(service, "PredictorReady")
    said += [ready.get("message")] if ready.get("status") == "False" else []
    return "; ".join(dict.fromkeys(" ".join(str(each).split())[:300] for each in said if each))


def answers_about(seen: Seen, uri: str | None) -> Counter[str | None]:
    """How many Pods answer with which version, once all are of the one that lies there, and ready."""
    return Counter(seen.answers.values() if seen.uri == uri == served_uri(seen.deployment) else ())


def is_unheard(seen: Seen, uri: str | None) -> bool:
    """Whether none of its Pods answers the controller, and all are ready: nothing of that version is known to be wrong."""
    return set(answers_about(seen, uri)) == {None}


def answered_instead(seen: Seen, version: str, uri: str | None) -> str | None:
    """What its Pods answer, all of which are ready, if it is not that version."""
    answers = answers_about(seen, uri)
    others = sorted(each for each in answers if each not in (None, version))
    said = [f"{answers[each]} of {answers.total()} answered with version {each}" for each in others]
    if answers[None]:
        url = f"http://<pod>:{PORT}/v2/models/{seen.name}"
        hint = "does a NetworkPolicy keep it from them?"
        said.append(f"{answers[None]} of {answers.total()} did not answer the controller at {url} ({hint})")
    return f"every Pod is ready, but {' and '.join(said)}" if said else None
