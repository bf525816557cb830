"""Reading of documents of the Kubernetes API. Errors name the field as it is written in the document."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from k8s.controller.api.v1alpha1.fields import Resource
from k8s.controller.api.v1alpha1.text_classifier import TextClassifierSpec, TextClassifierStatus
from k8s.controller.api.v1alpha1.training_run import TrainingRunSpec, TrainingRunStatus

Read = TypeVar("Read", bound=Resource)


class SpecRejected(Exception):
    """Error in a spec. The message names the field, its value and what was expected."""


def read_text_classifier(document: Mapping[str, Any]) -> TextClassifierSpec:
    """Return the spec of a TextClassifier. Raises SpecRejected."""
    return _read(TextClassifierSpec, "spec", document)


def read_text_classifier_status(document: Mapping[str, Any]) -> TextClassifierStatus:
    """Return the status of a TextClassifier, empty if there is none yet. Raises SpecRejected."""
    return _read(TextClassifierStatus, "status", document)


def read_training_run(document: Mapping[str, Any]) -> TrainingRunSpec:
    """Return the spec of a TrainingRun. Raises SpecRejected."""
    return _read(TrainingRunSpec, "spec", document)


def read_training_run_status(document: Mapping[str, Any]) -> TrainingRunStatus:
    """Return the status of a TrainingRun, empty if there is none yet. Raises SpecRejected."""
    return _read(TrainingRunStatus, "status", document)


def _read(kind: type[Read], part: str, document: Mapping[str, Any]) -> Read:
    try:
        return kind.model_validate_json(json.dumps(document.get(part) or {}), strict=True)  # "no" is no boolean, nor "7" a number
    except ValidationError as error:
        raise SpecRejected("; ".join(_explain(part, each) for each in error.errors())) from error


def _explain(part: str, error: Any) -> str:
    """Return one of pydantic's errors as a sentence, such as `spec.dataset.uri is 'ftp://x': expected …`."""
    context = error.get("ctx", {})
    blamed = [context["path"]] if error["type"] == "rule" and context["path"] else []
    where = part + "".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in (*error["loc"], *blamed))
    match error["type"]:
        case "missing":
            return f"{where} is missing"
        case "extra_forbidden":
            return f"{where} is not a field"
        case "rule":
            return f"{where}: {context['message']}"
        case "string_pattern_mismatch":
            return f"{where} is {error['input']!r}: expected a text that matches {context['pattern']}"
        case "literal_error" | "enum":
            return f"{where} is {error['input']!r}: expected {context['expected']}"
        case _:
            message = error["msg"].removeprefix("Value error, ").replace("Tuple", "List").replace(" after validation", "")
            return f"{where} is {error['input']!r}: {message[0].lower()}{message[1:]}"
