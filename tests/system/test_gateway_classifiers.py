"""Classifiers of a namespace behind the gateway: found by their label, beside those of the settings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.support.gateway import answer, config, problem, running, submit, wait_until
from tests.support.kubernetes_api import NamespaceApi, namespace_api
from tests.support.redis import RedisProcess
from tests.support.servers import RunningServer

NAMESPACE = "shop"


@pytest.fixture
def namespace(tmp_path: Path) -> Iterator[NamespaceApi]:
    with namespace_api(tmp_path, NAMESPACE) as api:
        yield api


def test_classifiers_are_found_by_their_label_beside_those_of_the_settings(
    tmp_path: Path, redis: RedisProcess, namespace: NamespaceApi, papers_predictor: RunningServer
) -> None:
    namespace.labelled, namespace.unlabelled = ["papers", "products"], ["other"]
    environment = {"KUBECONFIG": str(namespace.kubeconfig)}
    with ExitStack() as stack:
        settings = config(tmp_path, redis.address, papers_predictor.rest, discover_namespace=NAMESPACE)
        worker = stack.enter_context(running("worker", settings, tmp_path / "worker.log", environment=environment))
        api = stack.enter_context(running("api", settings, tmp_path / "api.log", environment=environment))
        client = stack.enter_context(httpx.Client(base_url=api.address, timeout=40))
        api.wait_for(re.compile("classifiers: papers, products"))

        assert answer(client, submit(client, "cs.LG"))["classifier"] == "papers", (
            "the default one, at the address of the settings"
        )
        assert client.post("/api/predict/", json={"article": "x", "classifier": "products"}).status_code == 202
        worker.wait_for(re.compile("http://products-predictor.shop.svc/v2/models/products/infer"))
        refused = client.post("/api/predict/", json={"article": "x", "classifier": "other"})
        assert problem(refused) == (422, "unknown-classifier")
        assert refused.json()["detail"] == 'classifier is "other": expected one of papers, products.'

        namespace.labelled.append("news")
        news = {"article": "x", "classifier": "news"}
        wait_until(lambda: client.post("/api/predict/", json=news).status_code == 202)
        namespace.refuses = True
        api.wait_for(re.compile("cannot list the InferenceServices of namespace shop: 403"))
        assert client.post("/api/predict/", json=news).status_code == 202, "they stay as they were"


def test_before_the_namespace_has_been_read_an_unknown_classifier_may_exist(
    tmp_path: Path, redis: RedisProcess, namespace: NamespaceApi
) -> None:
    namespace.refuses = True
    settings = config(tmp_path, redis.address, None, discover_namespace=NAMESPACE)
    environment = {"KUBECONFIG": str(namespace.kubeconfig)}
    with (
        running("api", settings, tmp_path / "api.log", environment=environment) as api,
        httpx.Client(base_url=api.address, timeout=40) as client,
    ):
        api.wait_for(re.compile("403"))
        early = client.post("/api/predict/", json={"article": "x"})
        assert problem(early) == (503, "classifiers-unknown")
        assert early.headers["Retry-After"] == "5"

        namespace.refuses = False
        none = wait_until(lambda: _unless(503, client.post("/api/predict/", json={"article": "x"})))
        assert none.json()["detail"] == "classifier is missing, and there is no default one: there is none yet."
        namespace.labelled.append("news")
        wait_until(lambda: client.post("/api/predict/", json={"article": "x"}).status_code == 202)


def _unless(status: int, response: httpx.Response) -> httpx.Response | None:
    return None if response.status_code == status else response
