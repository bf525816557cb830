"""Examples of an Ingress and an HTTPRoute against the schemas of Kubernetes, the Gateway API, Traefik and Envoy Gateway.

The schemas are files of Go modules. A case is skipped where its module is not in the module cache, where `go mod download MODULE`
puts it.
The API server's own rules are asked in tests/cluster/test_access.py.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

Document = dict[str, Any]
ACCESS = Path(__file__).parents[2] / "k8s" / "manifests" / "access"
MODULES = Path(os.environ.get("GOMODCACHE") or Path(os.environ.get("GOPATH") or Path.home() / "go") / "pkg" / "mod")
# The oldest versions that the manifests name, or the newest there is.
SCHEMAS = {
    "Ingress": ("k8s.io/kubernetes@v1.34.4", "api/openapi-spec/v3/apis__networking.k8s.io__v1_openapi.json"),
    "HTTPRoute": ("sigs.k8s.io/gateway-api@v1.6.3", "config/crd/standard/gateway.networking.k8s.io_httproutes.yaml"),
    "Middleware": (
        "github.com/traefik/traefik/v3@v3.7.13",
        "docs/content/reference/dynamic-configuration/traefik.io_middlewares.yaml",
    ),
    "SecurityPolicy": (
        "github.com/envoyproxy/gateway@v1.3.0",
        "charts/gateway-helm/crds/generated/gateway.envoyproxy.io_securitypolicies.yaml",
    ),
}
EXAMPLES = {each["kind"]: each for path in sorted(ACCESS.iterdir()) for each in yaml.safe_load_all(path.read_text())}


def test_every_kind_of_the_examples_has_a_schema_here() -> None:
    assert EXAMPLES.keys() == SCHEMAS.keys()


@pytest.mark.parametrize("kind", SCHEMAS)
def test_an_example_fits_the_schema_of_its_kind(kind: str) -> None:
    errors = validator(EXAMPLES[kind]).iter_errors(EXAMPLES[kind])

    assert [f"{each.json_path}: {each.message}" for each in errors] == []


@pytest.mark.parametrize("kind", SCHEMAS)
def test_a_field_with_another_name_does_not_fit_it(kind: str) -> None:
    found = validator(EXAMPLES[kind])
    for changed in misspelt(EXAMPLES[kind]):
        assert not found.is_valid(changed), changed


def misspelt(document: Document) -> Iterator[Document]:
    """Yield copies of the object, each with another name for one field of its spec."""
    for path in paths(document["spec"], ("spec",)):
        changed: Any = copy.deepcopy(document)
        holder = changed
        for part in path[:-1]:
            holder = holder[part]
        holder[f"{path[-1]}Misspelt"] = holder.pop(path[-1])
        yield changed


def paths(value: Any, above: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    """Yield the place of each field below a value."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield (*above, name)
            yield from paths(each, (*above, name))
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from paths(each, (*above, index))


def validator(document: Document) -> jsonschema.Draft202012Validator:
    """Return a validator of the kind and version, which refuses unknown fields as `kubectl --validate=strict` does."""
    module, name = SCHEMAS[document["kind"]]
    file = MODULES / module / name
    if not file.exists():
        pytest.skip(f"needs the Go module {module}")
    found = yaml.load(file.read_text(), Loader=yaml.CSafeLoader)
    group, _, version = document["apiVersion"].partition("/")
    if found.get("kind") != "CustomResourceDefinition":
        schemas = found["components"]["schemas"]
        (this,) = (name for name, each in schemas.items() if _is_of(each, group, version, document["kind"]))
        return jsonschema.Draft202012Validator({**_closed(found), "$ref": f"#/components/schemas/{this}"})
    assert found["spec"]["group"] == group
    (schema,) = (each["schema"]["openAPIV3Schema"] for each in found["spec"]["versions"] if each["name"] == version)
    schema["properties"]["metadata"] = {"type": "object", "properties": {"name": {}, "annotations": {}}}
    return jsonschema.Draft202012Validator(_closed(schema))


def _is_of(schema: Document, group: str, version: str, kind: str) -> bool:
    return {"group": group, "version": version, "kind": kind} in schema.get("x-kubernetes-group-version-kind", ())


def _closed(schema: Any) -> Any:
    """Return the schema without the permission for unknown fields that JSON Schema gives."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: _closed(each) for name, each in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        found.setdefault("additionalProperties", schema.get("x-kubernetes-preserve-unknown-fields", False))
    return found
