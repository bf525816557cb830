"""Observation of an object, from the API server, the serving Pods and Prometheus."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from k8s.controller.api.v1alpha1 import TextClassifierSpec, read_text_classifier, read_training_run
from k8s.controller.clients.kubernetes import Cluster, RequestRefused
from k8s.controller.clients.probe import Probe
from k8s.controller.clients.prometheus import Measurements, MeasurementsUnavailable
from k8s.controller.decisions.rollout import must_ask
from k8s.controller.objects import names
from k8s.controller.objects.documents import is_true, owned_by, parse_time
from k8s.controller.objects.kinds import (
    DEPLOYMENT,
    INFERENCE_SERVICE,
    JOB,
    POD,
    REPLICA_SET,
    SERVING_RUNTIME,
    TEXT_CLASSIFIER,
    TRAINING_RUN,
    Document,
)
from k8s.controller.observed.classifier import MaintenanceJob, MeasuredTraffic, ObservedClassifier, served_uri
from k8s.controller.observed.run import FINAL_STATES, ObservedRun, TrainingRunSummary, belongs_to_a_classifier, runs_of

JOB_NAME = "batch.kubernetes.io/job-name"
SCRAPE_SECONDS = 300.0  # seconds until Prometheus must have scraped new Pods
PROBE_SECONDS = 6.0  # seconds in which one reconciliation starts queries of Pods, since Pods may answer slowly


@dataclass(frozen=True)
class Observer:
    """Reader of objects, without decisions. measurements: None without Prometheus. clock: monotonic time in seconds."""

    cluster: Cluster
    probe: Probe
    measurements: Measurements | None = None
    clock: Callable[[], float] = time.monotonic

    def run(self, document: Document, now: datetime) -> ObservedRun:
        """Return a TrainingRun and what belongs to it. Raises SpecRejected, ClusterError."""
        spec, metadata = read_training_run(document), document["metadata"]
        namespace, name = metadata["namespace"], metadata["name"]
        state = (document.get("status") or {}).get("state")
        over = state in FINAL_STATES
        # A run that has ended has its result in the status. The Job of a stopped run is still to be deleted.
        job = self.cluster.get(JOB, namespace, name) if not over or state == "Superseded" else None
        name_conflict = job is not None and not owned_by(job, metadata["uid"])
        job = None if name_conflict else job
        waits = job is None and not over and (spec.dataset is None or belongs_to_a_classifier(document))
        classifier = self.cluster.get(TEXT_CLASSIFIER, namespace, spec.classifier) if waits else None
        pods = self._pods(job) if job and not over else []
        return ObservedRun(document, spec, classifier, job, pods, now, name_conflict)

    def classifier(self, document: Document, now: datetime) -> ObservedClassifier:
        """Return a TextClassifier and what belongs to it. Raises SpecRejected, ClusterError."""
        spec, metadata = read_text_classifier(document), document["metadata"]
        namespace, name = metadata["namespace"], metadata["name"]
        runs = runs_of(self.cluster.list(TRAINING_RUN, namespace, labels=names.made_for(name)), metadata["uid"])
        service, name_conflict, unavailable = self._service(document)
        observed = ObservedClassifier(
            classifier=document,
            spec=spec,
            runs=runs,
            jobs=self._maintenance_jobs(document) if _has_maintenance_jobs(document, spec, runs) else (),
            service=service,
            deployment=self.cluster.get(DEPLOYMENT, namespace, names.deployment(name)) if service else None,
            now=now,
            name_conflict=name_conflict,
            serving_unavailable=unavailable,
            training_pods_left="deletionTimestamp" in metadata and self._trains(namespace, name),
        )
        observed = replace(observed, pods=tuple(self._serving(observed)), measured=self._measured(observed, spec))
        return replace(observed, answers=self._answers(observed))

    def _service(self, classifier: Document) -> tuple[Document | None, str | None, str | None]:
        """Return the InferenceService, the kind of a foreign object of its name, and why neither can be read.

        This is read before the first training, too: nothing is trained under a name that is in use.
        """
        namespace, name, uid = (classifier["metadata"][each] for each in ("namespace", "name", "uid"))
        try:
            service = self.cluster.get(INFERENCE_SERVICE, namespace, name)
            runtime = self.cluster.get(SERVING_RUNTIME, namespace, name) if service is None else None
        except RequestRefused as error:
            return None, None, f"nothing can be served, since InferenceServices cannot be read: is KServe installed? ({error})"
        for there, what in ((service, "an InferenceService"), (runtime, "a ServingRuntime")):
            if there is not None and not owned_by(there, uid):
                return None, what, None
        return service, None, None

    def _serving(self, observed: ObservedClassifier) -> list[Document]:
        """Return the Deployment's Pods, unless all are ready and known to serve the version. Labels alone do not count."""
        if observed.deployment is None or (served_uri(observed.deployment) is not None and not must_ask(observed)):
            return []
        namespace, label = observed.classifier["metadata"]["namespace"], {names.SERVED_BY: observed.name}
        uid = observed.deployment["metadata"].get("uid")
        sets = self.cluster.list(REPLICA_SET, namespace, labels=label)
        owners = {uid, *(each["metadata"]["uid"] for each in sets if owned_by(each, uid))}
        pods = self.cluster.list(POD, namespace, labels=label)
        return [pod for pod in pods if any(owned_by(pod, owner) for owner in owners)]

    def _maintenance_jobs(self, classifier: Document) -> tuple[MaintenanceJob, ...]:
        """Return the classifier's own Jobs. Training Jobs belong to their runs."""
        metadata = classifier["metadata"]
        jobs = self.cluster.list(JOB, metadata["namespace"], labels=names.made_for(metadata["name"]))
        own = [each for each in jobs if owned_by(each, metadata["uid"]) and "deletionTimestamp" not in each["metadata"]]
        return tuple(MaintenanceJob(each, self._pods(each)) for each in own)

    def _pods(self, job: Document) -> list[Document]:
        """Return the Job's own Pods. Pods of an earlier Job of the same name may still exist."""
        metadata = job["metadata"]
        pods = self.cluster.list(POD, metadata["namespace"], labels={JOB_NAME: metadata["name"]})
        return [pod for pod in pods if owned_by(pod, metadata["uid"])]

    def _trains(self, namespace: str, classifier: str) -> bool:
        """Return whether a Pod of a training may still write to the storage."""
        pods = self.cluster.list(POD, namespace, labels=names.labels("trainer", classifier=classifier))
        return any((pod.get("status") or {}).get("phase") in ("Pending", "Running") for pod in pods)

    def _answers(self, observed: ObservedClassifier) -> dict[str, str | None]:
        """Return the version that each ready Pod reports, {} if it need not be known."""
        if not must_ask(observed):
            return {}
        ready = [pod for pod in observed.pods if is_true(pod, "Ready") and "deletionTimestamp" not in pod["metadata"]]
        end = self.clock() + PROBE_SECONDS
        return {pod["metadata"]["name"]: self.probe.version(pod, observed.name) if self.clock() < end else None for pod in ready}

    def _measured(self, observed: ObservedClassifier, spec: TextClassifierSpec) -> MeasuredTraffic:
        namespace, version, newest = observed.classifier["metadata"]["namespace"], observed.served.get("version"), observed.newest
        triggers = spec.triggers
        if newest is None or "deletionTimestamp" in observed.classifier["metadata"] or not (triggers.drift or triggers.feedback):
            return MeasuredTraffic()
        if self.measurements is None:
            fields = [f"spec.triggers.{each}" for each in ("drift", "feedback") if getattr(triggers, each)]
            needed = f"{' and '.join(fields)} {'needs' if len(fields) == 1 else 'need'} a Prometheus"
            return MeasuredTraffic(problem=f"{needed}: prometheus.url of the controller's chart")
        try:
            drift = self.measurements.drift(namespace, observed.name, version) if triggers.drift and version else None
            corrections = self.measurements.corrections(namespace, observed.name, newest.created) if triggers.feedback else None
            problem = self._unseen(observed) if drift is None and triggers.drift else None
        except MeasurementsUnavailable as error:
            return MeasuredTraffic(problem=str(error))
        return MeasuredTraffic(drift, corrections, problem)

    def _unseen(self, observed: ObservedClassifier) -> str | None:
        """Return why the drift of the served version is not known; None while its Pods are too new to have been scraped."""
        version, since = observed.served.get("version"), observed.served.get("since")
        is_new = since is None or (observed.now - parse_time(since)).total_seconds() < SCRAPE_SECONDS
        if self.measurements is None or version is None or is_new or not observed.is_available:
            return None
        return self.measurements.unseen(observed.classifier["metadata"]["namespace"], observed.name, version)


def _has_maintenance_jobs(classifier: Document, spec: TextClassifierSpec, runs: tuple[TrainingRunSummary, ...]) -> bool:
    """Return whether the classifier may have Jobs that check the dataset or delete versions."""
    looks = spec.triggers.dataset_change or "dataset" in (classifier.get("status") or {})
    stopped = any(run.state == "Superseded" for run in runs)
    return looks or stopped or "deletionTimestamp" in classifier["metadata"] or len(runs) > 1
