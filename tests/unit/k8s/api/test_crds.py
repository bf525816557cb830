"""The CRDs say what the types say, in what Kubernetes understands, and as a user wants to read it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from k8s.controller.api.crds import DEFINITIONS, TEXT_CLASSIFIER, TRAINING_RUN, Definition, crd, files, template
from k8s.controller.api.schemas import structural
from k8s.controller.api.v1alpha1.fields import Rule, SpecModel
from tests.support.kubernetes.specs import Document

KINDS = [each.kind for each in DEFINITIONS]


def _every(schema: Document, path: str = "") -> Iterator[tuple[str, Document]]:
    """Every schema within it, by its path."""
    yield path, schema
    for name, each in schema.get("properties", {}).items():
        yield from _every(each, f"{path}.{name}")
    for name in ("items", "additionalProperties"):
        if name in schema:
            yield from _every(schema[name], f"{path}.*")


def _schema(definition: Definition) -> Document:
    (version,) = crd(definition)["spec"]["versions"]
    schema: Document = version["schema"]["openAPIV3Schema"]
    return schema


class _Inner(SpecModel):
    """What the type says of itself."""

    number: Annotated[float, Field(gt=0, lt=1)] | None = None
    choice: Literal["only"] = "only"


class _Outer(SpecModel):
    """Outer."""

    inner: _Inner = Field(default=_Inner(), description="What the field says of it.")
    plain: _Inner
    names: dict[str, int] = Field(default={}, max_length=2, description="By name.")
    rules = (Rule("has(self.plain)", "expected plain", lambda _: True, "plain"),)


def test_a_type_becomes_a_structural_schema() -> None:
    inner = {
        "type": "object",
        "properties": {
            "number": {"type": "number", "minimum": 0, "exclusiveMinimum": True, "maximum": 1, "exclusiveMaximum": True},
            "choice": {"type": "string", "default": "only", "enum": ["only"]},
        },
    }
    assert structural(_Outer) == {
        "description": "Outer.",
        "type": "object",
        "x-kubernetes-validations": [{"rule": "has(self.plain)", "message": "expected plain", "fieldPath": ".plain"}],
        "required": ["plain"],
        "properties": {
            "inner": {"description": "What the field says of it.", "default": {"choice": "only"}, **inner},
            "plain": {"description": "What the type says of itself.", **inner},
            "names": {
                "description": "By name.",
                "type": "object",
                "maxProperties": 2,
                "additionalProperties": {"type": "integer", "format": "int64"},
            },
        },
    }


def test_what_a_crd_cannot_say_is_refused() -> None:
    class Odd(SpecModel):
        """Odd."""

        number: Annotated[int, Field(multiple_of=2)]

    with pytest.raises(ValueError, match="a CRD cannot say multipleOf"):
        structural(Odd)


@pytest.mark.parametrize("definition", DEFINITIONS, ids=KINDS)
def test_every_field_is_described_in_a_sentence(definition: Definition) -> None:
    found = _schema(definition)["properties"]
    described = {
        path: each.get("description", "")
        for part in ("spec", "status")
        for path, each in _every(found[part], part)
        if not path.endswith("*")
    }
    assert [path for path, text in described.items() if not text.endswith(".")] == []


@pytest.mark.parametrize("definition", DEFINITIONS, ids=KINDS)
def test_everything_in_a_spec_has_a_limit_so_that_rules_are_cheap(definition: Definition) -> None:
    for path, each in _every(_schema(definition)["properties"]["spec"], "spec"):
        limits: dict[Any, set[str]] = {
            "string": {"maxLength", "enum"},
            "array": {"maxItems"},
            "integer": {"maximum"},
            "number": {"maximum"},
            None: {"maxLength"},
        }
        if "additionalProperties" in each:
            assert "maxProperties" in each, path
        elif each.get("type") not in ("object", "boolean"):
            assert limits[each.get("type")] & set(each), path


def test_conditions_are_a_map_by_type_and_only_the_result_holds_what_is_unknown() -> None:
    schemas = {path: each for definition in DEFINITIONS for path, each in _every(_schema(definition), definition.kind)}

    assert schemas["TextClassifier.status.conditions"]["x-kubernetes-list-map-keys"] == ["type"]
    assert [path for path, each in schemas.items() if "x-kubernetes-preserve-unknown-fields" in each] == [
        "TrainingRun.status.result"
    ]


@pytest.mark.parametrize(
    ("definition", "columns"),
    [
        pytest.param(TEXT_CLASSIFIER, ["Version", "Score", "State", "Ready", "Gate", "Age", "Run", "Message"], id="classifier"),
        pytest.param(
            TRAINING_RUN,
            ["Date", "Dataset", "Path", "MLflow", "Checkpoint", "F1", "Minimum", "Weights", "State", "Message"],
            id="run",
        ),
    ],
)
def test_columns_come_in_order(definition: Definition, columns: list[str]) -> None:
    assert [each.name for each in definition.columns] == columns


@pytest.mark.parametrize("definition", DEFINITIONS, ids=KINDS)
def test_columns_show_fields_that_there_are(definition: Definition) -> None:
    known = {path for path, _ in _every(_schema(definition))} | {".metadata.creationTimestamp"}
    shown = {re.sub(r"\[\?\(@\.type==\"\w+\"\)\]", ".*", each.path) for each in definition.columns}

    assert shown <= known


def test_a_description_that_helm_would_read_is_refused() -> None:
    class Odd(SpecModel):
        """Such as {{ .Name }}."""

    with pytest.raises(ValueError, match="Helm"):
        template(Definition("Odd", "odds", "odd", "Odd.", 40, Odd, TEXT_CLASSIFIER.status, ()))


def test_the_files_are_the_same_each_time() -> None:
    assert files() == files()
