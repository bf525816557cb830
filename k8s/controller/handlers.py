"""kopf, and only here: every event says which object is to be looked at; nothing is decided from what it carries."""

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

Saw = Callable[[Document], None]  # is told of every state, before anything is done because of it
NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
# What is made: watched by its label, which the API server filters by.
JOBS, DEPLOYMENTS, INFERENCE_SERVICES, SERVING_RUNTIMES = (
    (group, version, kind.plural)
    for kind in (JOB, DEPLOYMENT, INFERENCE_SERVICE, SERVING_RUNTIME)
    for group, version in [kind.api_version.split("/")]
)


def listen(queue: WorkQueue, apply_cache: ApplyCache, saw: Saw, *, namespaces: tuple[str, ...], stop: threading.Event) -> None:
    """Let kopf watch these namespaces, or all, until it is told to stop.

    Not in the main thread: there kopf would take the signals, and hang on a second one.
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
    """kopf writes nothing: no annotations, no finalizers, no events."""
    found = kopf.OperatorSettings()
    found.posting.enabled = False
    found.scanning.disabled = True
    found.watching.chunk_size = 500
    for resource in (JOBS, DEPLOYMENTS, INFERENCE_SERVICES, SERVING_RUNTIMES):
        found.watching.label_selectors[resource] = f"app.kubernetes.io/managed-by={names.MANAGER}"
    return found


def register(registry: kopf.OperatorRegistry, queue: WorkQueue, apply_cache: ApplyCache, saw: Saw) -> None:
    """Listen to what a user writes, and to everything that is made of it."""

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
    """Itself, and the run whose turn it is."""
    namespace, name = document["metadata"]["namespace"], document["metadata"]["name"]
    active = (document.get("status") or {}).get("activeRun")
    return [Key(TEXT_CLASSIFIER.kind, namespace, name)] + ([Key(TRAINING_RUN.kind, namespace, active)] if active else [])


def keys_of_run(document: Document) -> list[Key]:
    """Itself, and the classifier whose it is."""
    namespace, name = document["metadata"]["namespace"], document["metadata"]["name"]
    classifier = (document["metadata"].get("labels") or {}).get(names.CLASSIFIER)
    itself = Key(TRAINING_RUN.kind, namespace, name)
    return [itself] + ([Key(TEXT_CLASSIFIER.kind, namespace, classifier)] if classifier else [])


def keys_of_made(document: Document) -> list[Key]:
    """The run or the classifier that it was made for."""
    metadata = document["metadata"]
    owners = [each for each in metadata.get("ownerReferences") or () if each["kind"] == TRAINING_RUN.kind]
    if owners:
        name = owners[0]["name"]  # the API server lets whoever makes an object write anything here
        return [Key(TRAINING_RUN.kind, metadata["namespace"], name)] if NAME.fullmatch(name) else []
    classifier = (metadata.get("labels") or {}).get(names.CLASSIFIER)
    return [Key(TEXT_CLASSIFIER.kind, metadata["namespace"], classifier)] if classifier else []
