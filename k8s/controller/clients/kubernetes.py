"""Kubernetes API: a Protocol, its errors, and the adapter on the official client.

    get(kind, namespace, name) -> Document | None
    list(kind, namespace, *, labels) -> list[Document]          namespace "": of the whole cluster
    create(document) -> Document | None                         None: one of this name exists
    apply(document) -> Document                                 server-side apply, ours wins
    merge(kind, namespace, name, change, *, resource_version=None) -> Document | None
    write_status(document) -> Document | None                   replaces .status of what was read
    delete(kind, namespace, name, *, uid=None) -> None          in the background

Knows nothing of classifiers. It keeps no objects and retries no write: the caller's queue retries with backoff.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any, Protocol, Self

import urllib3
from kubernetes import config as kubeconfig
from kubernetes.client.api_client import ApiClient
from kubernetes.client.configuration import Configuration
from kubernetes.client.exceptions import ApiException

from k8s.controller.clients.errors import (
    ClusterError,
    RequestRefused,
    Unavailable,
    WriteConflict,
    error_of,
    is_absence,
    is_behind,
)
from k8s.controller.objects.kinds import (
    CRD,
    DEPLOYMENT,
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
    Document,
    Kind,
    kind_of,
)

__all__ = [
    "CRD",
    "DEPLOYMENT",
    "EVENT",
    "INFERENCE_SERVICE",
    "JOB",
    "KINDS",
    "LEASE",
    "POD",
    "SERVICE",
    "SERVICE_ACCOUNT",
    "SERVING_RUNTIME",
    "TEXT_CLASSIFIER",
    "TRAINING_RUN",
    "Cluster",
    "ClusterError",
    "Document",
    "Kind",
    "KubernetesCluster",
    "RequestRefused",
    "Unavailable",
    "WriteConflict",
    "from_environment",
    "kind_of",
]

FIELD_MANAGER = "labelwright"
CALL_SECONDS = 10.0  # seconds for one call; the server gives up a write after 34
PAGE_OBJECTS = 500  # objects in one page of a list, to bound the memory


class Cluster(Protocol):
    """Objects of a Kubernetes cluster. Every method may raise RequestRefused or Unavailable."""

    def get(self, kind: Kind, namespace: str, name: str) -> Document | None:
        """Return the object, None if it does not exist."""

    def list(self, kind: Kind, namespace: str, *, labels: Mapping[str, str]) -> list[Document]:
        """Return the objects with these labels, or all without labels. An empty namespace means all namespaces."""

    def create(self, document: Document) -> Document | None:
        """Return the created object; None if one of this name exists, even if it is being deleted."""

    def apply(self, document: Document) -> Document:
        """Apply these fields, and remove fields that we applied before but no longer do. Other fields stay as they are.

        Raises WriteConflict only if the document has a uid or resourceVersion other than the object's.
        """

    def merge(
        self, kind: Kind, namespace: str, name: str, change: Document, *, resource_version: str | None = None
    ) -> Document | None:
        """Change these fields and remove those that are None. Return the object, None if it does not exist.

        Raises WriteConflict if it is no longer at the resource version.
        """

    def write_status(self, document: Document) -> Document | None:
        """Replace the status by the document's. Return the object, None if it does not exist.

        Raises WriteConflict if the object has changed since the document was read.
        """

    def delete(self, kind: Kind, namespace: str, name: str, *, uid: str | None = None) -> None:
        """Start the deletion of the object and of what it owns (a Job's Pods before the Job).

        Does nothing if the object does not exist or has another uid.
        """


class KubernetesCluster:
    """Cluster that calls the API server. Any thread may call.

    Kinds reported to `saw` are listed from the server's cache, no older than the reported state: three times as fast.
    """

    def __init__(self, client: ApiClient, *, time_limit: float = CALL_SECONDS) -> None:
        client.user_agent = FIELD_MANAGER
        self._client = client
        self._time_limit = time_limit
        self._newest: dict[str, int] = {}  # by kind, the oldest resource version that a list may have
        self._lock = Lock()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()  # type: ignore[no-untyped-call]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def get(self, kind: Kind, namespace: str, name: str) -> Document | None:
        status, answer = self._call("GET", kind.path(namespace, name))
        if is_absence(status, answer):
            return None
        return _checked(f"get {kind.kind} {namespace}/{name}", status, answer)

    def list(self, kind: Kind, namespace: str, *, labels: Mapping[str, str]) -> list[Document]:
        what, path = f"list {kind.kind} {namespace}", kind.path(namespace)
        selected = [("labelSelector", ",".join(f"{key}={value}" for key, value in labels.items()))]
        if newest := self._newest.get(kind.kind):  # the server may answer from its cache; else it reads etcd
            as_new = [("resourceVersion", str(newest)), ("resourceVersionMatch", "NotOlderThan")]
            status, answer = self._call("GET", path, query=[*selected, *as_new])
            if not is_behind(status, answer):
                return _items(kind, _checked(what, status, answer))
            self._newest.pop(kind.kind, None)  # etcd may have been restored from a backup
        found: list[Document] = []
        page = [*selected, ("limit", str(PAGE_OBJECTS))]
        while True:
            answer = _checked(what, *self._call("GET", path, query=page))
            found += _items(kind, answer)
            following = (answer.get("metadata") or {}).get("continue", "")
            if not following:
                return found
            page = [*selected, ("limit", str(PAGE_OBJECTS)), ("continue", following)]

    def saw(self, document: Document) -> None:
        """Note an object's state from an event: later lists of its kind are no older. Pass all further events, too."""
        with self._lock:
            known = self._newest.get(document["kind"], 0)
            self._newest[document["kind"]] = max(known, int(document["metadata"]["resourceVersion"]))

    def _written(self, document: Document) -> Document:
        """Note the state of an object that we have written, so that the next list contains it."""
        if document["kind"] in self._newest:
            self.saw(document)
        return document

    def create(self, document: Document) -> Document | None:
        kind, namespace, name = _address(document)
        status, answer = self._call("POST", kind.path(namespace), document, query=[("fieldManager", FIELD_MANAGER)])
        if status == 409 and answer.get("reason") == "AlreadyExists":
            return None
        return self._written(_checked(f"create {kind.kind} {namespace}/{name}", status, answer))

    def apply(self, document: Document) -> Document:
        kind, namespace, name = _address(document)
        query = [("fieldManager", FIELD_MANAGER), ("force", "true")]
        called = self._call("PATCH", kind.path(namespace, name), document, content="application/apply-patch+yaml", query=query)
        return self._written(_checked(f"apply {kind.kind} {namespace}/{name}", *called))

    def merge(
        self, kind: Kind, namespace: str, name: str, change: Document, *, resource_version: str | None = None
    ) -> Document | None:
        if resource_version is not None:
            change = {**change, "metadata": {**change.get("metadata", {}), "resourceVersion": resource_version}}
        query, content = [("fieldManager", FIELD_MANAGER)], "application/merge-patch+json"
        status, answer = self._call("PATCH", kind.path(namespace, name), change, content=content, query=query)
        if is_absence(status, answer):
            return None
        return self._written(_checked(f"change {kind.kind} {namespace}/{name}", status, answer))

    def write_status(self, document: Document) -> Document | None:
        kind, namespace, name = _address(document)
        path = f"{kind.path(namespace, name)}/status"
        status, answer = self._call("PUT", path, document, query=[("fieldManager", FIELD_MANAGER)])
        if is_absence(status, answer):
            return None
        return self._written(_checked(f"write the status of {kind.kind} {namespace}/{name}", status, answer))

    def delete(self, kind: Kind, namespace: str, name: str, *, uid: str | None = None) -> None:
        # A Job stays until its Pods are gone: otherwise they would run unobserved.
        policy = "Foreground" if kind is JOB else "Background"
        options: Document = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": policy}
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        status, answer = self._call("DELETE", kind.path(namespace, name), options)
        is_another = status == 409 and uid is not None
        if not is_absence(status, answer) and not is_another:
            _checked(f"delete {kind.kind} {namespace}/{name}", status, answer)

    def _call(
        self,
        verb: str,
        path: str,
        body: Document | None = None,
        *,
        content: str = "application/json",
        query: Sequence[tuple[str, str]] = (),
    ) -> tuple[int, Document]:
        """Return the status code and the document of any answer. Raises Unavailable if there is none."""
        headers = {"Accept": "application/json", "Content-Type": content}
        try:
            verb, url, headers, *_ = self._client.param_serialize(
                verb, path, query_params=list(query), header_params=headers, auth_settings=["BearerToken"]
            )
            response = self._client.call_api(verb, url, headers, body, _request_timeout=self._time_limit)
            content_read: bytes = response.read()  # type: ignore[no-untyped-call]
        except (urllib3.exceptions.HTTPError, ApiException, kubeconfig.ConfigException, OSError) as error:
            raise Unavailable(f"{verb} {path}: the API server did not answer: {error}") from error
        return response.status, _parsed(content_read)


def from_environment(*, threads: int = 8, time_limit: float = CALL_SECONDS) -> KubernetesCluster:
    """Return the cluster that this Pod runs in, or outside of a cluster that of the kubeconfig.

    threads: number of connections. Raises Unavailable if neither is configured.
    """
    configuration = Configuration()
    try:
        kubeconfig.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    except kubeconfig.ConfigException:
        try:
            kubeconfig.load_kube_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        except (kubeconfig.ConfigException, OSError) as error:
            raise Unavailable(
                f"no API server to connect to: expected a ServiceAccount's token, as in a Pod, or a kubeconfig: {error}"
            ) from error
    configuration.connection_pool_maxsize = threads
    configuration.retries = False
    return KubernetesCluster(ApiClient(configuration), time_limit=time_limit)


def _address(document: Document) -> tuple[Kind, str, str]:
    metadata = document["metadata"]
    return kind_of(document), metadata.get("namespace", ""), metadata["name"]


def _items(kind: Kind, answer: Document) -> list[Document]:
    """Return the objects of a list, with apiVersion and kind, which the server leaves out."""
    return [{**each, "apiVersion": kind.api_version, "kind": kind.kind} for each in answer.get("items") or []]


def _checked(what: str, status: int, answer: Document) -> Document:
    """Return the answer if it is successful, else raise its error."""
    if 200 <= status < 300 and "kind" in answer:
        return answer
    raise error_of(what, status, answer)


def _parsed(content: bytes) -> Document:
    """Return the document. Other content (a proxy's page, "404 page not found") becomes a message."""
    try:
        found: Any = json.loads(content)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"message": content[:200].decode(errors="replace").strip()}
