"""What a spec may use of its namespace, and what becomes of one that asks for more."""

from __future__ import annotations

import dataclasses

import pytest

from k8s.controller.api.v1alpha1 import read_text_classifier, read_training_run
from k8s.controller.decisions.tenancy import Policy
from k8s.controller.objects.documents import condition
from k8s.controller.objects.kinds import DEPLOYMENT, JOB, TEXT_CLASSIFIER, TRAINING_RUN, Document
from k8s.controller.reconcile.image_updates import MAX_SLOT_SECONDS, ImageUpdateSlots
from tests.support.kubernetes.sights import classifier, run
from tests.support.kubernetes.simulation import IMAGES, Simulation

ACCOUNT = {"storage": {"secretName": None, "serviceAccountName": "cloud-admin"}}


@pytest.mark.parametrize(
    ("policy", "spec", "said"),
    [
        pytest.param(Policy(), {}, None, id="anything-goes"),
        pytest.param(Policy(secrets=("labelwright-s3",)), {}, None, id="by-name"),
        pytest.param(Policy(secrets=("a", "labelwright-*")), {}, None, id="by-its-beginning"),
        pytest.param(Policy(secrets=("labelwright",)), {}, "spec.storage.secretName is 'labelwright-s3': expected one of",
                     id="a-beginning-without-a-star"),
        pytest.param(Policy(secrets=()), {}, "spec.storage.secretName is 'labelwright-s3': expected none", id="none"),
        pytest.param(Policy(secrets=()), ACCOUNT, None, id="an-account-is-no-secret"),
        pytest.param(Policy(service_accounts=("team-*", "b")), ACCOUNT,
                     "spec.storage.serviceAccountName is 'cloud-admin': expected one of team-*, b", id="an-account"),
        pytest.param(Policy(placement=False), {}, None, id="any-node"),
        pytest.param(Policy(placement=False), {"training": {"nodeSelector": {"a": "b"}}}, "spec.training.nodeSelector is set",
                     id="nodes"),
        pytest.param(Policy(placement=False), {"serving": {"tolerations": [{"operator": "Exists"}]}},
                     "spec.serving.tolerations is set", id="taints"),
    ],
)  # fmt: skip
def test_a_forbidden_value_is_reported_with_field_value_and_allowed_ones(
    policy: Policy, spec: Document, said: str | None
) -> None:
    found = policy.refuses(read_text_classifier(classifier(**spec)))
    assert (found or "").startswith(said or "")
    assert bool(found) == bool(said)


def test_a_training_by_hand_is_held_to_the_same() -> None:
    spec = read_training_run(run("papers-1-aaaaaa", spec={"training": {"nodeSelector": {"a": "b"}}}).document)
    assert str(Policy(secrets=("a",), placement=False).refuses(spec)).count("spec.") == 2
    assert Policy(secrets=()).refuses(read_training_run({"spec": {"classifier": "papers"}})) is None


def with_policy(simulation: Simulation, policy: Policy) -> None:
    simulation.reconciler = dataclasses.replace(simulation.reconciler, policy=policy)
    simulation.hear_all()
    simulation.settle()


def test_nothing_is_made_for_a_classifier_that_asks_for_what_is_not_allowed() -> None:
    simulation = Simulation()
    with_policy(simulation, Policy(secrets=("other",)))
    simulation.add({"serving": {"version": "papers-1-aaaaaa"}})
    simulation.settle()

    assert simulation.status["state"] == "Invalid"
    found = condition(simulation.classifier, "Degraded")
    assert (found["reason"], found["status"]) == ("NotAllowed", "True")
    assert "spec.storage.secretName is" in found["message"]
    assert [each["kind"] for each in simulation.cluster.everything()] == ["TextClassifier"]


def test_a_training_by_hand_with_what_is_not_allowed_fails() -> None:
    simulation = Simulation()
    with_policy(simulation, Policy(secrets=("other",)))
    storage = {"uri": "s3://models", "secretName": "password"}
    simulation.make_run("by-hand", {"dataset": {"uri": "s3://datasets/papers/"}, "storage": storage})
    simulation.settle()

    (found,) = simulation.all(TRAINING_RUN)
    assert found["status"]["state"] == "Failed"
    assert "spec.storage.secretName is 'password'" in found["status"]["message"]
    assert not simulation.all(JOB)


