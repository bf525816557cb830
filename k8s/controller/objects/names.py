"""What things are called: every name follows from what it stands for, so that nothing is made twice.

A pass that is repeated, or that acts on what it read too long ago, computes the same name again and finds it taken.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from k8s.controller.api.v1alpha1 import GROUP

KSERVE_GROUP = "serving.kserve.io"
CLASSIFIER = f"{GROUP}/classifier"  # label of all that belongs to a TextClassifier
SEQUENCE = f"{GROUP}/sequence"  # annotation of a TrainingRun: the how-manieth of its classifier it is
SUPERSEDED = f"{GROUP}/superseded"  # annotation of a TrainingRun that the controller has stopped
STAYS_SERVED = f"{GROUP}/stays-served"  # annotation of a run: its version was served when the gate changed
FILES = f"{GROUP}/files"  # annotation of a TrainingRun: what became of the files of its version
FINALIZER = f"{GROUP}/versions"  # of a TextClassifier whose versions are deleted with it
MANAGER = "labelwright"

SOURCE = f"internal.{KSERVE_GROUP}/storage-initializer-sourceuri"  # KServe's note on a Pod of what it serves
SERVED_BY = f"{KSERVE_GROUP}/inferenceservice"  # KServe's label on Pods and Deployments


def labels(component: str, *, classifier: str) -> dict[str, str]:
    """Of everything that is made for a classifier."""
    return {**made_for(classifier), "app.kubernetes.io/name": "labelwright", "app.kubernetes.io/component": component}


def made_for(classifier: str) -> dict[str, str]:
    """By which all that was made for a classifier is found."""
    return {"app.kubernetes.io/managed-by": MANAGER, CLASSIFIER: classifier}


def run_name(classifier: str, uid: str, *, sequence: int, previous: str, reason: str, token: str) -> str:
    """Of a TrainingRun, its Job and its version: `arxiv-3-5f2b8c`."""
    return f"{classifier}-{sequence}-{digest([uid, sequence, previous, reason, token])[:6]}"


def check_name(classifier: str, slot: int) -> str:
    """Of the Job that looks whether the dataset has changed, in that stretch of time."""
    return f"{classifier}-dataset-{slot}"


def prune_name(classifier: str, versions: tuple[str, ...]) -> str:
    """Of the Job that deletes the files of these versions."""
    return f"{classifier}-prune-{digest(versions)[:8]}"


def deployment(classifier: str) -> str:
    """KServe's, for the InferenceService of that name."""
    return f"{classifier}-predictor"


def version_uri(storage: str, classifier: str, version: str) -> str:
    """Where a version lies; with the "/" at the end, or KServe fetches its longer neighbours, too."""
    return f"{storage.rstrip('/')}/{classifier}/{version}/"


def lies_in(uri: str, storage: str) -> bool:
    """Whether it is below that address, and not merely begins like it."""
    return uri.startswith(f"{storage.rstrip('/')}/")


def digest(what: Any) -> str:
    """The same for what is equal as JSON."""
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()
