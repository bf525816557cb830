"""Names and labels of objects. A name is derived from its purpose, so that no object is created twice.

A reconciliation that is repeated, or that has read an old state, computes the same name, which then exists already.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from k8s.controller.api.v1alpha1 import GROUP

KSERVE_GROUP = "serving.kserve.io"
CLASSIFIER = f"{GROUP}/classifier"  # label of all objects of a TextClassifier
SEQUENCE = f"{GROUP}/sequence"  # annotation of a TrainingRun: position among the classifier's runs
SUPERSEDED = f"{GROUP}/superseded"  # annotation of a TrainingRun that the controller has stopped
STAYS_SERVED = f"{GROUP}/stays-served"  # annotation of a run: its version was served when the gate changed
FILES = f"{GROUP}/files"  # annotation of a TrainingRun whose version's files were deleted
FINALIZER = f"{GROUP}/versions"  # of a TextClassifier whose versions are deleted with it
MANAGER = "labelwright"

SOURCE = f"internal.{KSERVE_GROUP}/storage-initializer-sourceuri"  # KServe's annotation of Pods: address of the served version
SERVED_BY = f"{KSERVE_GROUP}/inferenceservice"  # KServe's label on Pods and Deployments


def labels(component: str, *, classifier: str) -> dict[str, str]:
    """Return the labels of an object that is created for a classifier."""
    return {**made_for(classifier), "app.kubernetes.io/name": "labelwright", "app.kubernetes.io/component": component}


def made_for(classifier: str) -> dict[str, str]:
    """Return the labels that select all objects created for a classifier."""
    return {"app.kubernetes.io/managed-by": MANAGER, CLASSIFIER: classifier}


def run_name(classifier: str, uid: str, *, sequence: int, previous: str, reason: str, token: str) -> str:
    """Return the name of a TrainingRun, its Job and its version, such as `arxiv-3-5f2b8c`."""
    return f"{classifier}-{sequence}-{digest([uid, sequence, previous, reason, token])[:6]}"


def check_name(classifier: str, slot: int) -> str:
    """Return the name of the Job that checks the dataset in that interval."""
    return f"{classifier}-dataset-{slot}"


def prune_name(classifier: str, versions: tuple[str, ...]) -> str:
    """Return the name of the Job that deletes the files of these versions."""
    return f"{classifier}-prune-{digest(versions)[:8]}"


def deployment(classifier: str) -> str:
    """Return the name of KServe's Deployment for a classifier's InferenceService."""
    return f"{classifier}-predictor"


def version_uri(storage: str, classifier: str, version: str) -> str:
    """Return the address of a version. The "/" at the end keeps KServe from fetching versions whose names start the same."""
    return f"{storage.rstrip('/')}/{classifier}/{version}/"


def lies_in(uri: str, storage: str) -> bool:
    """Return whether the address is below that of the storage."""
    return uri.startswith(f"{storage.rstrip('/')}/")


def digest(what: Any) -> str:
    """Return the SHA-256 of a value as JSON."""
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()
