"""Specs with every field set, and an invalid value for each field, on which API server and controller agree."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from typing import Any

from k8s.controller.api.crds import Definition
from k8s.controller.api.schemas import structural

Document = dict[str, Any]
API = "labelwright.dev/v1alpha1"

DATASET: Document = {
    "uri": "s3://datasets/papers/",
    "testUri": "hf://owner/papers",
    "corrections": "s3://feedback/feedback/papers/",
    "textColumns": ["title", "abstract"],
    "labelColumn": "categories",
    "labelSeparator": " ",
    "labelRequired": False,
    "aliases": {"cs.NA": "math.NA"},
    "sampleCount": 1000,
    "minimumExamples": 5,
}
TRAINING: Document = {
    "architecture": "transformer",
    "baseModel": "s3://models/base/minilm/",
    "epochs": 1.5,
    "batchSize": 16,
    "learningRate": 0.0005,
    "maxLength": 128,
    "seed": 7,
    "balance": {"strategy": "oversample", "threshold": 100, "share": 0.5, "loss": "focal"},
    "nodes": 2,
    "resources": {"requests": {"cpu": 1, "memory": "2Gi"}, "limits": {"memory": "4Gi", "nvidia.com/gpu": "1"}},
    "nodeSelector": {"pool": "gpu"},
    "tolerations": [
        {"key": "gpu", "operator": "Equal", "value": "yes", "effect": "NoExecute", "tolerationSeconds": 60},
        {"operator": "Exists"},
    ],
    "timeout": "1h30m",
    "tracking": {"uri": "http://mlflow:5000", "experiment": "papers"},
}
GATE: Document = {"score": "macro-f1", "minimum": 0.4, "tolerance": 0.01, "servedMayFall": True, "approve": "papers-1a2b3c4d"}
STORAGE: Document = {"uri": "s3://models/published", "secretName": "labelwright-s3", "deletionPolicy": "Delete"}
CLASSIFIER: Document = {
    "dataset": DATASET,
    "training": TRAINING,
    "triggers": {
        "schedule": "0 3 * * 1",
        "timeZone": "Europe/Berlin",
        "datasetChange": True,
        "datasetCheckInterval": "10s",
        "feedback": {"corrections": 100},
        "drift": {"index": 0.2},
    },
    "gate": GATE,
    "serving": {
        "version": "papers-1a2b3c4d",
        "manifestSha256": "5" * 64,
        "replicas": {"minimum": 2, "maximum": 4},
        "resources": {"requests": {"cpu": "500m"}, "limits": {"memory": "1Gi"}},
        "secretName": "labelwright-s3-readers",
        "nodeSelector": {"pool": "serving"},
        "tolerations": [{"key": "serving", "operator": "Equal", "value": "yes", "effect": "NoExecute", "tolerationSeconds": 60}],
        "rollout": {"strategy": "rolling", "deadline": "5m"},
    },
    "storage": STORAGE,
    "history": {"runs": 3, "versions": 2},
    "suspend": True,
}
RUN: Document = {
    "classifier": "papers",
    "dataset": DATASET,
    "training": TRAINING,
    "gate": GATE,
    "storage": STORAGE,
    "served": {"version": "papers-1a2b3c4d", "uri": "s3://models/published/papers/papers-1a2b3c4d/", "manifestSha256": "a" * 64},
    "trigger": {"reason": "Schedule", "token": "2026-11-23T03:00:00Z", "message": "It is three o'clock on a Monday."},
    "cancelled": True,
}
FULL: Mapping[str, Document] = {"TextClassifier": CLASSIFIER, "TrainingRun": RUN}
# Only one of the two: what is set here takes the other's place.
RIVALS = {"spec.dataset.labelColumns": "spec.dataset.labelColumn", "spec.storage.serviceAccountName": "spec.storage.secretName"}

_DATASET_WRONG: Document = {
    "": "s3://datasets/papers/",
    ".uri": "ftp://datasets/papers",
    ".testUri": "papers.csv",
    ".corrections": "hf://owner/papers",
    ".textColumns": [],
    ".textColumns[0]": "",
    ".labelColumn": "title",
    ".labelColumns": ["abstract", "cs.LG"],
    ".labelColumns[0]": "",
    ".labelSeparator": "seventeen letters",
    ".labelRequired": "no",
    ".aliases": ["cs.NA"],
    ".aliases.*": "x" * 257,
    ".sampleCount": 0,
    ".minimumExamples": 0,
}
_RESOURCES_WRONG: Document = {
    "": "4Gi",
    ".requests": ["cpu"],
    ".requests.*": "two",
    ".limits": "memory",
    ".limits.*": -1,
}
_PLACE_WRONG: Document = {
    ".nodeSelector": "gpu",
    ".nodeSelector.*": "not a label",
    ".tolerations": "gpu",
    ".tolerations[0]": "gpu",
    ".tolerations[0].key": "",
    ".tolerations[0].operator": "In",
    ".tolerations[0].value": "not a label",
    ".tolerations[0].effect": "Never",
    ".tolerations[0].tolerationSeconds": -1,
}
_TRAINING_WRONG: Document = {
    "": "auto",
    ".architecture": "forest",
    ".baseModel": "",
    ".epochs": 0,
    ".batchSize": 0,
    ".learningRate": 0,
    ".maxLength": 7,
    ".seed": 2**32,
    ".balance": "oversample",
    ".balance.strategy": "smote",
    ".balance.threshold": 0,
    ".balance.share": 4.5,
    ".balance.loss": "hinge",
    ".nodes": 65,
    **{f".resources{path}": value for path, value in _RESOURCES_WRONG.items()},
    **_PLACE_WRONG,
    ".timeout": "3 days",
    ".tracking": "http://mlflow:5000",
    ".tracking.uri": "mlflow:5000",
    ".tracking.experiment": "",
}
_GATE_WRONG: Document = {
    "": 0.4,
    ".score": "f1",
    ".minimum": 1.1,
    ".tolerance": -0.1,
    ".servedMayFall": "yes",
    ".approve": "../other",
}
_STORAGE_WRONG: Document = {
    "": "s3://models",
    ".uri": "s3://models//published",
    ".secretName": "Not_A_Name",
    ".serviceAccountName": "",
    ".deletionPolicy": "Archive",
}
_SERVING_WRONG: Document = {
    ".secretName": "Not_A_Name",
    ".manifestSha256": "5" * 63,
    "": "rolling",
    ".version": "../other",
    ".replicas": 2,
    ".replicas.minimum": 0,
    ".replicas.maximum": 1,
    **{f".resources{path}": value for path, value in _RESOURCES_WRONG.items()},
    **_PLACE_WRONG,
    ".rollout": "rolling",
    ".rollout.strategy": "canary",
    ".rollout.deadline": "0s",
}
_TRIGGERS_WRONG: Document = {
    "": "@daily",
    ".schedule": "every Monday",
    ".timeZone": "somewhere else",
    ".datasetChange": "yes",
    ".datasetCheckInterval": "9s",
    ".feedback": 100,
    ".feedback.corrections": 0,
    ".drift": 0.2,
    ".drift.index": 0,
}


def _below(path: str, values: Document) -> Document:
    return {f"{path}{each}": value for each, value in values.items()}


# A wrong value for each field of each kind, by its path; `*` is any key of a map.
WRONG: Mapping[str, Document] = {
    "TextClassifier": {
        **_below("spec.dataset", _DATASET_WRONG),
        **_below("spec.training", _TRAINING_WRONG),
        **_below("spec.triggers", _TRIGGERS_WRONG),
        **_below("spec.gate", _GATE_WRONG),
        **_below("spec.serving", _SERVING_WRONG),
        **_below("spec.storage", _STORAGE_WRONG),
        **_below("spec.history", {"": 10, ".runs": 0, ".versions": 101}),
        "spec.suspend": "no",
    },
    "TrainingRun": {
        "spec.classifier": "Papers",
        **_below("spec.dataset", _DATASET_WRONG),
        **_below("spec.training", _TRAINING_WRONG),
        **_below("spec.gate", _GATE_WRONG),
        **_below("spec.storage", _STORAGE_WRONG),
        **_below("spec.served", {"": "papers-1a2b3c4d", ".version": "Not.A.Version", ".uri": "", ".manifestSha256": "a" * 63}),
        **_below("spec.trigger", {"": "Manual", ".reason": "Boredom", ".token": 7, ".message": ["Monday"]}),
        "spec.cancelled": "never",
    },
}


def full(kind: str, name: str = "papers") -> Document:
    """Return an object of a kind with every field set; of fields that exclude each other, the first."""
    return {"apiVersion": API, "kind": kind, "metadata": {"name": name}, "spec": copy.deepcopy(FULL[kind])}


def smallest(kind: str, name: str = "papers") -> Document:
    """Return an object of a kind with only the required fields set."""
    specs: dict[str, Document] = {
        "TextClassifier": {
            "dataset": {"uri": "s3://datasets/papers/"},
            "storage": {"uri": "s3://models", "secretName": "labelwright-s3"},
        },
        "TrainingRun": {"classifier": "papers"},
    }
    return {"apiVersion": API, "kind": kind, "metadata": {"name": name}, "spec": specs[kind]}


def with_value(document: Document, path: str, value: object, *, rivals: bool = False) -> Document:
    """Return a copy with this value at the path; None: without the field. The field's rival is removed, unless `rivals`.

    `*` is a key of the map that has one already, or `any`.
    """
    changed = copy.deepcopy(document)
    for rival in (RIVALS[each] for each in RIVALS if path.startswith(each) and not rivals):
        _put(changed, rival, None)
    _put(changed, path, value)
    return changed


def where(document: Document, path: str) -> str:
    """Return the path as messages name it, with the key that `with_value` chose."""
    keys = _keys(document, path)
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).removeprefix(".")


def fields(definition: Definition) -> list[str]:
    """Return the path of every field of the spec, including objects, maps, lists and their elements."""
    return [path for path, _ in _fields("spec", structural(definition.spec))][1:]


# Of each type of field, something that is not of it, though a generous reader would take it for it.
_OF_ANOTHER_TYPE = {"string": 7, "integer": "7", "number": "0.5", "boolean": "true", "array": "a,b", "object": "a: b"}


def of_another_type(definition: Definition) -> dict[str, Any]:
    """Return a value of a wrong type for every field of the spec that has a type, by path."""
    types = {path: schema.get("type") for path, schema in _fields("spec", structural(definition.spec)) if path != "spec"}
    return {path: _OF_ANOTHER_TYPE[kind] for path, kind in types.items() if kind is not None}


def _fields(path: str, schema: Document) -> Iterator[tuple[str, Document]]:
    yield path, schema
    for name, each in schema.get("properties", {}).items():
        yield from _fields(f"{path}.{name}", each)
    if "additionalProperties" in schema:
        yield from _fields(f"{path}.*", schema["additionalProperties"])
    if "items" in schema:
        yield from _fields(f"{path}[0]", schema["items"])


def _keys(document: Document, path: str) -> list[str | int]:
    keys: list[str | int] = []
    here: Any = document
    for name, index in re.findall(r"([^.\[\]]+)|\[(\d+)\]", path):
        key = int(index) if index else next(iter(here or {}), "any") if name == "*" else name
        keys.append(key)
        here = here.get(key) if isinstance(here, dict) else here[key] if here else None
    return keys


def _put(document: Document, path: str, value: object) -> None:
    """Set the value at a path; None: remove it."""
    *parents, last = _keys(document, path)
    here: Any = document
    for key, following in zip(parents, [*parents[1:], last], strict=True):
        empty: Any = [None] if isinstance(following, int) else {}
        here = here.setdefault(key, empty) if isinstance(here, dict) else here[int(key)]
    if value is None:
        here.pop(last, None)
    else:
        here[last] = value
