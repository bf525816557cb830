"""Kubernetes cluster in memory, clock that a test moves, and wrappers that make any cluster fail.

    FakeCluster(clock=…, defaults=…, rules=…, kinds=…, collects=True)   the same tests pass on it and on a real API server
        .put(document), .remove(kind, namespace, name)   as other components write: with the status; a lost Pod
        .collect()                                       the garbage collector, for collects=False
        .past(steps) -> Snapshot                         get and list as they were this many changes ago
    Dying(cluster, after=n, before=False)    Killed at the n-th write, after or before its effect, and at every later call
    Flaky(cluster, random, share=0.2)        Unavailable before or after the effect, WriteConflict before it
    Lagging(cluster, behind=…)               reads from the past, writes to the present
    Remembering(cluster, random)             lists no older than the newest object of `saw`
    Counting(cluster)                        .calls: Counter of (verb, kind)

Server-side apply is in tests/support/kubernetes/server_side_apply.py.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TypeVar

from k8s.controller.clients.kubernetes import (
    EVENT,
    INFERENCE_SERVICE,
    JOB,
    KINDS,
    LEASE,
    POD,
    SERVICE,
    SERVICE_ACCOUNT,
    SERVING_RUNTIME,
    TEXT_CLASSIFIER,
    TRAINING_RUN,
    Cluster,
    Document,
    Kind,
    RequestRefused,
    Unavailable,
    WriteConflict,
    kind_of,
)
from tests.support.kubernetes.server_side_apply import Owned, applied, leaves, merge_patched

Key = tuple[Kind, str, str]
Rule = Callable[[Document | None, Document], None]
Result = TypeVar("Result")
WITHOUT_STATUS = {SERVICE_ACCOUNT, EVENT, LEASE}  # if they have a status, it is a field like any other
WITHOUT_GENERATION = {SERVICE_ACCOUNT, EVENT, LEASE, SERVICE}
CUSTOM = {TEXT_CLASSIFIER, TRAINING_RUN, INFERENCE_SERVICE, SERVING_RUNTIME}
SERVERS = ("uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds", "managedFields")
REMEMBERED_CHANGES = 200  # that a Lagging cluster may be behind


class FakeClock:
    """Clock that only a test moves."""

    def __init__(self, now: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> datetime:
        self.now += timedelta(seconds=seconds)
        return self.now


def copied(value: Result) -> Result:
    """Return a copy through JSON: a tuple becomes a list, a date is an error."""
    copy: Result = json.loads(json.dumps(value))
    return copy


def timestamp(moment: datetime) -> str:
    """Return a time in Kubernetes' format."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def job_keeps_its_template(old: Document | None, new: Document) -> None:
    """Raise RequestRefused for a change of a Job's immutable fields."""
    if old is None or kind_of(new) != JOB:
        return
    for name in ("template", "selector", "completions", "completionMode", "podFailurePolicy", "backoffLimitPerIndex"):
        if old["spec"].get(name) != new["spec"].get(name):
            raise RequestRefused(f"change Job {new['metadata']['name']}: spec.{name}: Invalid value: field is immutable")


@dataclass(frozen=True)
class Snapshot:
    """Objects at one moment, never changed."""

    objects: Mapping[Key, Document]
    kinds: Collection[Kind]

    def get(self, kind: Kind, namespace: str, name: str) -> Document | None:
        if kind not in self.kinds:
            raise RequestRefused(f"get {kind.kind} {namespace}/{name}: 404 page not found")
        return copied(self.objects.get((kind, namespace, name)))

    def list(self, kind: Kind, namespace: str, *, labels: Mapping[str, str]) -> list[Document]:
        if kind not in self.kinds:
            raise RequestRefused(f"list {kind.kind} {namespace}: 404 page not found")
        keys = [key for key in self.objects if key[0] == kind and namespace in ("", key[1])]
        documents = [self.objects[key] for key in sorted(keys, key=lambda key: key[1:])]
        return [copied(each) for each in documents if labels.items() <= each["metadata"].get("labels", {}).items()]


