"""Specs at the API server: it refuses each wrong field by name, and fills in defaults."""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kubernetes import client, config

from k8s.controller.api.crds import DEFINITIONS
from k8s.controller.api.v1alpha1 import (
    GROUP,
    VERSION,
    GateSpec,
    SpecRejected,
    TextClassifierSpec,
    read_text_classifier,
    read_training_run,
)
from k8s.controller.builders.maintenance_jobs import prune
from k8s.controller.builders.serving import inference_service
from k8s.controller.builders.training_job import Images
from tests.support.cluster.namespace import Document, Namespace, wait_until
from tests.support.kubernetes.specs import WRONG, fields, full, of_another_type, smallest, where, with_value

PLURALS = {each.kind: each.plural for each in DEFINITIONS}
READERS = {"TextClassifier": read_text_classifier, "TrainingRun": read_training_run}
KINDS = list(PLURALS)

Post = Callable[[Document], Document]


class Refused(Exception):
    """With what the API server said."""


@pytest.fixture(scope="module")
def alone(crds: None) -> Iterator[Namespace]:
    """A namespace that no controller looks after."""
    found = Namespace(f"labelwright-{uuid.uuid4().hex[:8]}")
    metadata = {"name": found.name, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}
    found.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}])
    yield found
    found.kubectl("delete", "namespace", found.name, "--wait=false")


@pytest.fixture(scope="module")
def api(crds: None) -> Iterator[client.CustomObjectsApi]:
    with config.new_client_from_config(os.environ["KUBECONFIG"]) as connection:
        yield client.CustomObjectsApi(connection)


@pytest.fixture(scope="module")
def post(api: client.CustomObjectsApi, alone: Namespace) -> Post:
    """Return a function that creates an object as `kubectl apply --dry-run=server` does, and returns it. Raises Refused."""

    def post_one(document: Document, *, dry_run: bool = True) -> Document:
        options: dict[str, Any] = {"field_validation": "Strict", **({"dry_run": "All"} if dry_run else {})}
        place = (GROUP, VERSION, alone.name, PLURALS[document["kind"]])
        try:
            created: Document = api.create_namespaced_custom_object(*place, document, **options)
        except client.ApiException as error:
            raise Refused(json.loads(error.body)["message"]) from error
        return created

    return post_one


# Every field of every type, so that none is forgotten.
CASES = [pytest.param(kind, path, value, id=f"{kind}-{path}") for kind in KINDS for path, value in WRONG[kind].items()]
OF_ANOTHER_TYPE = [
    pytest.param(each.kind, path, value, id=f"{each.kind}-{path}")
    for each in DEFINITIONS
    for path, value in of_another_type(each).items()
]


@pytest.mark.parametrize("definition", DEFINITIONS, ids=KINDS)
def test_a_wrong_value_is_listed_for_every_field(definition: Any) -> None:
    assert sorted(WRONG[definition.kind]) == sorted(fields(definition))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_right_is_stored_as_it_is(kind: str, post: Post) -> None:
    assert post(full(kind))["spec"] == full(kind)["spec"]


@pytest.mark.parametrize(("kind", "path", "value"), CASES)
def test_a_wrong_value_is_refused_by_its_fields_name(kind: str, path: str, value: object, post: Post) -> None:
    wrong = with_value(full(kind), path, value)

    with pytest.raises(Refused, match=rf"[ \[]{re.escape(where(full(kind), path))}(: |\[|\.)"):
        post(wrong)


@pytest.mark.parametrize(("kind", "path", "value"), OF_ANOTHER_TYPE)
def test_a_value_of_another_type_is_refused_by_its_fields_name(kind: str, path: str, value: object, post: Post) -> None:
    with pytest.raises(Refused, match=rf"[ \[]{re.escape(where(full(kind), path))}: .*must be of type"):
        post(with_value(full(kind), path, value))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "path", ["", "dataset", "training.balance", "training.resources", "storage", "gate", "dataset.aliases.x"]
)
def test_an_unknown_field_is_refused_by_its_name(kind: str, path: str, post: Post) -> None:
    unknown = ".".join(["spec", *filter(None, path.split(".")), "colour"])

    with pytest.raises(Refused, match="colour" if "aliases" not in path else r"spec\.dataset\.aliases\.x"):
        post(with_value(full(kind), unknown, "blue"))


