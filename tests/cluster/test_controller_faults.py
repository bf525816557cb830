"""Faults: specs name missing objects, Jobs are deleted by hand, the controller is killed."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pytest

from model.storage import ObjectStore, open_store
from tests.support.cluster.controlled import (
    CLASSIFIER,
    RUN,
    TIMEOUT_SECONDS,
    ControllerRelease,
    ManagedClassifier,
    put_texts,
    spec,
)
from tests.support.cluster.namespace import Document, Namespace, wait_until

pytestmark = pytest.mark.cluster

TEXT = "the puppy and the leash"


@pytest.fixture(scope="module")
def texts(versions: ObjectStore) -> str:
    return put_texts(open_store("s3://models/"), "faults.parquet")


# One field of a spec that is right but for it, and the name of the field that has to be said. Ordered as in a spec.
WRONG: Mapping[str, tuple[str, object, str]] = {
    "no-dataset": ("dataset.uri", "s3://models/datasets/none/", "spec.dataset.uri"),
    "no-bucket-of-datasets": ("dataset.uri", "s3://nobodys-texts/pets/", "spec.dataset.uri"),
    "no-hub": ("dataset.uri", "hf://no-one/nothing", "spec.dataset.uri"),
    "no-test-set": ("dataset.testUri", "s3://models/datasets/none/", "spec.dataset.testUri"),
    "no-text-column": ("dataset.textColumns", ["body"], "spec.dataset.textColumns"),
    "no-label-column": ("dataset.labelColumn", "species", "spec.dataset.labelColumn"),
    "no-base-model": (
        "training",
        {"architecture": "transformer", "baseModel": "s3://models/base/none/"},
        "spec.training.baseModel",
    ),
    "no-such-node": ("training.nodeSelector", {"pool": "moon"}, "spec.training.nodeSelector"),
    "no-room": ("training.resources", {"requests": {"memory": "900Ti"}}, "spec.training.resources"),
    "no-such-day": ("triggers.schedule", "0 0 30 2 *", "spec.triggers.schedule"),
    "no-bucket-of-versions": ("storage.uri", "s3://nobodys-versions", "spec.storage.uri"),
    "no-secret": ("storage.secretName", "nobodys-secret", "spec.storage.secretName"),
    "no-account": (
        "storage",
        {"uri": "s3://models/trained", "serviceAccountName": "no-such-account"},
        "spec.storage.serviceAccountName",
    ),
}


TOLD = {("Degraded", "True"), ("Progressing", "True")}  # conditions that tell of what hinders a classifier


def with_field(document: Document, path: str, value: object) -> Document:
    found = copy.deepcopy(document)
    *parents, last = path.split(".")
    here = found
    for each in parents:
        here = here.setdefault(each, {})
    here[last] = value
    return found


@pytest.fixture(scope="module")
def wrong(namespace: Namespace, controller: ControllerRelease, texts: str) -> Iterator[Mapping[str, ManagedClassifier]]:
    """All of them at once."""
    found = {name: ManagedClassifier(namespace, name) for name in WRONG}
    namespace.apply([found[name].document(with_field(spec(texts), path, value)) for name, (path, value, _) in WRONG.items()])
    yield found
    namespace.kubectl("delete", CLASSIFIER, *found, "--wait=false")


@pytest.mark.parametrize("name", WRONG)
def test_a_condition_names_the_field_that_asks_for_what_is_not_there(wrong: Mapping[str, ManagedClassifier], name: str) -> None:
    classifier, field = wrong[name], WRONG[name][2]

    def named(now: Document) -> list[str]:
        said = [each for each in (now.get("conditions") or ()) if (each["type"], each["status"]) in TOLD]
        return [each["type"] for each in said if re.search(rf"{re.escape(field)}(?![\w.])", each["message"])]

    assert classifier.wait_for(named, f"a condition names {field}")


@dataclass
class Life:
    """Results of earlier tests."""

    training: str = ""


@pytest.fixture(scope="module")
def life() -> Life:
    return Life()


@pytest.fixture(scope="module")
def dogs(namespace: Namespace, controller: ControllerRelease, texts: str) -> Iterator[ManagedClassifier]:
    """Its first training is under way."""
    found = ManagedClassifier(namespace, "dogs")
    found.apply(spec(texts))
    found.wait_for_run("Running")
    yield found
    found.delete()


def test_a_training_job_that_is_deleted_by_hand_comes_back(dogs: ManagedClassifier, life: Life) -> None:
    life.training = dogs.wait_for_run("Running")
    (before,) = dogs.made("jobs")
    dogs.namespace.kubectl("delete", "job", life.training)

    wait_until(
        lambda: [each["metadata"]["uid"] != before["metadata"]["uid"] for each in dogs.made("jobs")] == [True],
        "another Job",
        seconds=60,
        instead=dogs.describe,
    )
    assert [each["metadata"]["name"] for each in dogs.made("jobs")] == [life.training]


def test_a_training_ends_as_if_the_leader_had_not_been_killed(
    dogs: ManagedClassifier, controller: ControllerRelease, life: Life
) -> None:
    controller.kill(controller.leader())

    wait_until(
        lambda: dogs.run(life.training)["state"] == "Published", "published", seconds=TIMEOUT_SECONDS, instead=dogs.describe
    )
    assert [each["metadata"]["name"] for each in dogs.runs()] == [life.training]


def test_a_rollout_ends_as_if_every_replica_had_not_been_killed(
    dogs: ManagedClassifier, controller: ControllerRelease, life: Life
) -> None:
    dogs.wait_for(lambda now: now.get("rollout"), "it is rolled out")
    for pod in controller.pods():
        controller.kill(pod)

    dogs.wait_until_served(life.training)
    assert dogs.answer(TEXT) == (["dogs"], life.training)


def test_a_run_that_is_made_by_hand_trains_what_its_classifier_asks_for(dogs: ManagedClassifier, life: Life) -> None:
    metadata = {"name": "dogs-now"}
    by_hand = {"apiVersion": "labelwright.dev/v1alpha1", "kind": "TrainingRun", "metadata": metadata}
    dogs.namespace.apply([by_hand | {"spec": {"classifier": "dogs"}}])

    wait_until(lambda: dogs.run("dogs-now").get("state") == "Running", "it runs", seconds=TIMEOUT_SECONDS, instead=dogs.describe)
    (run,) = (each for each in dogs.runs() if each["metadata"]["name"] == "dogs-now")
    assert run["spec"]["dataset"]["uri"] == spec("s3://models/datasets/faults.parquet")["dataset"]["uri"]
    assert run["spec"]["served"]["version"] == life.training


def test_a_run_that_is_deleted_by_hand_goes_with_its_job_and_what_is_served_stays(dogs: ManagedClassifier, life: Life) -> None:
    dogs.namespace.kubectl("delete", RUN, "dogs-now")
    dogs.wait_for(lambda now: not now.get("activeRun"), "nothing is under way")
    wait_until(lambda: [each["metadata"]["name"] for each in dogs.made("jobs")] == [life.training], "its Job is gone", seconds=60)

    assert dogs.status()["version"] == life.training
    assert [each["metadata"]["name"] for each in dogs.runs()] == [life.training]


def test_another_version_is_trained_when_the_only_run_is_deleted_by_hand(dogs: ManagedClassifier, life: Life) -> None:
    dogs.namespace.kubectl("delete", RUN, life.training)
    another = dogs.wait_for_another(life.training)

    assert dogs.versions() >= {life.training, another}  # and what the Pod of the other may have finished meanwhile
    assert dogs.answer(TEXT) == (["dogs"], another)


def test_the_controller_has_met_no_fault_of_its_own(controller: ControllerRelease) -> None:
    assert "a fault of the controller" not in controller.log()
