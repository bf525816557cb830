"""Simulation of the real controller in a World: actions of users and of the cluster, and failures, step by step.

    simulation = Simulation()
    simulation.add()                       create a TextClassifier `papers`, then work until nothing is left to do
    simulation.settle()
    simulation.edit({"suspend": True})     a merge patch of its spec
    simulation.restart(wrap)               start a new controller process, whose cluster is wrapped in `wrap`
    simulation.work_once(), .world.step()  one pass; one action of a component of the cluster

No part of the controller is replaced: events go through `handlers` into its queue. Only its clock is the simulation's.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import cache
from random import Random
from typing import Any

from prometheus_client import CollectorRegistry

from k8s.controller import handlers
from k8s.controller.api import crds
from k8s.controller.api.schemas import structural
from k8s.controller.api.v1alpha1 import (
    SpecRejected,
    read_text_classifier,
    read_text_classifier_status,
    read_training_run,
    read_training_run_status,
)
from k8s.controller.builders.training_job import Images
from k8s.controller.clients.kubernetes import Cluster, ClusterError, RequestRefused
from k8s.controller.objects import names
from k8s.controller.objects.kinds import (
    DEPLOYMENT,
    EVENT,
    INFERENCE_SERVICE,
    JOB,
    SERVING_RUNTIME,
    TEXT_CLASSIFIER,
    TRAINING_RUN,
    Document,
    Kind,
    kind_of,
)
from k8s.controller.reconcile.apply_cache import ApplyCache
from k8s.controller.reconcile.observe import Observer
from k8s.controller.reconcile.reconciler import Reconciler
from k8s.controller.runtime.metrics import ControllerMetrics
from k8s.controller.runtime.queue import Key, WorkQueue
from model.gate import GateRecord, GateRule
from model.run_result import RunResult
from model.scores import ScoreName
from tests.support.fakes import FakeClock, FakeCluster, Killed, copied
from tests.support.kubernetes.server_side_apply import merge_patched
from tests.support.kubernetes.world import World

SPACE, NAME, API = "one", "papers", "labelwright.dev/v1alpha1"
IMAGES = Images("trainer:1", "predictor:1")
APPLIED = (INFERENCE_SERVICE, SERVING_RUNTIME)
SPEC: Document = {
    "dataset": {"uri": "s3://datasets/papers/"},
    "storage": {"uri": "s3://models", "secretName": "labelwright-s3"},
    "serving": {"rollout": {"deadline": "20s"}},
}
SETTLING_SECONDS = 900.0  # longer than any rollout and any retry


class Trainer:
    """The trainer's image, seen from outside: results of its Pods, and versions in the storage.

    contents: of datasets, by their address. codes: exit codes of the next attempts, 0 after them.
    """

    def __init__(self) -> None:
        self.contents: dict[str, str] = {}
        self.published: dict[str, RunResult] = {}
        self.codes: list[int] = []
        self.score = 0.9

    def __call__(self, job: Document) -> RunResult:
        template = job["spec"].get("template", job)
        (container,) = template["spec"]["containers"]
        if container["args"][0] == "prune":
            return self._prune(container["args"])
        code = self.codes.pop(0) if self.codes else 0
        if code:
            return RunResult(exit_code=code, message=f"attempt ended with {code}")
        settings = _settings(container)
        return self._fingerprint(settings) if container["args"][0] == "fingerprint" else self._train(settings)

    def _train(self, settings: dict[str, Any]) -> RunResult:
        uri = f"{settings['OUTPUT_DIR'].rstrip('/')}/{settings['NAME']}/{settings['VERSION']}/"
        if uri in self.published:
            return self.published[uri]
        served = self.published.get(settings.get("GATE__SERVED_URI", ""))
        compared = {"served_version": served.version, "served_scores": served.gate.scores} if served and served.gate else {}
        rule = {name: settings.get(f"GATE__{name.upper()}") for name in ("score", "minimum", "tolerance")}
        gate = GateRecord(
            scores=dict.fromkeys(ScoreName, self.score), baseline_scores=dict.fromkeys(ScoreName, 0.1),
            rule=GateRule.model_validate(rule), **compared,
        )  # fmt: skip
        result = self._fingerprint(settings).model_copy(
            update={"classifier": settings["NAME"], "version": settings["VERSION"], "artifact_uri": uri, "gate": gate}
        )
        self.published[uri] = result
        return result

    def _fingerprint(self, settings: dict[str, Any]) -> RunResult:
        test = settings.get("DATASET__TEST_URI")
        return RunResult(
            exit_code=0, dataset_sha256=self._sha256(settings["DATASET__URI"]), test_sha256=self._sha256(test) if test else None
        )

    def _sha256(self, uri: str) -> str:
        return hashlib.sha256(f"{uri} {self.contents.get(uri, '')}".encode()).hexdigest()

    def _prune(self, args: list[str]) -> RunResult:
        _, _, storage, _, name, *versions = args
        prefixes = [names.version_uri(storage, name, each) for each in versions if each != "--all"]
        prefixes += [f"{storage.rstrip('/')}/{name}/"] if "--all" in versions else []
        for uri in [each for each in self.published if each.startswith(tuple(prefixes))]:
            del self.published[uri]
        return RunResult(exit_code=0)


class Simulation:
    """Controller and its environment. `log` has all events, for the message of a failed test."""

    def __init__(self, *, collects: bool = True) -> None:
        self.clock, self.trainer, self.log = FakeClock(), Trainer(), list[str]()
        self.cluster = FakeCluster(clock=self.clock, defaults=admitted, rules=(only_as_allowed,), collects=collects)
        self.cluster.watch = self._hear
        self.world = World(self.cluster, clock=self.clock, random=Random(0), outcome=self.trainer)
        self.listeners: list[Callable[[str, Document], None]] = []
        self.late: list[tuple[str, Document]] | None = None  # events that are still on their way, if events come late
        self.successor: Callable[[FakeCluster], Cluster] = lambda cluster: cluster
        self.is_deaf = False  # True while the watch is broken: events are lost
        self.restart()

    def restart(self, wrap: Callable[[FakeCluster], Cluster] = lambda cluster: cluster) -> None:
        """Start a new process of the controller: it receives every object again."""
        self.queue = WorkQueue(clock=lambda: self.clock().timestamp(), draw=lambda: 0.0)
        self.apply_cache = ApplyCache(clock=lambda: self.clock().timestamp())
        through = wrap(self.cluster)
        self.saw: Callable[[Document], None] = getattr(through, "saw", lambda _: None)
        self.reconciler = Reconciler(
            through, Observer(through, self.world), IMAGES, ControllerMetrics(CollectorRegistry()), self.apply_cache, self.clock
        )
        if self.late is not None:
            self.late.clear()
        self.hear_all()

    def hear_all(self) -> None:
        """Send an event for every object, as at the start of a watch."""
        for document in self.cluster.everything():
            self._tell("", document)

    # What happens.

    def work_once(self) -> bool:
        """Make a pass if a key is due, and return whether one was. A controller that is killed is restarted."""
        key = self.queue.take(0)
        if key is None:
            return False
        self.log.append(f"pass {key.kind} {key.name}")
        try:
            self.work_on(key)
        except Killed:
            self.log.append("killed")
            self.restart(self.successor)
        return True

    def work_on(self, key: Key) -> None:
        """Reconcile a key as a worker does."""
        try:
            requeue_after = self.reconciler.reconcile(key)
        except ClusterError as error:
            self.log.append(f"  {type(error).__name__}: {error}")
            self.queue.retry(key)
        else:
            self.queue.forget(key)
            if requeue_after is not None:
                self.queue.add_after(key, requeue_after)
        self.queue.done(key)

    def advance(self, seconds: float) -> None:
        """Let time pass without any action."""
        self.log.append(f"{seconds} s pass")
        self.clock.advance(seconds)

    def act(self, action: Any) -> None:
        """Do an Action of the world."""
        self.log.append(action.label)
        action.do()

    def rest(self, *, limit: int = 5000) -> None:
        """Work until nothing is left to do at this time."""
        for _ in range(limit):
            while self.deliver() or self.work_once():
                pass
            label = self.world.step()
            if label is None:
                return
            self.log.append(label)
        raise AssertionError("it never comes to rest:\n" + "\n".join(self.log[-60:]))

    def settle(self, seconds: float = SETTLING_SECONDS) -> None:
        """Let time pass, and do all work when it is due."""
        end = self.clock().timestamp() + seconds
        while True:
            self.rest()
            due = self.due()
            if due > end:
                self.advance(end - self.clock().timestamp())
                return
            self.advance(max(due - self.clock().timestamp(), 0.0))

    def due(self) -> float:
        """Return the time at which the next key is due."""
        return min(self.queue._due.values(), default=float("inf"))

    def deliver(self) -> bool:
        """Deliver one of the late events, and return whether there was one."""
        if not self.late:
            return False
        event, document = self.late.pop(self.world.random.randrange(len(self.late)))
        if self.world.random.random() < 0.3:
            self.late.append((event, document))
        self._tell(event, document)
        return True

    # Actions of a user.

    def add(self, spec: Document | None = None) -> None:
        """Create the TextClassifier."""
        metadata = {"name": NAME, "namespace": SPACE}
        document = {"apiVersion": API, "kind": "TextClassifier", "metadata": metadata}
        self.cluster.create({**document, "spec": copied(merge_patched(SPEC, spec or {}))})

    def edit(self, change: Document) -> bool:
        """Apply a merge patch to its spec, and return whether the API server accepts it."""
        try:
            done = self.cluster.merge(TEXT_CLASSIFIER, SPACE, NAME, {"spec": change}) is not None
        except RequestRefused as error:
            self.log.append(f"edit {change}: {error}")
            return False
        self.log.append(f"edit {change}")
        return done

    def make_run(self, name: str, spec: Document | None = None) -> None:
        """Create a TrainingRun by hand."""
        metadata = {"name": name, "namespace": SPACE}
        self.log.append(f"by hand: {name}")
        document = {"apiVersion": API, "kind": "TrainingRun", "metadata": metadata}
        self.cluster.create({**document, "spec": {"classifier": NAME, **(spec or {})}})

    def remove(self) -> None:
        """Delete the TextClassifier."""
        self.log.append("delete the classifier")
        self.cluster.delete(TEXT_CLASSIFIER, SPACE, NAME)

    # State.

    @property
    def classifier(self) -> Document:
        """The TextClassifier as it is now."""
        document = self.cluster.get(TEXT_CLASSIFIER, SPACE, NAME)
        assert document is not None
        return document

    @property
    def status(self) -> Document:
        """Status of the classifier."""
        status: Document = self.classifier.get("status", {})
        return status

    def all(self, kind: Kind) -> list[Document]:
        """Return all objects of a kind."""
        return self.cluster.list(kind, "", labels={})

    def runs(self) -> list[Document]:
        """Return the classifier's runs, oldest first; of the same second, first those made by hand."""
        own = self.cluster.list(TRAINING_RUN, SPACE, labels=names.made_for(NAME))
        return sorted(own, key=lambda run: (run["metadata"]["creationTimestamp"], _sequence(run), run["metadata"]["name"]))

    def states(self) -> list[str]:
        """Return the states of these runs."""
        return [run.get("status", {}).get("state", "") for run in self.runs()]

    def every_key(self) -> list[Key]:
        """Return the keys of all TextClassifiers and TrainingRuns."""
        return [
            Key(kind.kind, each["metadata"]["namespace"], each["metadata"]["name"])
            for kind in (TEXT_CLASSIFIER, TRAINING_RUN)
            for each in self.all(kind)
        ]

    # Implementation.

    def _hear(self, event: str, document: Document) -> None:
        if document["kind"] == EVENT.kind:
            if event == "ADDED":
                self.log.append(f"  event {document['reason']}: {document['message']}")
                self.cluster.remove(EVENT, document["metadata"]["namespace"], document["metadata"]["name"])
            return
        for each in self.listeners:
            each(event, document)
        if self.late is not None:
            self.late.append((event, document))
        elif not self.is_deaf:
            self._tell(event, document)

    def _tell(self, event: str, document: Document) -> None:
        """Add keys to the queue as `handlers` does for its watches."""
        kind = kind_of(document)
        made = document["metadata"].get("labels", {}).get("app.kubernetes.io/managed-by") == names.MANAGER
        if kind in (TEXT_CLASSIFIER, TRAINING_RUN) or made:
            self.saw(document)
        if kind == TEXT_CLASSIFIER:
            self.queue.add_all(handlers.keys_of_classifier(document))
        elif kind == TRAINING_RUN:
            self.queue.add_all(handlers.keys_of_run(document))
        elif made and (
            kind in (JOB, DEPLOYMENT) or (kind in APPLIED and self.apply_cache.changed(document, deleted=event == "DELETED"))
        ):
            self.queue.add_all(handlers.keys_of_made(document))


