"""Observed state of a classifier, read from documents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from itertools import takewhile

from k8s.controller.api.v1alpha1 import TextClassifierSpec
from k8s.controller.builders.serving import DOWNLOADER, MANIFEST_OPTION, SERVER
from k8s.controller.objects import names
from k8s.controller.objects.documents import condition, parse_time, trouble
from k8s.controller.objects.kinds import Document
from k8s.controller.objects.ports import PREDICTOR_HTTP_PORT
from k8s.controller.observed.foreign_messages import of_serving
from k8s.controller.observed.run import TrainingRunSummary


@dataclass(frozen=True)
class MeasuredTraffic:
    """Measurements of Prometheus; None: it has none or was not asked."""

    drift: float | None = None
    corrections: int | None = None
    problem: str | None = None


@dataclass(frozen=True)
class MaintenanceJob:
    """Job that hashes the dataset or deletes versions, with its Pods."""

    job: Document
    pods: list[Document] = field(default_factory=list)


@dataclass(frozen=True)
class ObservedClassifier:
    """Classifier, and everything that its decisions depend on.

    runs: its own, the oldest first. pods: its serving Pods, unless all are ready and known to serve the version. answers: for
    each ready Pod, the version that it reports; empty if no Pod was asked. name_conflict: kind of a KServe object of its name
    that belongs to something else. serving_unavailable: why KServe's objects cannot be read. training_pods_left: whether trainer
    Pods of a classifier that is being deleted still run. image_update_pending: whether it must wait for a new predictor image.
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
        """Name of the classifier."""
        return str(self.classifier["metadata"]["name"])

    @property
    def status(self) -> Document:
        """Status as it was last written."""
        status: Document = self.classifier.get("status") or {}
        return status

    @property
    def generation(self) -> int:
        """Generation of the spec."""
        return int(self.classifier["metadata"].get("generation", 1))

    @property
    def created(self) -> datetime:
        """Time of creation."""
        return parse_time(self.classifier["metadata"]["creationTimestamp"])

    @property
    def served(self) -> Document:
        """Version that was last known to be served, {} before the first."""
        served: Document = self.status.get("served") or {}
        return served

    @cached_property
    def active(self) -> tuple[TrainingRunSummary, ...]:
        """Runs that have not ended, the oldest first."""
        return tuple(run for run in self.runs if not run.is_over)

    @property
    def latest_effective_run(self) -> TrainingRunSummary | None:
        """Newest run that was not stopped for another spec."""
        return next((run for run in reversed(self.runs) if not run.was_superseded), None)

    @property
    def judged(self) -> TrainingRunSummary | None:
        """Newest run that the gate has judged."""
        return next((run for run in reversed(self.runs) if "passed" in run.status), None)

    @property
    def gate_failures(self) -> int:
        """Number of trainings in a row that the gate refused, up to the newest that it judged."""
        judged = [run for run in reversed(self.runs) if "passed" in run.status]
        return sum(1 for _ in takewhile(lambda run: run.was_refused, judged))

    @property
    def newest(self) -> TrainingRunSummary | None:
        """Run that was created last."""
        return self.runs[-1] if self.runs else None

    def run_of(self, version: str) -> TrainingRunSummary | None:
        """Return the run that published the version, if it still exists."""
        return next((run for run in self.runs if run.name == version), None)

    @property
    def uri(self) -> str | None:
        """Address of the version that the InferenceService names."""
        predictor: Document = ((self.service or {}).get("spec") or {}).get("predictor") or {}
        found: str | None = (predictor.get("model") or {}).get("storageUri")
        return found

    @property
    def asked_manifest(self) -> str | None:
        """Digest of the manifest that the InferenceService's Pods must find."""
        return _digest_argument((((self.service or {}).get("spec") or {}).get("predictor") or {}).get("initContainers"))

    def keeps_service(self, uri: str) -> bool:
        """Return whether the InferenceService stays: a version in an earlier storage needs that storage's credentials."""
        return self.service is not None and uri == self.uri and not names.lies_in(uri, self.spec.storage.uri)

    @property
    def trouble(self) -> str | None:
        """Reason why a serving Pod does not start. A missing node is reported last."""
        found = trouble(sorted(self.pods, key=_has_no_node))
        return of_serving(found) if found else None

    @property
    def fits_nowhere(self) -> bool:
        """Whether no node has room for a Pod, while no other Pod of the version fails. Another version would not change that."""
        own = [pod for pod in self.pods if _source(pod) == self.uri]
        return any(map(_has_no_node, own)) and not trouble([pod for pod in own if not _has_no_node(pod)])

    @property
    def is_available(self) -> bool:
        """Whether a Pod of any version is available."""
        return bool(((self.deployment or {}).get("status") or {}).get("availableReplicas"))


