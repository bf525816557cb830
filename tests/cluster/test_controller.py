"""The life of one TextClassifier, from `kubectl apply` to `kubectl delete`: one test after the other, on one classifier."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from k8s.controller.objects.kinds import Document
from model.artifact import publish, read_manifest
from model.storage import ObjectStore, open_store
from tests.support.cluster.controlled import (
    CLASSIFIER,
    RUN,
    STORAGE,
    TIMEOUT_SECONDS,
    ControllerRelease,
    ManagedClassifier,
    is_answered,
    is_settled,
    put_texts,
    spec,
)
from tests.support.cluster.load_pod import Asking
from tests.support.cluster.namespace import Namespace, wait_until
from tests.support.cluster.served import Served
from tests.support.versions import make_version

pytestmark = pytest.mark.cluster

PROMISED = 90.0  # seconds from apply to an answer
CATS = "some old whiskers and a very big purr"
NOWHERE = "pets-99-nowhere"
ALTERED = "pets-98-altered"


@dataclass
class Life:
    """Results of earlier tests."""

    first: str = ""
    second: str = ""
    stale: str = ""
    newest: str = ""


@pytest.fixture(scope="module")
def life() -> Life:
    return Life()


@pytest.fixture(scope="module")
def bucket(versions: ObjectStore) -> ObjectStore:
    return open_store("s3://models/")


@pytest.fixture(scope="module")
def pets(namespace: Namespace, controller: ControllerRelease) -> Iterator[ManagedClassifier]:
    found = ManagedClassifier(namespace, "pets")
    yield found
    found.delete()


@pytest.fixture(scope="module")
def asking(namespace: Namespace, pets: ManagedClassifier, load: Callable[[Served], None]) -> Asking:
    """Clients that ask all the time."""
    load(pets.served)
    found = Asking(namespace)
    found.wait()
    return found


def test_one_apply_leads_to_a_right_answer_within_90_seconds(
    pets: ManagedClassifier, bucket: ObjectStore, life: Life, record_testsuite_property: Callable[[str, object], None]
) -> None:
    texts = put_texts(bucket, "pets.parquet", wrong=0.3)
    began = time.monotonic()
    pets.apply(spec(texts))
    pets.wait_for(lambda now: now.get("version"), "a version is served")
    labels = wait_until(lambda: is_answered(pets, CATS), "an answer", seconds=TIMEOUT_SECONDS, instead=pets.describe)
    seconds = time.monotonic() - began

    record_testsuite_property("seconds from apply to answer", round(seconds, 1))
    assert labels == ["cats"]
    assert seconds < PROMISED
    life.first = pets.status()["version"]


def test_what_is_served_passed_the_gate_and_says_so(pets: ManagedClassifier, life: Life) -> None:
    pets.wait_until_served(life.first)

    assert {each: pets.condition(each).get("status") for each in ("Ready", "Trained", "GatePassed", "Served", "Degraded")} == {
        "Ready": "True",
        "Trained": "True",
        "GatePassed": "True",
        "Served": "True",
        "Degraded": "False",
    }
    assert pets.run(life.first)["state"] == "Published"
    assert pets.versions() == {life.first}


@pytest.mark.parametrize(
    ("gate", "verdict", "state"),
    [
        pytest.param({"minimum": 1.0, "score": "accuracy"}, "Refused", "Rejected", id="refused"),
        pytest.param({"minimum": 0.5, "score": None}, "Passed", "Published", id="accepted-again"),
    ],
)
def test_another_gate_judges_again_and_neither_trains_nor_ends_serving(
    pets: ManagedClassifier, life: Life, gate: Document, verdict: str, state: str
) -> None:
    pets.patch(gate=gate)
    pets.wait_for(lambda _: pets.condition("GatePassed").get("reason") == verdict, f"GatePassed has the reason {verdict}")

    (run,) = pets.runs()
    assert (run["metadata"]["name"], run["status"]["state"]) == (life.first, state)
    assert (pets.status()["state"], pets.status()["version"]) == ("Ready", life.first)


def test_texts_that_get_better_are_noticed_and_lead_to_another_version(
    pets: ManagedClassifier, bucket: ObjectStore, asking: Asking, life: Life
) -> None:
    put_texts(bucket, "pets.parquet")
    pets.patch(triggers={"datasetChange": True, "datasetCheckInterval": "10s"})
    life.second = pets.wait_for_another(life.first)
    pets.patch(triggers={"datasetChange": None})

    run = pets.run(life.second)
    assert run["score"] > pets.run(life.first)["score"]
    assert run["servedVersion"] == life.first
    assert pets.answer(CATS) == (["cats"], life.second)
    assert asking.failures() == []


def test_a_pin_goes_back_to_the_first_version_without_training(pets: ManagedClassifier, asking: Asking, life: Life) -> None:
    pets.patch(serving={"version": life.first})
    pets.wait_until_served(life.first)

    assert [each["metadata"]["name"] for each in pets.runs()] == [life.first, life.second]
    assert asking.failures() == []


def test_a_version_that_does_not_get_ready_is_left_for_the_one_before(
    pets: ManagedClassifier, asking: Asking, life: Life
) -> None:
    pets.patch(serving={"version": NOWHERE, "rollout": {"deadline": "15s"}})
    given_up = pets.wait_for(lambda now: now.get("failedRollouts"), f"{NOWHERE} is given up")
    pets.wait_until_served(life.first)

    assert [each["version"] for each in given_up] == [NOWHERE]
    degraded = pets.condition("Degraded")
    assert (degraded["status"], degraded["reason"]) == ("True", "RollOutFailed")
    assert f"spec.serving.version {NOWHERE} was given up" in degraded["message"]
    assert "spec.serving.rollout.deadline 15s" in degraded["message"]
    assert pets.condition("Ready")["status"] == "True"
    assert asking.failures() == []


def test_a_version_with_an_altered_manifest_is_refused_and_the_one_before_goes_on(
    pets: ManagedClassifier, asking: Asking, life: Life
) -> None:
    store = open_store(f"{STORAGE}/pets/")
    copied = {each.key.replace(life.second, ALTERED): store.read(each.key) for each in list(store.list(f"{life.second}/"))}
    manifest = json.loads(copied[f"{ALTERED}/manifest.json"])
    copied[f"{ALTERED}/manifest.json"] = json.dumps({**manifest, "labels": manifest["labels"][::-1]}).encode()
    for key, content in copied.items():
        store.write(key, content)
    digest = pets.run(life.second)["manifestSha256"]

    pets.patch(serving={"version": ALTERED, "manifestSha256": digest})
    (*_, given_up) = pets.wait_for(
        lambda now: [each for each in now.get("failedRollouts", ()) if each["version"] == ALTERED], f"{ALTERED} is given up"
    )
    pets.wait_until_served(life.first)
    for key in copied:
        store.delete(key)

    assert f"expected {digest}" in given_up["message"]
    assert f"spec.serving.version {ALTERED} was given up" in pets.condition("Degraded")["message"]
    assert pets.condition("Ready")["status"] == "True"
    assert asking.failures() == []


def test_without_the_pin_the_newest_version_that_passed_is_served_again(
    pets: ManagedClassifier, asking: Asking, life: Life
) -> None:
    pets.patch(serving=None)
    pets.wait_until_served(life.second)
    # Some ask seldom, by connections that they keep.
    wait_until(
        lambda: all(life.second in each for each in asking.answers().values()), "every way sees it", seconds=TIMEOUT_SECONDS
    )
    asking.stop()

    assert pets.condition("Degraded")["status"] == "False"
    assert asking.failures() == []
    for way, answers in asking.answers().items():
        assert answers.keys() == {life.first, life.second}, way


@pytest.mark.parametrize("kind", ["servingruntime", "inferenceservice"])
def test_what_serves_comes_back_when_it_is_deleted_by_hand(pets: ManagedClassifier, life: Life, kind: str) -> None:
    (made,) = pets.made(kind)
    pets.namespace.kubectl("delete", kind, made["metadata"]["name"])
    wait_until(
        lambda: [each["metadata"]["uid"] != made["metadata"]["uid"] for each in pets.made(kind)] == [True],
        f"another {kind}",
        seconds=TIMEOUT_SECONDS,
        instead=pets.describe,
    )
    wait_until(pets.is_ready, "Pods of its own;", seconds=TIMEOUT_SECONDS, instead=pets.describe)
    pets.wait_for(lambda now: is_settled(now) and now["state"] == "Ready", "it is Ready")

    assert pets.status()["version"] == life.second
    assert pets.answer(CATS) == (["cats"], life.second)


def test_another_spec_stops_the_training_that_is_under_way(pets: ManagedClassifier, bucket: ObjectStore, life: Life) -> None:
    pets.patch(training={"seed": 1})
    life.stale = stale = pets.wait_for_run("Running", other_than=life.second)
    pets.patch(dataset={"uri": put_texts(bucket, "worse.parquet", wrong=1.0)})
    wait_until(lambda: pets.run(stale)["state"] == "Superseded", f"{stale} is Superseded", seconds=60, instead=pets.describe)

    assert pets.namespace.get("job", stale) is None
    life.newest = pets.wait_for_run("Running", "Rejected", other_than=stale)


def test_worse_texts_lead_to_a_version_that_is_published_and_not_served(pets: ManagedClassifier, life: Life) -> None:
    pets.wait_for(is_settled, "nothing is under way")

    run = pets.run(life.newest)
    assert run["state"] == "Rejected"
    assert "below spec.gate.minimum 0.5" in run["message"]
    assert life.newest in pets.versions()
    assert pets.condition("GatePassed")["status"] == "False"
    assert pets.condition("Ready")["status"] == "True"
    assert pets.answer(CATS) == (["cats"], life.second)


def test_the_tables_of_kubectl_show_every_training_and_what_is_served(pets: ManagedClassifier, life: Life) -> None:
    header, *lines = pets.namespace.kubectl("get", RUN).splitlines()
    assert header.split() == [
        "NAME", "DATE", "DATASET", "PATH", "MLFLOW", "CHECKPOINT", "F1", "MINIMUM", "WEIGHTS", "STATE"
    ]  # fmt: skip
    (line,) = (each for each in lines if each.startswith(f"{life.newest} "))
    run = pets.run(life.newest)
    for told in (run["datasetHash"], "s3://models/datasets/worse.parquet", f"{run['score']:g}", "0.5", run["artifactUri"]):
        assert told in line
    assert line.endswith("Rejected")

    (served,) = pets.namespace.kubectl("get", CLASSIFIER, "--no-headers").splitlines()
    assert served.split()[:3] == ["pets", life.second, f"{pets.status()['score']:g}"]


@pytest.mark.parametrize("kind", [CLASSIFIER, RUN])
def test_describe_explains_why_the_worse_version_is_not_served(pets: ManagedClassifier, life: Life, kind: str) -> None:
    name = pets.name if kind == CLASSIFIER else life.newest
    status, _, events = pets.namespace.kubectl("describe", kind, name).partition("\nEvents:")

    assert "below spec.gate.minimum 0.5" in re.sub(r"\s+", " ", status)
    assert re.search(r"Warning +(Refused|Rejected) .*below spec\.gate\.minimum 0\.5", events)


def test_old_versions_and_runs_go_and_what_is_served_stays(pets: ManagedClassifier, life: Life) -> None:
    pets.patch(history={"runs": 2, "versions": 1})
    kept = {life.second, life.newest}
    wait_until(lambda: pets.versions() == kept, f"{kept} are left in S3;", seconds=TIMEOUT_SECONDS, instead=pets.describe)
    wait_until(
        lambda: {each["metadata"]["name"] for each in pets.runs()} == {*kept, life.stale},
        "the newest two runs are left, and that of what is served;",
        seconds=TIMEOUT_SECONDS,
        instead=pets.describe,
    )

    assert pets.answer(CATS) == (["cats"], life.second)


def test_a_classifier_goes_with_all_that_it_made_but_for_its_versions(pets: ManagedClassifier, life: Life) -> None:
    kept = pets.versions()
    pets.delete()
    kinds = f"{RUN},jobs,inferenceservices,servingruntimes,serviceaccounts,deployments,pods"
    wait_until(lambda: pets.namespace.get(CLASSIFIER, pets.name) is None, "it is gone", seconds=60)
    wait_until(
        lambda: not pets.made(kinds), "all that it made is gone", seconds=TIMEOUT_SECONDS, instead=lambda: str(pets.made(kinds))
    )

    assert pets.versions() == kept
    assert life.second in kept


def test_with_deletion_policy_delete_its_versions_go_too(
    namespace: Namespace, controller: ControllerRelease, versions: ObjectStore, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = make_version(tmp_path_factory.mktemp("doomed") / "v1", version="v1")
    publish(folder, read_manifest(folder), open_store(f"{STORAGE}/doomed/v1/"))
    doomed, other = ManagedClassifier(namespace, "doomed"), ManagedClassifier(namespace, "doomed-not")
    publish(folder, read_manifest(folder), open_store(f"{STORAGE}/doomed-not/v1/"))
    wanted = spec("s3://models/datasets/none.parquet", suspend=True, serving={"version": "v1"})
    doomed.apply(wanted | {"storage": wanted["storage"] | {"deletionPolicy": "Delete"}})
    wait_until(lambda: doomed.made("inferenceservice"), "its InferenceService", seconds=60, instead=doomed.describe)
    doomed.delete()
    wait_until(
        lambda: namespace.get(CLASSIFIER, "doomed") is None, "it is gone", seconds=TIMEOUT_SECONDS, instead=doomed.describe
    )

    assert doomed.versions() == set()
    assert other.versions() == {"v1"}
    assert not doomed.made("inferenceservice")
