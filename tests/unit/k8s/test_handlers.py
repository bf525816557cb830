"""Which objects an event has looked at, and what is done where several events tell the same."""

from __future__ import annotations

import asyncio
from typing import Any

import kopf
import pytest

from k8s.controller import handlers
from k8s.controller.builders.serving import serving_runtime
from k8s.controller.objects import names
from k8s.controller.objects.kinds import SERVING_RUNTIME, Document
from k8s.controller.reconcile.apply_cache import ApplyCache
from k8s.controller.runtime.queue import Key, WorkQueue
from tests.support.fakes import Counting, FakeCluster
from tests.support.kubernetes.sights import IMAGES, classifier, job, run

ITSELF, ITS_RUN = Key("TextClassifier", "one", "papers"), Key("TrainingRun", "one", "papers-1-aaaaaa")


def owned(document: Document, *owners: tuple[str, str]) -> Document:
    references = [{"kind": kind, "name": name, "uid": name} for kind, name in owners]
    return {**document, "metadata": {**document["metadata"], "ownerReferences": references}}


@pytest.mark.parametrize(
    ("keys", "document", "expected"),
    [
        pytest.param(handlers.keys_of_classifier, classifier(), [ITSELF], id="classifier"),
        pytest.param(
            handlers.keys_of_classifier,
            classifier(status={"activeRun": "papers-1-aaaaaa"}),
            [ITSELF, ITS_RUN],
            id="classifier-and-the-run-whose-turn-it-is",
        ),
        pytest.param(handlers.keys_of_run, run("papers-1-aaaaaa").document, [ITS_RUN, ITSELF], id="run"),
        pytest.param(
            handlers.keys_of_run, {"metadata": {"name": "own", "namespace": "one"}}, [Key("TrainingRun", "one", "own")],
            id="run-of-its-own",
        ),
        pytest.param(
            handlers.keys_of_made, owned(job(), ("TrainingRun", "papers-1-aaaaaa")), [ITS_RUN], id="job-of-a-run"
        ),
        pytest.param(
            handlers.keys_of_made, owned(job(component="prune"), ("TextClassifier", "papers")), [ITSELF], id="job-of-a-classifier"
        ),
        pytest.param(
            handlers.keys_of_made, owned(job(), ("InferenceService", "papers")), [ITSELF], id="deployment-that-bears-our-labels"
        ),
        pytest.param(handlers.keys_of_made, {"metadata": {"name": "x", "namespace": "one"}}, [], id="somebody-elses"),
        pytest.param(
            handlers.keys_of_made, owned(job(), ("TrainingRun", "../../two/trainingruns/a")), [], id="an-owner-that-is-a-path"
        ),
    ],
)  # fmt: skip
def test_an_event_names_what_is_looked_at(keys: Any, document: Document, expected: list[Key]) -> None:
    assert keys(document) == expected


def test_kopf_writes_nothing_and_hears_only_of_what_is_ours() -> None:
    settings = handlers.settings()
    assert settings.posting.enabled is False
    assert set(settings.watching.label_selectors.values()) == {f"app.kubernetes.io/managed-by={names.MANAGER}"}


def _plural(handler: Any) -> str:
    return str(handler.selector.plural or handler.selector.any_name)


def test_each_kind_is_listened_to_once() -> None:
    registry, queue = kopf.OperatorRegistry(), WorkQueue()
    handlers.register(registry, queue, ApplyCache(), lambda _: None)
    found = [_plural(handler) for handler in registry._watching.get_all_handlers()]
    kinds = {"textclassifiers", "trainingruns", "jobs", "deployments", "inferenceservices", "servingruntimes"}
    assert sorted(found) == sorted(kinds)


def test_what_is_heard_is_looked_at() -> None:
    registry, queue = kopf.OperatorRegistry(), WorkQueue()
    handlers.register(registry, queue, ApplyCache(), lambda _: None)
    document: Any = {**RUNTIME, "metadata": {**RUNTIME["metadata"], "uid": "s", "generation": 1}}
    for handler in registry._watching.get_all_handlers():
        if _plural(handler) == "servingruntimes":
            asyncio.run(handler.fn(body=kopf.Body(document), type="MODIFIED"))  # type: ignore[arg-type, call-arg]
    assert queue.take(0) == ITSELF


# What was applied before.


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


RUNTIME = serving_runtime(classifier(), IMAGES)
OTHER = {**RUNTIME, "spec": {**RUNTIME["spec"], "multiModel": True}}


def calls(cluster: Counting) -> int:
    return cluster.calls["apply", "ServingRuntime"]


def test_what_is_so_already_is_not_applied_again() -> None:
    cluster, apply_cache = Counting(FakeCluster(collects=False)), ApplyCache()
    for _ in range(3):
        apply_cache.apply(cluster, RUNTIME)
    assert calls(cluster) == 1
    apply_cache.apply(cluster, OTHER)
    assert calls(cluster) == 2


def test_an_event_of_our_own_doing_is_no_news() -> None:
    cluster, apply_cache = FakeCluster(collects=False), ApplyCache()
    apply_cache.apply(cluster, RUNTIME)
    (there,) = cluster.everything()
    assert apply_cache.changed(there, deleted=False) is False


@pytest.mark.parametrize("deleted", [pytest.param(True, id="deleted"), pytest.param(False, id="changed")])
def test_what_somebody_else_did_is_news_and_is_made_good(deleted: bool) -> None:
    cluster, apply_cache = Counting(FakeCluster(collects=False)), ApplyCache()
    apply_cache.apply(cluster, RUNTIME)
    (there,) = cluster.cluster.everything()  # type: ignore[attr-defined]
    there["metadata"]["generation"] += not deleted
    assert apply_cache.changed(there, deleted=deleted) is True
    apply_cache.apply(cluster, RUNTIME)
    assert calls(cluster) == 2


def test_an_event_that_comes_before_the_answer_is_not_lost() -> None:
    """Somebody deletes it between its making and the answer to us."""
    apply_cache = ApplyCache()
    fake = FakeCluster(collects=False)
    cluster = Counting(fake)
    original = fake.apply

    def apply(document: Document) -> Document:
        found = original(document)
        fake.delete(SERVING_RUNTIME, "one", "papers")
        apply_cache.changed(found, deleted=True)
        return found

    fake.apply = apply  # type: ignore[method-assign]
    apply_cache.apply(cluster, RUNTIME)
    fake.apply = original  # type: ignore[method-assign]
    apply_cache.apply(cluster, RUNTIME)
    assert fake.get(SERVING_RUNTIME, "one", "papers") is not None


def test_after_a_while_it_is_applied_again_since_an_event_may_have_been_lost() -> None:
    clock = Clock()
    cluster, apply_cache = Counting(FakeCluster(collects=False)), ApplyCache(clock=clock)
    apply_cache.apply(cluster, RUNTIME)
    clock.now = 899
    apply_cache.apply(cluster, RUNTIME)
    assert calls(cluster) == 1
    clock.now = 900
    apply_cache.apply(cluster, RUNTIME)
    assert calls(cluster) == 2
