"""The demo's TextClassifier: applied once its CRD is served, and waited for until it is Ready.

    apply_classifier(cluster, document, …)          server-side apply, repeated until the API server takes it
    wait_until_ready(cluster, namespace, name, …)   returns when the controller has confirmed that the newest spec is served

KServe's webhook is not asked here: the controller creates the InferenceService after the training, and repeats it until the
webhook answers. The TextClassifier is owned by an object of the release, so that it goes with the release.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from k8s.controller.clients.kubernetes import Cluster, ClusterError, RequestRefused, Unavailable, WriteConflict
from k8s.controller.objects.documents import is_true
from k8s.controller.objects.kinds import CONFIG_MAP, TEXT_CLASSIFIER, Document

PAUSE_SECONDS = 2.0


def apply_classifier(
    cluster: Cluster,
    document: Document,
    *,
    owner: str,
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Document:
    """Apply the TextClassifier, owned by the ConfigMap of that name, and return it.

    Raises ClusterError with the API server's last reason if it is not accepted within that time. A CRD that is not served yet, an
    API server that does not answer and a webhook that is starting are all waited for.
    """
    deadline = clock() + seconds
    while True:
        try:
            return cluster.apply(_owned(cluster, document, owner))
        except (RequestRefused, Unavailable, WriteConflict) as error:
            if clock() >= deadline:
                raise
            reason = str(error)
        print(f"not yet: {reason}", flush=True)  # noqa: T201 - the log of a Job
        sleep(PAUSE_SECONDS)


def wait_until_ready(
    cluster: Cluster,
    namespace: str,
    name: str,
    *,
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Document:
    """Return the TextClassifier once it answers and no rollout is in progress. Prints each other state that it passes through.

    Raises ClusterError with the last state if it is not Ready within that time.
    """
    deadline, printed = clock() + seconds, ""
    while True:
        try:
            found = cluster.get(TEXT_CLASSIFIER, namespace, name)
            if found is not None and _is_ready(found):
                return found
            state = _state(found)
        except (RequestRefused, Unavailable) as error:
            state = str(error)
        if clock() >= deadline:
            raise ClusterError(f"TextClassifier {name} is not Ready after {seconds:g} s: {state}")
        if state != printed:
            print(f"not yet: {state}", flush=True)  # noqa: T201 - the log of a Job
        printed = state
        sleep(PAUSE_SECONDS)


def _is_ready(classifier: Document) -> bool:
    """Return whether it answers and no rollout is in progress. It may be training again."""
    status = classifier.get("status", {})
    is_current = status.get("observedGeneration") == classifier["metadata"]["generation"]
    return is_current and is_true(classifier, "Ready") and status["state"] != "RollingOut"


def _state(classifier: Document | None) -> str:
    if classifier is None:
        return "it does not exist"
    status = classifier.get("status", {})
    return ": ".join(status[each] for each in ("state", "message") if status.get(each)) or "no controller has seen it"


def _owned(cluster: Cluster, document: Document, owner: str) -> Document:
    namespace = document["metadata"]["namespace"]
    found = cluster.get(CONFIG_MAP, namespace, owner)
    if found is None:
        raise ClusterError(f"ConfigMap {owner} is gone: the release is being uninstalled")
    reference = {
        "apiVersion": CONFIG_MAP.api_version,
        "kind": CONFIG_MAP.kind,
        "name": owner,
        "uid": found["metadata"]["uid"],
    }
    return {
        **document,
        "apiVersion": TEXT_CLASSIFIER.api_version,
        "kind": TEXT_CLASSIFIER.kind,
        "metadata": {**document["metadata"], "ownerReferences": [reference]},
    }