@dataclass
class FakeCluster:
    """Cluster in memory: the parts of an API server and its garbage collector that the controller uses."""

    clock: Callable[[], datetime] = field(default_factory=FakeClock)
    # A CRD's defaults and validation: `defaults` may raise RequestRefused, a rule gets the old and the new object.
    defaults: Callable[[Document], Document] = lambda document: document
    rules: Sequence[Rule] = ()
    kinds: Collection[Kind] = KINDS
    collects: bool = True
    watch: Callable[[str, Document], None] | None = None  # called with ADDED, MODIFIED or DELETED, and the object

    def __post_init__(self) -> None:
        self._objects: dict[Key, Document] = {}
        self._owned: dict[Key, Owned] = {}
        self.version = 1000
        self._made = 0
        self._history: deque[Mapping[Key, Document]] = deque(maxlen=REMEMBERED_CHANGES)
        self._lock = threading.RLock()

    # Methods of Cluster.

    def get(self, kind: Kind, namespace: str, name: str) -> Document | None:
        return self.past(0).get(kind, namespace, name)

    def list(self, kind: Kind, namespace: str, *, labels: Mapping[str, str]) -> list[Document]:
        return self.past(0).list(kind, namespace, labels=labels)

    def create(self, document: Document) -> Document | None:
        with self._lock:
            key = self._key(document)
            if key in self._objects:
                return None
            new = self._without_status(key, copied(document))
            self._stamp(key, new)
            stored = self._store(key, new, Owned().changed({}, leaves(new)))
            return copied(stored)

    def apply(self, document: Document) -> Document:
        with self._lock:
            key = self._key(document)
            old = self._objects.get(key)
            wanted = self._without_status(key, copied(document))
            for name in SERVERS:
                given = wanted["metadata"].pop(name, None)
                if name == "uid" and given is not None and given != (old or {"metadata": {}})["metadata"].get("uid"):
                    raise WriteConflict(f"apply {key[0].kind} {key[2]}: Precondition failed: UID in precondition: {given}")
            self._check_version(key, wanted["metadata"].pop("resourceVersion", None))
            new, owned = applied(old or {}, wanted, self._owned.get(key, Owned()))
            if old is None:
                self._stamp(key, new)
            return copied(self._store(key, new, owned))

    def merge(
        self, kind: Kind, namespace: str, name: str, change: Document, *, resource_version: str | None = None
    ) -> Document | None:
        with self._lock:
            key = (kind, namespace, name)
            old = self.get(*key)
            if old is None:
                return None
            self._check_version(key, resource_version)
            new = merge_patched(old, self._without_status(key, copied(change)))
            return copied(self._change(key, new))

    def write_status(self, document: Document) -> Document | None:
        with self._lock:
            key = self._key(document)
            old = self.get(*key)
            if old is None:
                return None
            given = document["metadata"]
            if given.get("uid", old["metadata"]["uid"]) != old["metadata"]["uid"]:
                raise WriteConflict(f"write the status of {key[0].kind} {key[2]}: Precondition failed: UID in precondition")
            if key[0] in CUSTOM and "resourceVersion" not in given:
                raise RequestRefused(f"write the status of {key[0].kind} {key[2]}: metadata.resourceVersion: must be specified")
            self._check_version(key, given.get("resourceVersion"))
            new = {**old, "status": copied(document.get("status", {}))}
            return copied(self._change(key, new))

    def delete(self, kind: Kind, namespace: str, name: str, *, uid: str | None = None) -> None:
        with self._lock:
            key = (kind, namespace, name)
            old = self.get(*key)
            if old is None or uid not in (None, old["metadata"]["uid"]):
                return
            # A Pod on a node is removed by its kubelet.
            grace = 30 if kind == POD and old["spec"].get("nodeName") else 0
            if not grace and not old["metadata"].get("finalizers"):
                self._drop(key)
            elif "deletionTimestamp" not in old["metadata"]:
                old["metadata"] |= {"deletionTimestamp": timestamp(self.clock()), "deletionGracePeriodSeconds": grace}
                if "generation" in old["metadata"]:
                    old["metadata"]["generation"] += 1
                self._store(key, old, self._owned[key])

    # Methods for other components and for tests.

    def put(self, document: Document) -> Document:
        """Write the object with its status, without a check of its version: as a component does after a retry."""
        with self._lock:
            key = self._key(document)
            if key not in self._objects:
                self.create(document)
            new = copied(document)
            return copied(self._change(key, new))

    def remove(self, kind: Kind, namespace: str, name: str) -> None:
        """Remove an object at once, even if it has finalizers."""
        with self._lock:
            if (kind, namespace, name) in self._objects:
                self._drop((kind, namespace, name))

    def collect(self) -> None:
        """Delete objects without an existing owner, until there are no more."""
        with self._lock:
            while orphans := self._orphans():
                before = self.version
                for kind, namespace, name in orphans:
                    self.delete(kind, namespace, name)
                if self.version == before:
                    return

    def past(self, steps: int) -> Snapshot:
        """Return the objects as they were `steps` changes ago, or at the oldest remembered change."""
        with self._lock:
            return Snapshot(
                self._objects if steps <= 0 else ([*self._history] or [{}])[-min(steps, len(self._history))], self.kinds
            )

    def everything(self) -> Sequence[Document]:
        """Return all objects, in the order of their creation."""
        with self._lock:
            return [copied(each) for each in self._objects.values()]

    # Implementation.

    def _key(self, document: Document) -> Key:
        kind = kind_of(document)
        if kind not in self.kinds:
            raise RequestRefused(f"{kind.kind} {document['metadata']['name']}: 404 page not found")
        return kind, document["metadata"].get("namespace", ""), document["metadata"]["name"]

    def _without_status(self, key: Key, document: Document) -> Document:
        if key[0] not in WITHOUT_STATUS:
            document.pop("status", None)
        return document

    def _check_version(self, key: Key, version: str | None) -> None:
        is_other = key not in self._objects or self._objects[key]["metadata"]["resourceVersion"] != version
        if version is not None and is_other:
            raise WriteConflict(
                f"{key[0].kind} {key[2]}: the object has been modified; please apply your changes to the latest version"
            )

    def _stamp(self, key: Key, document: Document) -> None:
        """Set the server's fields of a new object."""
        self._made += 1
        metadata = document["metadata"] = {name: value for name, value in document["metadata"].items() if name not in SERVERS}
        metadata["uid"] = str(uuid.UUID(int=self._made))
        metadata["creationTimestamp"] = timestamp(self.clock())
        if key[0] not in WITHOUT_GENERATION:
            metadata["generation"] = 1

    def _change(self, key: Key, new: Document) -> Document:
        old = self._objects[key]
        for name in SERVERS:
            new["metadata"].pop(name, None)
            if name in old["metadata"]:
                new["metadata"][name] = old["metadata"][name]
        return self._store(key, new, self._owned[key].changed(leaves(old), leaves(new)))

    def _store(self, key: Key, new: Document, owned: Owned) -> Document:
        """Store an object if it changed: set its versions, and remove it if it was being deleted and has no finalizers left."""
        old = self._objects.get(key)
        new = self._admitted(key, old, new)
        if old is not None and _bare(old) == _bare(new) and self._owned[key] == owned:
            return old
        if old is not None and "generation" in old["metadata"] and _essence(old) != _essence(new):
            new["metadata"]["generation"] = old["metadata"]["generation"] + 1
        self._remember()
        new["metadata"]["resourceVersion"] = str(self.version)
        self._objects[key], self._owned[key] = new, owned
        self._tell("ADDED" if old is None else "MODIFIED", new)
        metadata = new["metadata"]
        if "deletionTimestamp" in metadata and not metadata.get("finalizers") and not metadata["deletionGracePeriodSeconds"]:
            self._drop(key)
        elif self.collects:
            self.collect()
        return new

    def _admitted(self, key: Key, old: Document | None, new: Document) -> Document:
        kept = {name: new["metadata"][name] for name in ("uid", "creationTimestamp", "generation") if name in new["metadata"]}
        new = copied(self.defaults(new))
        # What is empty is not kept here.
        new["metadata"] = {name: value for name, value in (new["metadata"] | kept).items() if value not in ({}, [], None)}
        for rule in (job_keeps_its_template, *self.rules):
            rule(copied(old), copied(new))
        added = set(new["metadata"].get("finalizers", ())) - set((old or new)["metadata"].get("finalizers", ()))
        if added and old is not None and "deletionTimestamp" in old["metadata"]:
            raise RequestRefused(
                f"change {key[0].kind} {key[2]}: metadata.finalizers: no new finalizers can be added if it is being deleted"
            )
        return new

    def _drop(self, key: Key) -> None:
        self._remember()
        gone = self._objects.pop(key)
        del self._owned[key]
        self._tell("DELETED", {**gone, "metadata": {**gone["metadata"], "resourceVersion": str(self.version)}})
        if self.collects:
            self.collect()

    def _tell(self, event: str, document: Document) -> None:
        if self.watch is not None:
            self.watch(event, copied(document))

    def _remember(self) -> None:
        self._history.append(dict(self._objects))
        self.version += 1

    def _orphans(self) -> Sequence[Key]:
        """Return the keys of objects that have owners, none of which exists."""
        alive = {each["metadata"]["uid"] for each in self._objects.values()}
        owners = {key: each["metadata"].get("ownerReferences") for key, each in self._objects.items()}
        return [key for key, each in owners.items() if each and not any(owner["uid"] in alive for owner in each)]


