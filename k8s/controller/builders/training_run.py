"""TrainingRun that a classifier's spec asks for."""

from __future__ import annotations

from k8s.controller.objects import names
from k8s.controller.objects.documents import owner
from k8s.controller.objects.kinds import Document

# Fields of a classifier's spec that are copied to a run.
RUN_FIELDS = ("dataset", "training", "storage", "gate")


def training_run(classifier: Document, *, sequence: int, previous: str, trigger: Document, served: Document | None) -> Document:
    """Return a TrainingRun. previous: name of the previous run, or "". served: version, uri and digest to compare with."""
    metadata = classifier["metadata"]
    name = names.run_name(
        metadata["name"],
        metadata["uid"],
        sequence=sequence,
        previous=previous,
        reason=trigger["reason"],
        token=trigger["token"],
    )
    return {
        "apiVersion": classifier["apiVersion"],
        "kind": "TrainingRun",
        "metadata": {"name": name, "namespace": metadata["namespace"], **belonging(classifier, sequence=sequence)},
        "spec": {
            "classifier": metadata["name"],
            **asked_for(classifier),
            "trigger": trigger,
            **({"served": served} if served else {}),
        },
    }


def belonging(classifier: Document, *, sequence: int) -> Document:
    """Return the metadata that makes a run the classifier's, with its position among the runs."""
    return {
        "labels": names.labels("trainer", classifier=classifier["metadata"]["name"]),
        "annotations": {names.SEQUENCE: str(sequence)},
        "ownerReferences": [owner(classifier)],
    }


def asked_for(classifier: Document) -> Document:
    """Return the part of a classifier's spec that defines a training."""
    spec = classifier["spec"]
    return {field: spec[field] for field in RUN_FIELDS if field in spec}
