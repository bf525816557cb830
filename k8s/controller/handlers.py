"""kopf's event handlers. An event only adds keys to the queue; its content decides nothing."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import Any

import kopf

from k8s.controller.api.v1alpha1 import GROUP, VERSION
from k8s.controller.objects import names
from k8s.controller.objects.kinds import (
    DEPLOYMENT,
    INFERENCE_SERVICE,
    JOB,
    SERVING_RUNTIME,
    TEXT_CLASSIFIER,
    TRAINING_RUN,
    Document,
)
from k8s.controller.reconcile.apply_cache import ApplyCache
from k8s.controller.runtime.queue import Key, WorkQueue

Saw = Callable[[Document], None]  # called with every state before its key is queued
NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
# Created objects, which are watched by their label.
JOBS, DEPLOYMENTS, INFERENCE_SERVICES, SERVING_RUNTIMES = (
    (group, version, kind.plural)
    for kind in (JOB, DEPLOYMENT, INFERENCE_SERVICE, SERVING_RUNTIME)
    for group, version in [kind.api_version.split("/")]
)


def listen(queue: WorkQueue, apply_cache: ApplyCache, saw: Saw, *, namespaces: tuple[str, ...], stop: threading.Event) -> None:
    """Watch these namespaces, or all if there are none, until `stop` is set.

    It must not run in the main thread: there kopf handles signals, and hangs on a second one.
    """
    registry = kopf.OperatorRegistry()
    register(registry, queue, apply_cache, saw)
    kopf.run(
        registry=registry,
        settings=settings(),
        standalone=True,
        clusterwide=not namespaces,
        namespaces=namespaces,
        stop_flag=stop,
    )


def settings() -> kopf.OperatorSettings:
    """Return settings with which kopf writes no annotations, finalizers or events."""
    found = kopf.OperatorSettings()
    found.posting.enabled = False
    found.scanning.disabled = True
    found.watching.chunk_size = 500
    for resource in (JOBS, DEPLOYMENTS, INFERENCE_SERVICES, SERVING_RUNTIMES):
        found.watching.label_selectors[resource] = f"app.kubernetes.io/managed-by={names.MANAGER}"
    return found


def register(registry: kopf.OperatorRegistry, queue: WorkQueue, apply_cache: ApplyCache, saw: Saw) -> None:
    """Register handlers for the resources, and for the objects created for them."""

    @kopf.on.login(registry=registry)
    async def login(**given: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_with_service_account(**given) or kopf.login_with_kubeconfig(**given)

    @kopf.on.event(GROUP, VERSION, TEXT_CLASSIFIER.plural, registry=registry)
    async def classifier(body: kopf.Body, **_: Any) -> None:
        saw(dict(body))
        queue.add_all(keys_of_classifier(dict(body)))

    @kopf.on.event(GROUP, VERSION, TRAINING_RUN.plural, registry=registry)
    async def run(body: kopf.Body, **_: Any) -> None:
        saw(dict(body))
        queue.add_all(keys_of_run(dict(body)))

    @kopf.on.event(*JOBS, registry=registry)
    @kopf.on.event(*DEPLOYMENTS, registry=registry)
    async def made(body: kopf.Body, **_: Any) -> None:
        saw(dict(body))
        queue.add_all(keys_of_made(dict(body)))

    @kopf.on.event(*INFERENCE_SERVICES, registry=registry)
    @kopf.on.event(*SERVING_RUNTIMES, registry=registry)
    async def applied_before(body: kopf.Body, type: str | None, **_: Any) -> None:  # noqa: A002 - kopf's word
        if apply_cache.changed(dict(body), deleted=type == "DELETED"):
            queue.add_all(keys_of_made(dict(body)))


def keys_of_classifier(document: Document) -> list[Key]:
    """Return the key of a classifier and that of its active run."""
    namespace, name = document["metadata"]["namespace"], document["metadata"]["name"]
    active = (document.get("status") or {}).get("activeRun")
    return [Key(TEXT_CLASSIFIER.kind, namespace, name)] + ([Key(TRAINING_RUN.kind, namespace, active)] if active else [])


def keys_of_run(document: Document) -> list[Key]:
    """Return the key of a run and that of its classifier."""
    namespace, name = document["metadata"]["namespace"], document["metadata"]["name"]
    classifier = (document["metadata"].get("labels") or {}).get(names.CLASSIFIER)
    itself = Key(TRAINING_RUN.kind, namespace, name)
    return [itself] + ([Key(TEXT_CLASSIFIER.kind, namespace, classifier)] if classifier else [])


def keys_of_made(document: Document) -> list[Key]:
    """Return the key of the run or classifier that an object was created for."""
    metadata = document["metadata"]
    owners = [each for each in metadata.get("ownerReferences") or () if each["kind"] == TRAINING_RUN.kind]
    if owners:
        name = owners[0]["name"]  # anyone who creates an object can write any text here
        return [Key(TRAINING_RUN.kind, metadata["namespace"], name)] if NAME.fullmatch(name) else []
    classifier = (metadata.get("labels") or {}).get(names.CLASSIFIER)
    return [Key(TEXT_CLASSIFIER.kind, metadata["namespace"], classifier)] if classifier else []