@pytest.mark.parametrize("path", ["dataset", "storage", "dataset.uri", "storage.uri"])
def test_what_is_required_is_missed_by_its_name(path: str, post: Post) -> None:
    with pytest.raises(Refused, match=rf"spec\.{path}: Required value"):
        post(with_value(full("TextClassifier"), f"spec.{path}", None))


def test_all_defaults_arrive(post: Post) -> None:
    given = smallest("TextClassifier")

    stored = read_text_classifier(post(given))

    assert stored == read_text_classifier(given)
    assert post(given)["spec"]["training"]["balance"] == {"strategy": "none", "loss": "plain"}


@pytest.mark.parametrize("section", ["training", "triggers", "gate", "serving", "history"])
def test_an_empty_section_is_that_sections_defaults(section: str, post: Post) -> None:
    without = post(smallest("TextClassifier"))

    assert post(with_value(smallest("TextClassifier"), f"spec.{section}", {}))["spec"] == without["spec"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_stored_is_read_as_what_was_written(kind: str, post: Post) -> None:
    assert READERS[kind](post(full(kind))) == READERS[kind](full(kind))


# What each rule refuses, and what is just right; on top of the smallest spec.
TRAINING, DATASET, STORAGE = "spec.training", "spec.dataset", "spec.storage"
RULES = [
    ({f"{TRAINING}.architecture": "transformer"}, f"{TRAINING}.baseModel"),
    ({f"{TRAINING}.architecture": "transformer", f"{TRAINING}.baseModel": "minilm"}, None),
    ({f"{TRAINING}.nodes": 2}, f"{TRAINING}.nodes"),
    ({f"{TRAINING}.nodes": 2, f"{TRAINING}.baseModel": "minilm"}, None),
    ({f"{TRAINING}.balance.loss": "focal"}, f"{TRAINING}.balance.loss"),
    ({f"{TRAINING}.balance.loss": "weighted"}, None),
    ({f"{TRAINING}.balance.loss": "focal", f"{TRAINING}.baseModel": "minilm"}, None),
    ({f"{DATASET}.labelColumn": "a", f"{DATASET}.labelColumns": ["b"]}, f"{DATASET}.labelColumns"),
    ({f"{DATASET}.labelColumn": "a"}, None),
    ({f"{DATASET}.labelColumns": ["a", "b"]}, None),
    ({f"{DATASET}.labelColumns": ["a", "title"]}, f"{DATASET}.labelColumns"),
    ({f"{DATASET}.labelColumns": ["a", "title"], f"{DATASET}.textColumns": ["text"]}, None),
    ({f"{DATASET}.labelColumn": "title"}, f"{DATASET}.labelColumn"),
    ({f"{DATASET}.labelColumn": "title", f"{DATASET}.textColumns": ["text"]}, None),
    ({f"{STORAGE}.serviceAccountName": "trainer"}, f"{STORAGE}.secretName"),
    ({f"{STORAGE}.secretName": None}, f"{STORAGE}.secretName"),
    ({f"{STORAGE}.secretName": None, f"{STORAGE}.serviceAccountName": "trainer"}, None),
    ({"spec.serving.replicas.minimum": 3, "spec.serving.replicas.maximum": 2}, "spec.serving.replicas.maximum"),
    ({"spec.serving.replicas.maximum": 1}, None),
    ({"spec.triggers.datasetCheckInterval": "9s"}, "spec.triggers.datasetCheckInterval"),
    ({"spec.triggers.datasetCheckInterval": "0m10s"}, None),
    ({f"{TRAINING}.timeout": "0h0m"}, f"{TRAINING}.timeout"),
    ({f"{TRAINING}.timeout": "0h1s"}, None),
    ({f"{TRAINING}.timeout": "999999h999999h"}, None),
    ({f"{TRAINING}.resources": {"limits": {"cpu": "1.5", "memory": "1e3Mi"}}}, f"{TRAINING}.resources.limits.memory"),
    ({f"{TRAINING}.resources": {"limits": {"cpu": "1.5", "memory": "1e9", "nvidia.com/gpu": 1}}}, None),
    ({"spec.triggers.schedule": "@daily"}, None),
    ({"spec.triggers.schedule": "*/5 0-6,22 * * MON-FRI"}, None),
    ({"spec.triggers.schedule": "0 3 * *"}, "spec.triggers.schedule"),
    ({"spec.triggers.schedule": "@sometimes"}, "spec.triggers.schedule"),
    ({f"{STORAGE}.uri": "s3://models/a/b/"}, None),
    ({f"{STORAGE}.uri": "s3://"}, f"{STORAGE}.uri"),
    ({f"{STORAGE}.uri": "gs://models"}, f"{STORAGE}.uri"),
    ({f"{STORAGE}.uri": "s3://models/$(password)"}, f"{STORAGE}.uri"),
    ({f"{STORAGE}.uri": "s3://models/a?b"}, f"{STORAGE}.uri"),
    ({f"{DATASET}.uri": "s3://datasets/$(password)"}, f"{DATASET}.uri"),
    ({f"{DATASET}.testUri": "s3://datasets/$(password)"}, f"{DATASET}.testUri"),
    ({f"{DATASET}.corrections": "s3://feedback/$(password)"}, f"{DATASET}.corrections"),
    ({f"{TRAINING}.tracking": {"uri": "http://mlflow/$(password)"}}, f"{TRAINING}.tracking.uri"),
    ({f"{TRAINING}.baseModel": "s3://models/$(password)"}, f"{TRAINING}.baseModel"),
    ({"spec.serving.resources": {"limits": {"{{.Namespace}}": "1"}}}, "spec.serving.resources.limits"),
]


def _changed(document: Document, changes: Document) -> Document:
    for path, value in changes.items():
        document = with_value(document, path, value, rivals=True)
    return document


def _name(case: tuple[Document, str | None]) -> str:
    return ("refused-" if case[1] else "accepted-") + ",".join(f"{path}={value}" for path, value in case[0].items())


@pytest.mark.parametrize(("changes", "blamed"), RULES, ids=map(_name, RULES))
def test_a_rule_refuses_what_it_should_and_accepts_its_neighbour(changes: Document, blamed: str | None, post: Post) -> None:
    document = _changed(smallest("TextClassifier"), changes)

    if blamed is None:
        assert read_text_classifier(post(document)) == read_text_classifier(document)
    else:
        with pytest.raises(SpecRejected, match=re.escape(blamed)):
            read_text_classifier(document)
        with pytest.raises(Refused, match=rf"{re.escape(blamed)}: "):
            post(document)


@pytest.mark.parametrize(
    ("kind", "name", "accepted"),
    [
        ("TextClassifier", "a" * 40, True),
        ("TextClassifier", "a" * 41, False),
        ("TextClassifier", "1papers", False),
        ("TextClassifier", "pa.pers", False),
        ("TrainingRun", "a" * 60, True),
        ("TrainingRun", "a" * 61, False),
        ("TrainingRun", "pa.pers", False),
    ],
)
def test_a_name_is_one_that_jobs_and_services_can_have(kind: str, name: str, accepted: bool, post: Post) -> None:
    if accepted:
        assert post(smallest(kind, name))["metadata"]["name"] == name
    else:
        with pytest.raises(Refused, match=r"metadata\.name: expected a lower-case letter"):
            post(smallest(kind, name))


@pytest.mark.parametrize("missing", ["dataset", "storage"])
def test_a_run_has_dataset_and_storage_or_none_of_its_classifiers_sections(missing: str, post: Post) -> None:
    with pytest.raises(Refused, match=r"expected (both dataset and storage|dataset and storage beside)"):
        post(with_value(full("TrainingRun"), f"spec.{missing}", None))


@pytest.mark.parametrize("section", ["training", "gate", "trigger"])
def test_a_run_without_dataset_takes_every_section_from_its_classifier(section: str, post: Post) -> None:
    with pytest.raises(Refused, match=rf"spec\.{section}: .*expected dataset and storage beside {section}"):
        post(with_value(smallest("TrainingRun"), f"spec.{section}", {}))


@pytest.fixture(scope="module")
def change(api: client.CustomObjectsApi, alone: Namespace, post: Post) -> Callable[[Document], Document]:
    """Change the spec of a TrainingRun that is there, with everything set but `cancelled`; a dry run. Raises Refused."""
    post(_changed(full("TrainingRun", "changed"), {"spec.cancelled": False}), dry_run=False)
    post(smallest("TrainingRun", "filled"), dry_run=False)
    post(full("TrainingRun", "cancelled"), dry_run=False)

    def change_one(spec: Document, name: str = "changed") -> Document:
        place = (GROUP, VERSION, alone.name, "trainingruns", name)
        try:
            changed: Document = api.patch_namespaced_custom_object(*place, {"spec": spec}, dry_run="All")
        except client.ApiException as error:
            raise Refused(json.loads(error.body)["message"]) from error
        return changed

    return change_one


@pytest.mark.parametrize(
    "spec",
    [
        {"classifier": "others"},
        {"dataset": {"uri": "s3://datasets/others/"}},
        {"dataset": {"sampleCount": None}},
        {"training": {"seed": 8}},
        {"training": None},
        {"storage": {"uri": "s3://elsewhere"}},
        {"served": {"version": "papers-other"}},
        {"served": None},
        {"trigger": {"token": "later"}},
    ],
    ids=str,
)
def test_what_a_run_is_does_not_change(spec: Document, change: Callable[[Document], Document]) -> None:
    (name,) = spec
    with pytest.raises(Refused, match=rf"spec\.{name}: .*cannot be changed once it is set"):
        change(spec)


def test_a_run_can_be_filled_in_cancelled_and_judged_again(change: Callable[..., Document]) -> None:
    sections = {
        name: full("TrainingRun")["spec"][name] for name in ("dataset", "training", "gate", "storage", "served", "trigger")
    }

    assert change(sections, "filled")["spec"]["storage"] == sections["storage"]
    assert change({"gate": {"minimum": 0.1}})["spec"]["gate"]["minimum"] == 0.1
    assert change({"cancelled": True})["spec"]["cancelled"]


def test_a_cancelled_run_cannot_go_on(change: Callable[..., Document]) -> None:
    with pytest.raises(Refused, match=r"spec\.cancelled: .*cannot be resumed"):
        change({"cancelled": False}, "cancelled")


RUN_STATUS = {
    "startedAt": "2026-11-23T03:00:00Z",
    "datasetHash": "0123456789ab",
    "mlflowRunId": "run-7",
    "bestCheckpoint": "step-1200",
    "score": 0.61,
    "minimum": 0.4,
    "artifactUri": "s3://models/published/papers/listed/",
    "state": "Published",
    "result": {"exit_code": 0, "a_field_of_a_later_trainer": {"kept": True}},
}
CLASSIFIER_STATUS = {
    "version": "papers-1a2b3c4d",
    "score": 0.61,
    "state": "Ready",
    "activeRun": "papers-5e6f7a8b",
    "message": "It answers.",
    "conditions": [
        {"type": kind, "status": "True", "reason": reason, "message": "", "lastTransitionTime": "2026-11-23T03:00:00Z"}
        for kind, reason in (("Ready", "Serving"), ("GatePassed", "Passed"))
    ],
}


def _listed(alone: Namespace, document: Document, status: Document, *options: str) -> dict[str, str]:
    """Return the output of `kubectl get`, by column."""
    alone.apply([document])
    kind, name = document["kind"], document["metadata"]["name"]
    alone.kubectl("patch", kind, name, "--subresource=status", "--type=merge", "--patch", json.dumps({"status": status}))
    head, row = (re.split(r" {2,}", line.strip()) for line in alone.kubectl("get", kind, name, *options).splitlines())
    return dict(zip(head, row, strict=True))


def test_a_list_of_runs_is_a_table_of_every_training(alone: Namespace) -> None:
    assert list(_listed(alone, full("TrainingRun", "listed"), RUN_STATUS).items()) == [
        ("NAME", "listed"),
        ("DATE", "2026-11-23T03:00:00Z"),
        ("DATASET", "0123456789ab"),
        ("PATH", "s3://datasets/papers/"),
        ("MLFLOW", "run-7"),
        ("CHECKPOINT", "step-1200"),
        ("F1", "0.61"),
        ("MINIMUM", "0.4"),
        ("WEIGHTS", "s3://models/published/papers/listed/"),
        ("STATE", "Published"),
    ]
    stored = alone.get("TrainingRun", "listed")
    assert stored is not None
    assert stored["status"] == RUN_STATUS  # nothing of the result was dropped


def test_a_list_of_classifiers_says_what_is_served_and_how_well(alone: Namespace) -> None:
    row = _listed(alone, full("TextClassifier", "listed"), CLASSIFIER_STATUS, "--output=wide")

    assert list(row) == ["NAME", "VERSION", "SCORE", "STATE", "READY", "GATE", "AGE", "RUN", "MESSAGE"]
    assert [row[name] for name in ("VERSION", "SCORE", "STATE", "READY", "GATE", "RUN", "MESSAGE")] == [
        *("papers-1a2b3c4d", "0.61", "Ready", "True", "Passed", "papers-5e6f7a8b", "It answers.")
    ]


@pytest.mark.parametrize(("short", "kind"), [("tc", "TextClassifier"), ("trun", "TrainingRun"), ("labelwright", None)])
def test_resources_have_short_names_and_a_category(short: str, kind: str | None, alone: Namespace) -> None:
    alone.apply([full(each, "short") for each in KINDS])

    items = json.loads(alone.kubectl("get", short, "--output=json"))["items"]

    assert {each["kind"] for each in items} == ({kind} if kind else set(KINDS))


def test_kubectl_explains_every_field(alone: Namespace) -> None:
    explained = " ".join(alone.kubectl("explain", "textclassifier.spec.gate").split())

    assert str(TextClassifierSpec.model_fields["gate"].description) in explained
    assert all(str(field.description) in explained for field in GateSpec.model_fields.values())
    assert "no description" not in alone.kubectl("explain", "textclassifier.spec", "--recursive=false")


HIDDEN = "hunter2-that-must-stay-secret"
NOT_A_SECRET = "s3://models/$(password)"
POD_OF_TWO = "told-by-the-node"


def test_no_value_of_a_secret_is_put_into_an_address(alone: Namespace, crds: None, image: str, trainer_image: str) -> None:
    """The kubelet expands no variable in an address, even in one that the API server would refuse: it stays as written."""
    metadata = {"name": "papers", "namespace": alone.name, "uid": "1"}
    classifier = {**smallest("TextClassifier"), "metadata": metadata}
    spec = read_text_classifier(classifier)
    spec = spec.model_copy(update={"storage": spec.storage.model_copy(update={"uri": NOT_A_SECRET})})
    images = Images(trainer_image, image)
    fetching = inference_service(classifier, spec, images, uri=NOT_A_SECRET)["spec"]["predictor"]["initContainers"][0]
    pod = prune(classifier, spec, images, versions=("papers-1-aaaaaa",))["spec"]["template"]["spec"]
    pod["containers"] += [{**fetching, "volumeMounts": [{"name": "scratch", "mountPath": "/mnt/models"}]}]
    for each in pod["containers"]:
        each["resources"], each["terminationMessagePolicy"] = {}, "FallbackToLogsOnError"
    nowhere = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    secret = {"metadata": {"name": spec.storage.secret_name}, "stringData": {"password": HIDDEN, **nowhere}}
    alone.apply([{"apiVersion": "v1", "kind": "Secret", **secret}])
    alone.apply([{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": POD_OF_TWO}, "spec": pod}])

    def ended() -> list[str]:
        status = (alone.get("pod", POD_OF_TWO) or {}).get("status", {})
        states = [each["state"].get("terminated") for each in status.get("containerStatuses", ())]
        return [json.dumps(each) for each in states] if len(states) == 2 and all(states) else []

    told = wait_until(ended, "both containers have failed", seconds=180)
    logs = [alone.log(POD_OF_TWO, each["name"]) for each in pod["containers"]]
    assert all("$(password)" in each for each in told), told
    assert not [each for each in (*told, *logs, alone.kubectl("get", "pods,events", "--output=json")) if HIDDEN in each]


def test_an_address_that_names_a_variable_is_not_stored(post: Post) -> None:
    document = with_value(smallest("TextClassifier"), "spec.storage.uri", NOT_A_SECRET)

    with pytest.raises(Refused, match=r"spec\.storage\.uri"):
        post(with_value(document, "spec.serving.version", "papers-1-aaaaaa"))