def served_uri(deployment: Document | None) -> str | None:
    """Return the address of the version that all Pods of the Deployment have, None if they differ or are not all available."""
    if deployment is None:
        return None
    status, wanted = deployment.get("status") or {}, deployment["spec"].get("replicas", 1)
    observed = deployment["metadata"].get("generation") == status.get("observedGeneration")
    counts = ("replicas", "updatedReplicas", "availableReplicas")
    if not observed or not wanted or any(status.get(each, 0) != wanted for each in counts):
        return None
    return _source(deployment["spec"]["template"])


def predictor_image(deployment: Document | None) -> str | None:
    """Return the image of the Deployment's predictor container."""
    containers = ((deployment or {}).get("spec") or {}).get("template", {}).get("spec", {}).get("containers") or ()
    return next((each.get("image") for each in containers if each.get("name") == SERVER), None)


def served_manifest(deployment: Document | None) -> str | None:
    """Return the manifest digest that all Pods of the Deployment have verified, None if there is none."""
    if deployment is None or served_uri(deployment) is None:
        return None
    return _digest_argument(deployment["spec"]["template"].get("spec", {}).get("initContainers"))


def _digest_argument(containers: list[Document] | None) -> str | None:
    """Return the digest among the downloader's arguments."""
    arguments = [
        each for container in containers or () if container["name"] == DOWNLOADER for each in container.get("args") or ()
    ]
    prefix = f"{MANIFEST_OPTION}="
    return next((each.removeprefix(prefix) for each in arguments if each.startswith(prefix)), None)


def _source(pod: Document) -> str | None:
    """Return the address of the version that the Pod fetches."""
    found: str | None = (pod["metadata"].get("annotations") or {}).get(names.SOURCE)
    return found


def _has_no_node(pod: Document) -> bool:
    return condition(pod, "PodScheduled").get("status") == "False"


def why_not(observed: ObservedClassifier) -> str:
    """Return why Pods are not ready, in the words of Kubernetes and KServe."""
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
    """Count the Pods by the version they report, once all are ready and have the version at this address."""
    return Counter(observed.answers.values() if observed.uri == uri == served_uri(observed.deployment) else ())


def is_unheard(observed: ObservedClassifier, uri: str | None) -> bool:
    """Return whether all Pods are ready but none answers the controller, which is no fault of the version."""
    return set(answers_about(observed, uri)) == {None}


def answered_instead(observed: ObservedClassifier, version: str, uri: str | None) -> str | None:
    """Return a message if ready Pods report another version or do not answer."""
    answers = answers_about(observed, uri)
    others = sorted(each for each in answers if each not in (None, version))
    said = [f"{answers[each]} of {answers.total()} answered with version {each}" for each in others]
    if answers[None]:
        url = f"http://<pod>:{PREDICTOR_HTTP_PORT}/v2/models/{observed.name}"
        hint = "does a NetworkPolicy block it?"
        said.append(f"{answers[None]} of {answers.total()} did not answer the controller at {url} ({hint})")
    return f"every Pod is ready, but {' and '.join(said)}" if said else None
