"""What is seen of a classifier: the facts that every decision is made of, read from documents in one place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from k8s.controller.api.v1alpha1 import TextClassifierSpec
from k8s.controller.builders.serving import DOWNLOADER, SERVER, VOUCHED
from k8s.controller.objects import names
from k8s.controller.objects.documents import condition, parse_time, trouble
from k8s.controller.objects.kinds import Document
from k8s.controller.objects.ports import PREDICTOR_HTTP_PORT
from k8s.controller.observed.run import TrainingRunSummary
from k8s.controller.observed.wording import of_serving


@dataclass(frozen=True)
class MeasuredTraffic:
    """What Prometheus knows; none: nothing, or it was not asked."""

    drift: float | None = None
    corrections: int | None = None
    problem: str | None = None


@dataclass(frozen=True)
class MaintenanceJob:
    """A Job that hashes the dataset or deletes versions, and its Pods once it is over."""

    job: Document
    pods: list[Document] = field(default_factory=list)


@dataclass(frozen=True)
class ObservedClassifier:
    """A classifier and all that bears on it.

    runs: its own, the oldest first. pods: those that serve, while not all is as it should be with them. answers: by the name
    of each that is ready, the version that it says it serves; empty if nobody had to be asked. taken: what KServe has of its
    name that is somebody else's. unserved: why KServe cannot be asked for anything. busy: of a classifier that is being
    deleted, whether a training still goes on. waits: whether another image of the predictor is not its own to have yet.
    """

    classifier: Document
    spec: TextClassifierSpec
    runs: tuple[TrainingRunSummary, ...]
    jobs: tuple[MaintenanceJob, ...]
    service: Document | None
    deployment: Document | None
    now: datetime
    pods: tuple[Document, ...] = ()
    answers: Mapping[str, str | None] = field(default_factory=dict)
    measured: MeasuredTraffic = MeasuredTraffic()
    name_conflict: str | None = None
    serving_unavailable: str | None = None
    training_pods_left: bool = False
    image_update_pending: bool = False

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
    def active(self) -> tuple[TrainingRunSummary, ...]:
        """Runs that are not over, the oldest first."""
        return tuple(run for run in self.runs if not run.is_over)

    @property
    def latest_effective_run(self) -> TrainingRunSummary | None:
        """The newest run that answers for what was asked: none that was stopped for another spec."""
        return next((run for run in reversed(self.runs) if not run.was_superseded), None)

    @property
    def judged(self) -> TrainingRunSummary | None:
        """The newest run of which the gate has said something."""
        return next((run for run in reversed(self.runs) if "passed" in run.status), None)

    @property
    def newest(self) -> TrainingRunSummary | None:
        """The run that was made last."""
        return self.runs[-1] if self.runs else None

    def run_of(self, version: str) -> TrainingRunSummary | None:
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


def served_uri(deployment: Document | None) -> str | None:
    """The version that all Pods of the Deployment are of, once they all are."""
    if deployment is None:
        return None
    status, wanted = deployment.get("status") or {}, deployment["spec"].get("replicas", 1)
    observed = deployment["metadata"].get("generation") == status.get("observedGeneration")
    counts = ("replicas", "updatedReplicas", "availableReplicas")
    if not observed or not wanted or any(status.get(each, 0) != wanted for each in counts):
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


def why_not(observed: ObservedClassifier) -> str:
    """What hinders the Pods, in Kubernetes' and KServe's own words."""
    if observed.trouble:
        return observed.trouble
    deployment, service = observed.deployment, observed.service
    failure = ((service or {}).get("status") or {}).get("modelStatus", {}).get("lastFailureInfo", {})
    said = [condition(deployment, each).get("message") for each in ("ReplicaFailure",)]
    said += [failure.get("message")]
    ready = condition(service, "PredictorReady")
    said += [ready.get("message")] if ready.get("status") == "False" else []
    return "; ".join(dict.fromkeys(" ".join(str(each).split())[:300] for each in said if each))


def answers_about(observed: ObservedClassifier, uri: str | None) -> Counter[str | None]:
    """How many Pods answer with which version, once all are of the one that lies there, and ready."""
    return Counter(observed.answers.values() if observed.uri == uri == served_uri(observed.deployment) else ())


def is_unheard(observed: ObservedClassifier, uri: str | None) -> bool:
    """Whether none of its Pods answers the controller, and all are ready: nothing of that version is known to be wrong."""
    return set(answers_about(observed, uri)) == {None}


def answered_instead(observed: ObservedClassifier, version: str, uri: str | None) -> str | None:
    """What its Pods answer, all of which are ready, if it is not that version."""
    answers = answers_about(observed, uri)
    others = sorted(each for each in answers if each not in (None, version))
    said = [f"{answers[each]} of {answers.total()} answered with version {each}" for each in others]
    if answers[None]:
        url = f"http://<pod>:{PREDICTOR_HTTP_PORT}/v2/models/{observed.name}"
        hint = "does a NetworkPolicy block it?"
        said.append(f"{answers[None]} of {answers.total()} did not answer the controller at {url} ({hint})")
    return f"every Pod is ready, but {' and '.join(said)}" if said else None