# Behaviour of the API server by the CRDs.


def admitted(document: Document) -> Document:
    """Return a document with defaults and without unknown fields. Raises RequestRefused if it does not match the schema."""
    if document["apiVersion"] != API:
        return document
    schema = _schema(document["kind"])
    complete = {**document, **{part: _fitted(document.get(part) or {}, schema[part]) for part in ("spec", "status")}}
    if not complete["status"]:
        complete.pop("status")
    readers = {
        "TextClassifier": (read_text_classifier, read_text_classifier_status),
        "TrainingRun": (read_training_run, read_training_run_status),
    }
    try:
        for read in readers[document["kind"]]:
            read(complete)
    except SpecRejected as error:
        raise RequestRefused(f"{document['kind']} {document['metadata']['name']}: {error}") from error
    return complete


def only_as_allowed(old: Document | None, new: Document) -> None:
    """Raise RequestRefused for a change that a TrainingRun's rules forbid."""
    if old is None or new["kind"] != TRAINING_RUN.kind:
        return
    fixed = ("classifier", "dataset", "training", "storage", "served", "trigger")
    changed = [each for each in fixed if each in old["spec"] and old["spec"][each] != new["spec"].get(each)]
    if changed or (old["spec"].get("cancelled") and not new["spec"].get("cancelled")):
        raise RequestRefused(f"TrainingRun {new['metadata']['name']}: {changed or 'cancelled'} of a training does not change")


