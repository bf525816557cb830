"""What the trainer, the node and the scheduler say, in the words of who wrote the resource."""

from __future__ import annotations

import pytest

from k8s.controller.api.v1alpha1 import TextClassifierSpec, read_text_classifier
from k8s.controller.observed.foreign_messages import in_the_users_terms
from tests.support.kubernetes import specs

NODES = "Unschedulable: 0/2 nodes are available: 1 {}, 1 node(s) had untolerated taint(s)."


@pytest.mark.parametrize(
    ("said", "field"),
    [
        pytest.param("dataset.uri 's3://texts/': there is no file", "spec.dataset.uri", id="setting"),
        pytest.param("no column for dataset.text_columns", "spec.dataset.textColumns", id="setting-of-two-words"),
        pytest.param("output_dir: no such bucket", "spec.storage.uri", id="setting-of-another-name"),
        pytest.param('Error: secret "nobody" not found', "spec.storage.secretName", id="secret"),
        pytest.param('error looking up: serviceaccount "nobody" not found', "spec.storage.serviceAccountName", id="account"),
        pytest.param(
            NODES.format("node(s) didn't match Pod's node affinity/selector"), "spec.training.nodeSelector", id="selector"
        ),
        pytest.param(NODES.format("Insufficient memory"), "spec.training.resources", id="resources"),
        pytest.param(NODES.format("node(s) had untolerated taint {gpu: yes}"), "spec.training.tolerations", id="taint"),
        pytest.param("Job was active longer than specified deadline", "spec.training.timeout", id="deadline"),
    ],
)
def test_the_field_is_named(said: str, field: str) -> None:
    assert field in in_the_users_terms(said)


def test_a_taint_is_not_blamed_where_something_else_hinders() -> None:
    assert in_the_users_terms(NODES.format("Insufficient cpu")).startswith("spec.training.resources: Unschedulable")


def test_what_names_its_field_is_left_as_it_is() -> None:
    assert in_the_users_terms("Insufficient cpu: spec.training.resources") == "Insufficient cpu: spec.training.resources"


@pytest.mark.parametrize(
    ("said", "field"),
    [
        pytest.param("s3://texts/pets: Could not connect", "spec.dataset.uri", id="dataset"),
        pytest.param("s3://texts/pets/test/: Could not connect", "spec.dataset.testUri", id="the-longer-address"),
        pytest.param("s3://corrections/pets/: Could not connect", "spec.dataset.corrections", id="corrections"),
        pytest.param("s3://versions/pets/pets-1/manifest.json: there is no such bucket", "spec.storage.uri", id="storage"),
        pytest.param("s3://texts/pets/a.csv has no column 'body'; found 'a'", "spec.dataset.textColumns", id="text-column"),
        pytest.param("a.csv has no column 'kind'; found 'a'", "spec.dataset.labelColumn", id="label-column"),
        pytest.param(
            "a.csv has no column 'body', 'kind'; found 'a'", "spec.dataset.textColumns, spec.dataset.labelColumn", id="columns"
        ),
    ],
)
def test_a_message_names_the_field_of_its_address(said: str, field: str) -> None:
    spec = TextClassifierSpec.model_validate(
        {
            "dataset": {
                "uri": "s3://texts/pets/",
                "testUri": "s3://texts/pets/test/",
                "corrections": "s3://corrections/pets/",
                "textColumns": ["title", "body"],
            },
            "storage": {"uri": "s3://versions", "secretName": "s3"},
        }
    )

    assert in_the_users_terms(said, spec) == f"{field}: {said}"
    assert in_the_users_terms(said) == said


@pytest.mark.parametrize("code", ["InvalidAccessKeyId", "SignatureDoesNotMatch", "403"])
def test_a_wrong_key_is_blamed_on_the_secret_and_not_on_the_address(code: str) -> None:
    said = f"s3://models/papers/: An error occurred ({code}) when calling the PutObject operation: no"
    spec = read_text_classifier(specs.smallest("TextClassifier"))
    assert in_the_users_terms(said, spec) == f"spec.storage.secretName: {said}"
