"""One pass over one object: observe, decide, apply, write the status once, tell of what has changed.

Everything is read anew; what a pass does may be done again, and it may end after any of its writes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from k8s.controller.applied import Applied
from k8s.controller.builders.training_job import Images
from k8s.controller.cluster import Cluster, Refused, Unavailable
from k8s.controller.decisions.classifier import decide
from k8s.controller.decisions.deletion import GOING, let_go, released
from k8s.controller.decisions.run import decide_run
from k8s.controller.decisions.steps import Apply, Create, Delete, Merge, Plan, Step
from k8s.controller.events import events
from k8s.controller.kinds import TEXT_CLASSIFIER, TRAINING_RUN, Document, kind_of
from k8s.controller.metrics import Metrics
from k8s.controller.observe import Observer
from k8s.controller.queue import Key
from k8s.controller.resources import SpecRejected
from k8s.controller.status import refused, rejected, tell

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reconciler:
    """What every pass needs. Any thread may call; no two at once with the same key. record: writes events; none: at once."""

    cluster: Cluster
    observer: Observer
    images: Images
    metrics: Metrics
    applied: Applied
    now: Callable[[], datetime]
    record: Callable[[Document], None] | None = None

    def reconcile(self, key: Key) -> float | None:
        """Look at the object and do what it needs. After how many seconds to look again, if nothing happens before.

        Raises ClusterError: Conflict and Unavailable will pass, Refused needs somebody to change something.
        """
        kind = TEXT_CLASSIFIER if key.kind == TEXT_CLASSIFIER.kind else TRAINING_RUN
        document = self.cluster.get(kind, key.namespace, key.name)
        if document is None:
            if kind is TEXT_CLASSIFIER:
                self.metrics.forget(key.namespace, key.name)
            return None
        try:
            plan = self._plan(document)
        except Refused as error:
            self._write(document, refused(document, str(error), self.now()))
            raise
        failure = self._do_all(plan.steps)
        if isinstance(failure, Refused):
            if "deletionTimestamp" in document["metadata"] and GOING in str(failure):
                self._do(released(document))  # its versions stay: nothing that deletes them can be made here any more
                return None
            plan = replace(plan, status=refused(document, str(failure), self.now(), planned=plan.status))
        self._write(document, plan.status)
        if failure is not None:
            raise failure
        return plan.again

    def _do_all(self, steps: tuple[Step, ...]) -> Refused | Unavailable | None:
        """Each of them, whatever becomes of the others: what serves must not hinder what trains. The first failure."""
        failure: Refused | Unavailable | None = None
        for step in steps:
            try:
                self._do(step)
            except (Refused, Unavailable) as error:
                failure = failure or error
        return failure

    def _plan(self, document: Document) -> Plan:
        try:
            if document["kind"] == TRAINING_RUN.kind:
                return decide_run(self.observer.run(document, self.now()), self.images)
            seen = self.observer.classifier(document, self.now())
        except SpecRejected as error:
            return Plan(status=rejected(document, str(error), self.now()))
        return let_go(seen, self.images) if "deletionTimestamp" in document["metadata"] else decide(seen, self.images)

    def _do(self, step: Step) -> None:
        match step:
            case Create(document):
                if self.cluster.create(document) is not None:
                    log.info("made %s %s", document["kind"], _name(document))
            case Apply(document):
                self.applied.apply(self.cluster, document)
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

    def _write(self, document: Document, status: Document | None) -> None:
        """The pass's one write of the status, if there is news; then the events, and what is measured."""
        before: Document = document.get("status") or {}
        if status is None:
            return
        if status != before:
            if self.cluster.write_status({**document, "status": status}) is None:
                return  # deleted meanwhile
            for event in events(document, before, status, self.now()):
                (self.record or self.cluster.create)(event)
        tell(self.metrics, kind_of(document), {**document, "status": status}, before)


def _name(document: Document) -> str:
    return f"{document['metadata']['namespace']}/{document['metadata']['name']}"