def _bare(document: Document) -> Document:
    return {**document, "metadata": {name: value for name, value in document["metadata"].items() if name != "resourceVersion"}}


def _essence(document: Document) -> Document:
    return {name: value for name, value in document.items() if name not in ("metadata", "status")}


class Killed(BaseException):
    """Death of the process; a BaseException, so no `except Exception` catches it."""


class Wrapped:
    """Cluster that calls `around` for each call of another cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def around(self, verb: str, kind: Kind, call: Callable[[], Result]) -> Result:
        return call()

    def get(self, kind: Kind, namespace: str, name: str) -> Document | None:
        return self.around("get", kind, lambda: self.cluster.get(kind, namespace, name))

    def list(self, kind: Kind, namespace: str, *, labels: Mapping[str, str]) -> list[Document]:
        return self.around("list", kind, lambda: self.cluster.list(kind, namespace, labels=labels))

    def create(self, document: Document) -> Document | None:
        return self.around("create", kind_of(document), lambda: self.cluster.create(document))

    def apply(self, document: Document) -> Document:
        return self.around("apply", kind_of(document), lambda: self.cluster.apply(document))

    def merge(
        self, kind: Kind, namespace: str, name: str, change: Document, *, resource_version: str | None = None
    ) -> Document | None:
        def call() -> Document | None:
            return self.cluster.merge(kind, namespace, name, change, resource_version=resource_version)

        return self.around("merge", kind, call)

    def write_status(self, document: Document) -> Document | None:
        return self.around("write_status", kind_of(document), lambda: self.cluster.write_status(document))

    def delete(self, kind: Kind, namespace: str, name: str, *, uid: str | None = None) -> None:
        return self.around("delete", kind, lambda: self.cluster.delete(kind, namespace, name, uid=uid))


READS = frozenset({"get", "list"})


class Dying(Wrapped):
    """Cluster of a process that is killed at its n-th write, after or before its effect; later calls fail."""

    def __init__(self, cluster: Cluster, *, after: int, before: bool = False) -> None:
        super().__init__(cluster)
        self.after, self.before, self.writes, self.is_dead = after, before, 0, False

    def around(self, verb: str, kind: Kind, call: Callable[[], Result]) -> Result:
        if self.is_dead:
            raise Killed(f"{verb} {kind.kind}")
        if verb in READS:
            return call()
        self.writes += 1
        if self.writes < self.after:
            return call()
        self.is_dead = True
        if not self.before:
            call()
        raise Killed(f"{verb} {kind.kind}")


class Flaky(Wrapped):
    """Cluster whose calls fail at random: without a response, with or without effect, or by a conflict."""

    def __init__(self, cluster: Cluster, random: Random, *, share: float = 0.2) -> None:
        super().__init__(cluster)
        self.random, self.share = random, share

    def around(self, verb: str, kind: Kind, call: Callable[[], Result]) -> Result:
        if self.random.random() >= self.share:
            return call()
        what = f"{verb} {kind.kind}: by chance"
        if verb in ("merge", "write_status") and self.random.random() < 0.3:
            raise WriteConflict(what)
        if verb not in READS and self.random.random() < 0.5:
            call()
        raise Unavailable(what)


class Lagging(Wrapped):
    """Cluster whose reads are `behind()` changes old. Writes go to the present."""

    def __init__(self, cluster: FakeCluster, *, behind: Callable[[], int]) -> None:
        super().__init__(cluster)
        self.fake, self.behind = cluster, behind

    def get(self, kind: Kind, namespace: str, name: str) -> Document | None:
        return self.fake.past(self.behind()).get(kind, namespace, name)

    def list(self, kind: Kind, namespace: str, *, labels: Mapping[str, str]) -> list[Document]:
        return self.fake.past(self.behind()).list(kind, namespace, labels=labels)


class Remembering(Wrapped):
    """Cluster whose lists are at least as new as the newest object given to `saw` or written, as KubernetesCluster's."""

    def __init__(self, cluster: FakeCluster, random: Random) -> None:
        super().__init__(cluster)
        self.fake, self.random = cluster, random
        self.newest: dict[str, int] = {}

    def saw(self, document: Document) -> None:
        version = int(document["metadata"]["resourceVersion"])
        self.newest[document["kind"]] = max(version, self.newest.get(document["kind"], 0))

    def around(self, verb: str, kind: Kind, call: Callable[[], Result]) -> Result:
        result = call()
        if verb not in READS and isinstance(result, dict) and kind.kind in self.newest:
            self.saw(result)
        return result

    def list(self, kind: Kind, namespace: str, *, labels: Mapping[str, str]) -> list[Document]:
        now = self.fake.version
        since = now - self.newest.get(kind.kind, now)
        return self.fake.past(self.random.randint(0, since)).list(kind, namespace, labels=labels)


class Counting(Wrapped):
    """Cluster that counts calls by verb and kind, in `calls`."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self.calls: Counter[tuple[str, str]] = Counter()

    def around(self, verb: str, kind: Kind, call: Callable[[], Result]) -> Result:
        self.calls[verb, kind.kind] += 1
        return call()