def _sequence(run: Document) -> int:
    return int(run["metadata"].get("annotations", {}).get(names.SEQUENCE, 0))


@cache
def _schema(kind: str) -> Document:
    definition = next(each for each in crds.DEFINITIONS if each.kind == kind)
    return {"spec": structural(definition.spec), "status": structural(definition.status)}


def _fitted(value: Any, schema: Document) -> Any:
    """Add defaults and remove unknown fields."""
    if isinstance(value, dict) and "properties" in schema:
        known = schema["properties"]
        given = {name: each for name, each in value.items() if name in known and each is not None}
        missing = {name: copied(each["default"]) for name, each in known.items() if name not in given and "default" in each}
        return {name: _fitted(each, known[name]) for name, each in (given | missing).items()}
    if isinstance(value, list) and "items" in schema:
        return [_fitted(each, schema["items"]) for each in value]
    return value


def _settings(container: Document) -> dict[str, Any]:
    settings = {}
    for each in container["env"]:
        if each["name"].startswith("LABELWRIGHT__") and "value" in each:
            try:
                settings[each["name"].removeprefix("LABELWRIGHT__")] = json.loads(each["value"])
            except ValueError:  # set by hand in the manifest: plain YAML
                settings[each["name"].removeprefix("LABELWRIGHT__")] = each["value"]
    return settings
