"""Reconciliation of one object: observe, decide, apply, write the status once, record events.

Everything is read again each time. A reconciliation may be repeated, and the process may die after any of its writes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

from k8s.controller.api.v1alpha1 import SpecRejected
from k8s.controller.builders.training_job import Images
from k8s.controller.clients.kubernetes import Cluster, RequestRefused, Unavailable
from k8s.controller.decisions.classifier import decide
from k8s.controller.decisions.finalizer import NAMESPACE_TERMINATING, finalize, without_finalizer
from k8s.controller.decisions.refusals import not_allowed, refused, rejected
from k8s.controller.decisions.run import decide_run
from k8s.controller.decisions.steps import Apply, Create, Delete, Merge, Plan, Step
from k8s.controller.decisions.tenancy import Policy
from k8s.controller.objects.documents import condition, is_true
from k8s.controller.objects.kinds import TEXT_CLASSIFIER, TRAINING_RUN, Document, Kind, kind_of
from k8s.controller.observed.classifier import ObservedClassifier, predictor_image, served_uri
from k8s.controller.observed.run import FINAL_STATES, ObservedRun
from k8s.controller.reconcile.apply_cache import ApplyCache
from k8s.controller.reconcile.events import events
from k8s.controller.reconcile.image_updates import ImageUpdateSlots
from k8s.controller.reconcile.observe import Observer
from k8s.controller.runtime.metrics import ClassifierGauges, ControllerMetrics
from k8s.controller.runtime.queue import Key

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reconciler:
    """Reconciles one object at a time. Thread-safe, except for two calls with the same key.

    record: function that writes an event; None: the cluster's client writes it.
    """

    cluster: Cluster
    observer: Observer
    images: Images
    metrics: ControllerMetrics
    apply_cache: ApplyCache
    now: Callable[[], datetime]
    record: Callable[[Document], None] | None = None
    policy: Policy = field(default_factory=Policy)
    image_updates: ImageUpdateSlots = field(default_factory=ImageUpdateSlots)

    def reconcile(self, key: Key) -> float | None:
        """Reconcile the object. Return seconds until the next reconciliation, None if only an event triggers one.

        Raises ClusterError: WriteConflict and Unavailable are temporary, RequestRefused needs a change by a person.
        """
        kind = TEXT_CLASSIFIER if key.kind == TEXT_CLASSIFIER.kind else TRAINING_RUN
        document = self.cluster.get(kind, key.namespace, key.name)
        if document is None:
            if kind is TEXT_CLASSIFIER:
                self.metrics.forget(key.namespace, key.name)
                self.image_updates.release((key.namespace, key.name))
            return None
        try:
            plan = self._plan(document)
        except RequestRefused as error:
            self._write(document, Plan(status=refused(document, str(error), self.now())))
            raise
        failure = self._do_all(plan.steps)
        if isinstance(failure, RequestRefused):
            if "deletionTimestamp" in document["metadata"] and NAMESPACE_TERMINATING in str(failure):
                self._do(without_finalizer(document))  # its versions stay: no Job can be created in this namespace any more
                return None
            plan = replace(plan, status=refused(document, str(failure), self.now(), planned=plan.status))
        self._write(document, plan)
        if failure is not None:
            raise failure
        return plan.requeue_after

    def _do_all(self, steps: tuple[Step, ...]) -> RequestRefused | Unavailable | None:
        """Do all steps, even if one fails: a failure to serve must not prevent a training. Return the first failure."""
        failure: RequestRefused | Unavailable | None = None
        for step in steps:
            try:
                self._do(step)
            except (RequestRefused, Unavailable) as error:
                failure = failure or error
        return failure

    def _plan(self, document: Document) -> Plan:
        try:
            if document["kind"] == TRAINING_RUN.kind:
                return self._plan_run(self.observer.run(document, self.now()))
            observed = self.observer.classifier(document, self.now())
        except SpecRejected as error:
            return Plan(status=rejected(document, str(error), self.now()))
        is_deleting = "deletionTimestamp" in document["metadata"]
        uses_storage = not is_deleting or observed.spec.storage.deletion_policy == "Delete"
        if uses_storage and (why := self.policy.refuses(observed.spec)):
            return Plan(status=not_allowed(document, why, self.now()))
        if is_deleting:
            return finalize(observed, self.images)
        may_update = self._take_or_release_slot(observed)
        return decide(replace(observed, image_update_pending=not may_update), self.images)

    def _plan_run(self, observed: ObservedRun) -> Plan:
        """Return the plan of a run. A run that has started continues, even if the policy no longer allows it."""
        why = self.policy.refuses(observed.spec)
        if why and observed.job is None and "startedAt" not in observed.status and not observed.is_ending:
            return Plan(status=not_allowed(observed.run, why, self.now()))
        return decide_run(observed, self.images)

    def _take_or_release_slot(self, observed: ObservedClassifier) -> bool:
        """Take a slot if the classifier has another predictor image than the controller's, and release it after the update.

        Return whether its image may be updated now: false while no slot is free.
        """
        key, image = (observed.classifier["metadata"]["namespace"], observed.name), predictor_image(observed.deployment)
        if image is not None and image != self.images.predictor:
            return self.image_updates.acquire(key)
        if image is None or served_uri(observed.deployment) is not None:
            self.image_updates.release(key)
        return True

    def _do(self, step: Step) -> None:
        match step:
            case Create(document):
                if self.cluster.create(document) is not None:
                    log.info("made %s %s", document["kind"], _name(document))
            case Apply(document):
                self.apply_cache.apply(self.cluster, document)
            case Merge(kind, document, change):
                metadata = document["metadata"]
                self.cluster.merge(
                    kind, metadata["namespace"], metadata["name"], change, resource_version=metadata["resourceVersion"]
                )
                log.info("changed %s %s", kind.kind, _name(document))
            case Delete(kind, document):
                metadata = document["metadata"]
                self.cluster.delete(kind, metadata["namespace"], metadata["name"], uid=metadata["uid"])
                log.info("deleted %s %s", kind.kind, _name(document))

    def _write(self, document: Document, plan: Plan) -> None:
        """Write the status if it has changed, then events and metrics."""
        before: Document = document.get("status") or {}
        status = plan.status
        if status is None:
            return
        if status != before:
            if self.cluster.write_status({**document, "status": status}) is None:
                return  # deleted meanwhile
            for event in events(document, before, status, self.now()):
                (self.record or self.cluster.create)(event)
        _update_metrics(self.metrics, kind_of(document), {**document, "status": status}, before, plan)


def _name(document: Document) -> str:
    return f"{document['metadata']['namespace']}/{document['metadata']['name']}"


def _update_metrics(metrics: ControllerMetrics, kind: Kind, document: Document, before: Document, plan: Plan) -> None:
    """Update the metrics of a classifier, or count a run that is new or has just ended."""
    if kind is TEXT_CLASSIFIER:
        metrics.seen(document["metadata"]["namespace"], document["metadata"]["name"], _gauges(document, plan))
    else:
        _count_run(metrics, document, before, plan)


def _gauges(document: Document, plan: Plan) -> ClassifierGauges:
    status = document["status"]
    served = status.get("served") or {}
    return ClassifierGauges(
        ready=is_true(document, "Ready"),
        rollout_failed=condition(document, "Served").get("reason") == "RollOutFailed",
        state=status.get("state"),
        degraded=condition(document, "Degraded")["reason"] if is_true(document, "Degraded") else None,
        version=served.get("version"),
        served_score=served.get("score"),
        run_score=status.get("runScore"),
        minimum_score=(document["spec"].get("gate") or {}).get("minimum"),
        corrections=status.get("corrections"),
        drift_index=status.get("driftIndex"),
        gate_failures=plan.gate_failures,
    )


def _count_run(metrics: ControllerMetrics, document: Document, before: Document, plan: Plan) -> None:
    status, namespace, classifier = document["status"], document["metadata"]["namespace"], document["spec"]["classifier"]
    if not before:
        metrics.triggered(namespace, classifier, reason=(document["spec"].get("trigger") or {}).get("reason", "Manual"))
    if before.get("state") in FINAL_STATES:
        return
    is_over = status.get("state") in FINAL_STATES
    metrics.stored(namespace, classifier, errors=0 if is_over else plan.storage_errors)
    if is_over:
        metrics.ended(namespace, classifier, state=status["state"], seconds=status.get("seconds"))
