"""Translation of pydantic's JSON schema to a structural schema, the subset of OpenAPI v3 that a CRD may contain.

A structural schema has no references and no null, and its exclusive bounds are booleans. An object gets a default if one of its
fields has one, so `training: {}` and a missing training are equal.
"""

from __future__ import annotations

from typing import Any

from k8s.controller.api.v1alpha1.fields import RULES, Resource

Schema = dict[str, Any]

# Order of the keys in YAML: description and type first, then bounds, then parts.
_ORDER = (
    *("description", "type", "format", "default", "enum", "pattern", "minLength", "maxLength"),
    *("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum", "minItems", "maxItems", "minProperties", "maxProperties"),
    *(
        "x-kubernetes-int-or-string",
        "x-kubernetes-preserve-unknown-fields",
        "x-kubernetes-list-type",
        "x-kubernetes-list-map-keys",
    ),
    *(RULES, "required", "anyOf", "items", "additionalProperties", "properties"),
)


def structural(kind: type[Resource]) -> Schema:
    """Return the structural schema of a type. Raises ValueError for a keyword that a CRD may not contain."""
    schema = kind.model_json_schema(by_alias=True, mode="validation")
    return _structural(schema, schema.get("$defs", {}))


def _structural(schema: Schema, types: dict[str, Schema]) -> Schema:
    found = _without_null(_without_reference(schema, types), types)
    for unwanted in ("title", "$defs", "$ref"):
        found.pop(unwanted, None)
    found = {name: value for name, value in found.items() if value is not None}
    _translate_bounds(found)
    _translate_children(found, types)
    if found.get("type") == "integer":
        found["format"] = "int64"
    if RULES in found:
        found[RULES] = [{name: rule[name] for name in ("rule", "message", "fieldPath") if name in rule} for rule in found[RULES]]
    unknown = set(found) - set(_ORDER)
    if unknown:
        raise ValueError(f"a CRD cannot say {', '.join(sorted(unknown))}: {found}")
    return {name: found[name] for name in _ORDER if name in found}


def _without_reference(schema: Schema, types: dict[str, Schema]) -> Schema:
    """Replace a reference by its type's schema. Keywords beside the reference win."""
    if "$ref" not in schema:
        return dict(schema)
    return {**types[schema["$ref"].rpartition("/")[2]], **schema}


def _without_null(schema: Schema, types: dict[str, Schema]) -> Schema:
    """Remove null from the options: an optional field is absent, never null."""
    options = [each for each in schema.get("anyOf", []) if each != {"type": "null"}]
    if len(options) == len(schema.get("anyOf", [])):
        return schema
    (option,) = options
    beside = {name: value for name, value in schema.items() if name not in ("anyOf", "default")}
    return {**_without_reference(option, types), **beside}


def _translate_bounds(schema: Schema) -> None:
    for excluding, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if excluding in schema:
            schema[bound] = schema.pop(excluding)
            schema[excluding] = True
    if "const" in schema:
        schema["enum"] = [schema.pop("const")]


def _translate_children(schema: Schema, types: dict[str, Schema]) -> None:
    if "items" in schema:
        schema["items"] = _structural(schema["items"], types)
    values = schema.pop("additionalProperties", False)
    if isinstance(values, dict):
        schema["additionalProperties"] = _structural(values, types)
    if "properties" in schema:
        schema["properties"] = {name: _structural(each, types) for name, each in schema["properties"].items()}
    if "default" in schema:
        _translate_default(schema)


def _translate_default(schema: Schema) -> None:
    """Keep the defaults of an object's fields in its default, since Kubernetes checks rules against it; drop an empty default."""
    schema["default"] = _without_what_is_empty(schema["default"])
    if schema["default"] in ({}, []):
        del schema["default"]


def _without_what_is_empty(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    found = {name: _without_what_is_empty(each) for name, each in value.items()}
    return {name: each for name, each in found.items() if each is not None and each not in ({}, [])}