def test_what_is_served_stays_when_its_secret_is_not_allowed_any_more_and_may_be_let_go() -> None:
    simulation = Simulation()
    simulation.add({"storage": {"deletionPolicy": "Delete"}})
    simulation.settle()
    with_policy(simulation, Policy(secrets=()))
    assert (simulation.status["state"], bool(simulation.status["served"])) == ("Invalid", True)
    assert simulation.all(DEPLOYMENT)

    simulation.remove()
    simulation.settle()
    assert condition(simulation.classifier, "Degraded")["reason"] == "NotAllowed"
    simulation.edit({"storage": {"deletionPolicy": "Keep"}})
    simulation.settle()
    assert not simulation.all(TEXT_CLASSIFIER)


# Another image of the predictor.


def image(simulation: Simulation) -> str:
    (deployment,) = simulation.all(DEPLOYMENT)
    return str(deployment["spec"]["template"]["spec"]["containers"][0]["image"])


def with_image(simulation: Simulation, predictor: str, slots: ImageUpdateSlots) -> None:
    images = dataclasses.replace(IMAGES, predictor=predictor)
    simulation.reconciler = dataclasses.replace(simulation.reconciler, images=images, image_updates=slots)
    simulation.apply_cache.__init__(clock=lambda: simulation.clock().timestamp())  # type: ignore[misc]
    simulation.hear_all()


def test_another_image_waits_for_its_turn_and_a_version_does_not() -> None:
    simulation, slots = Simulation(), ImageUpdateSlots(at_once=1, clock=lambda: 0.0)
    simulation.add()
    simulation.settle()
    assert slots.acquire("somebody")
    with_image(simulation, "predictor:2", slots)
    simulation.settle(120)
    assert image(simulation) == IMAGES.predictor

    slots.release("somebody")
    simulation.settle(120)
    assert image(simulation) == "predictor:2"
    assert slots.acquire("somebody"), "it gives its slot back once its Pods are ready"

    with_image(simulation, "predictor:3", slots)
    simulation.edit({"training": {"seed": 1}})
    simulation.settle()
    assert (image(simulation), simulation.status["state"]) == ("predictor:3", "Ready")


def test_so_many_have_a_turn_at_once_and_no_longer_than_a_while() -> None:
    now = [0.0]
    slots = ImageUpdateSlots(at_once=2, clock=lambda: now[0])
    assert [slots.acquire(each) for each in "aabc"] == [True, True, True, False]
    slots.release("a")
    assert slots.acquire("c")
    now[0] = MAX_SLOT_SECONDS + 1
    assert [slots.acquire(each) for each in "bdef"] == [True, True, True, False]


# An image of the trainer that cannot be pulled.


def with_trainer(simulation: Simulation, image: str) -> None:
    simulation.reconciler = dataclasses.replace(simulation.reconciler, images=dataclasses.replace(IMAGES, trainer=image))
    simulation.hear_all()


def without_image() -> Simulation:
    simulation = Simulation()
    simulation.world.missing_images.add(IMAGES.trainer)
    simulation.add()
    simulation.settle(120)
    assert simulation.states() == ["Pending"]
    return simulation


def test_a_training_whose_image_cannot_be_pulled_begins_again_with_another() -> None:
    simulation = without_image()
    with_trainer(simulation, "trainer:2")
    simulation.settle(600)

    assert simulation.states() == ["Published"]
    assert simulation.status["state"] == "Ready"


def test_a_training_whose_image_cannot_be_pulled_ends_in_minutes_and_another_image_trains_again() -> None:
    simulation = without_image()
    simulation.settle(600)
    assert simulation.states() == ["Failed"]
    assert "ImagePullBackOff" in simulation.runs()[0]["status"]["message"]
    assert not simulation.all(JOB)
    simulation.settle(7200)
    assert simulation.states() == ["Failed"], "the same image is not tried again and again"

    with_trainer(simulation, "trainer:2")
    simulation.settle(600)
    assert simulation.states() == ["Failed", "Published"]
    assert "image" in simulation.runs()[1]["spec"]["trigger"]["message"]


@pytest.mark.parametrize("later", [pytest.param(60, id="at-once"), pytest.param(1200, id="after-a-while")])
def test_a_look_at_a_dataset_whose_image_cannot_be_pulled_begins_again_with_another(later: float) -> None:
    simulation = Simulation()
    simulation.add({"triggers": {"datasetChange": True, "datasetCheckInterval": "600s"}})
    simulation.settle(300)
    simulation.world.missing_images.add(IMAGES.trainer)
    simulation.settle(600)
    simulation.settle(later)
    assert "ImagePullBackOff" in simulation.status["dataset"]["message"]

    with_trainer(simulation, "trainer:2")
    simulation.settle(1000)
    assert "message" not in simulation.status["dataset"]
    assert simulation.status["state"] == "Ready"
