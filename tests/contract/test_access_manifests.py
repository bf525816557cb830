"""Examples of an Ingress and an HTTPRoute: they lead to the predictor, for requests only, and each has authentication."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

MANIFESTS = Path(__file__).parents[2] / "k8s" / "manifests"
Document = dict[str, Any]


def read(path: str) -> dict[str, Document]:
    return {each["kind"]: each for each in yaml.safe_load_all((MANIFESTS / path).read_text())}


def classifier() -> str:
    return str(read("03-inference-service.yaml")["InferenceService"]["metadata"]["name"])


def test_the_ingress_leads_requests_to_the_predictor_with_a_password() -> None:
    them = read("access/01-ingress.yaml")
    (rule,), (tls,) = them["Ingress"]["spec"]["rules"], them["Ingress"]["spec"]["tls"]

    for path in rule["http"]["paths"]:
        assert path["backend"]["service"] == {"name": f"{classifier()}-predictor", "port": {"number": 80}}
    assert {path["path"] for path in rule["http"]["paths"]} == {"/v1", "/v2"}
    assert tls["hosts"] == [rule["host"]]
    middleware = them["Middleware"]
    (name, provider) = them["Ingress"]["metadata"]["annotations"]["traefik.ingress.kubernetes.io/router.middlewares"].split("@")
    assert (name, provider) == (f"labelwright-{middleware['metadata']['name']}", "kubernetescrd")
    assert middleware["spec"]["basicAuth"]["secret"]


def test_the_route_leads_requests_to_the_predictor_with_a_key() -> None:
    them = read("access/02-http-route.yaml")
    (rule,), (target,) = them["HTTPRoute"]["spec"]["rules"], them["SecurityPolicy"]["spec"]["targetRefs"]

    assert rule["backendRefs"] == [{"name": f"{classifier()}-predictor", "port": 80}]
    assert {each["path"]["value"] for each in rule["matches"]} == {"/v1", "/v2"}
    assert (target["kind"], target["name"]) == ("HTTPRoute", them["HTTPRoute"]["metadata"]["name"])
    assert them["SecurityPolicy"]["spec"]["apiKeyAuth"]["credentialRefs"]


def test_neither_has_a_password_or_a_namespace() -> None:
    for path in sorted((MANIFESTS / "access").iterdir()):
        for each in read(f"access/{path.name}").values():
            assert each["kind"] != "Secret"
            assert "namespace" not in each["metadata"]
            assert f"k8s/manifests/access/{path.name}" in path.read_text()
            assert "users:" not in json.dumps(each)
