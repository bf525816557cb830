"""A TrainingRun of a classifier: what its spec asks for now, and why."""

from __future__ import annotations

from k8s.controller.objects import names
from k8s.controller.objects.documents import owner
from k8s.controller.objects.kinds import Document

# Of a classifier's spec, what a run is made of. What decides only how a result is judged or served is not in it.
RUN_FIELDS = ("dataset", "training", "storage", "gate")


def training_run(classifier: Document, *, sequence: int, previous: str, trigger: Document, served: Document | None) -> Document:
    """previous: the name of the run before, "" for the first. served: what it has to be as good as: version, uri, digest."""
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
    """The metadata by which a run is known as the classifier's, and its place among them."""
    return {
        "labels": names.labels("trainer", classifier=classifier["metadata"]["name"]),
        "annotations": {names.SEQUENCE: str(sequence)},
        "ownerReferences": [owner(classifier)],
    }


def asked_for(classifier: Document) -> Document:
    """The part of the spec that a training is made of."""
    spec = classifier["spec"]
    return {field: spec[field] for field in RUN_FIELDS if field in spec}
