"""Reading what users write: the same is refused as by the API server, in sentences that name the field."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from k8s.controller.api.crds import DEFINITIONS
from k8s.controller.api.v1alpha1 import (
    Condition,
    SpecRejected,
    TextClassifierSpec,
    TextClassifierStatus,
    parse_duration,
    read_text_classifier,
    read_text_classifier_status,
    read_training_run,
    read_training_run_status,
)
from tests.support.kubernetes.specs import WRONG, Document, full, of_another_type, smallest, where, with_value

READERS: dict[str, Callable[[Document], Any]] = {"TextClassifier": read_text_classifier, "TrainingRun": read_training_run}
CASES = [pytest.param(kind, path, value, id=f"{kind}-{path}") for kind in READERS for path, value in WRONG[kind].items()]
OF_ANOTHER_TYPE = [
    pytest.param(each.kind, path, value, id=f"{each.kind}-{path}")
    for each in DEFINITIONS
    for path, value in of_another_type(each).items()
]


@pytest.mark.parametrize("kind", READERS)
def test_what_is_read_is_written_again_as_it_was(kind: str) -> None:
    document = full(kind)

    written = READERS[kind](document).document()

    requests = document["spec"]["training"]["resources"]["requests"]
    assert written == with_value(document, "spec.training.resources.requests.cpu", str(requests["cpu"]))["spec"]


@pytest.mark.parametrize(("kind", "path", "value"), CASES)
def test_a_wrong_value_is_refused_by_its_fields_name(kind: str, path: str, value: object) -> None:
    with pytest.raises(SpecRejected) as refused:
        READERS[kind](with_value(full(kind), path, value))

    assert where(full(kind), path) in str(refused.value)


@pytest.mark.parametrize(("kind", "path", "value"), OF_ANOTHER_TYPE)
def test_a_value_of_another_type_is_refused_by_its_fields_name(kind: str, path: str, value: object) -> None:
    with pytest.raises(SpecRejected) as refused:
        READERS[kind](with_value(full(kind), path, value))

    assert f"{where(full(kind), path)} is {value!r}: " in str(refused.value)


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        pytest.param(
            "spec.dataset.uri",
            "ftp://papers",
            "spec.dataset.uri is 'ftp://papers': expected a text that matches ^(s3|hf|kaggle)://[^$\\n]+$",
            id="address",
        ),
        pytest.param("spec.dataset.uri", None, "spec.dataset.uri is missing", id="missing"),
        pytest.param("spec.gate.colour", "blue", "spec.gate.colour is not a field", id="unknown"),
        pytest.param(
            "spec.serving.replicas.maximum",
            1,
            "spec.serving.replicas.maximum: expected minimum or more",
            id="two-fields-together",
        ),
        pytest.param(
            "spec.dataset.textColumns", [], "spec.dataset.textColumns is []: list should have at least 1 item, not 0", id="list"
        ),
        pytest.param(
            "spec.training.timeout",
            "0s",
            "spec.training.timeout is '0s': expected a duration of more than 0s, such as 90s, 15m or 1h30m",
            id="duration",
        ),
        pytest.param(
            "spec.storage.deletionPolicy",
            "Archive",
            "spec.storage.deletionPolicy is 'Archive': expected 'Keep' or 'Delete'",
            id="choice",
        ),
        pytest.param(
            "spec.training.tolerations[0].key",
            "",
            "spec.training.tolerations[0].key is '': string should have at least 1 character",
            id="item",
        ),
    ],
)
def test_errors_use_the_names_of_the_spec(path: str, value: object, sentence: str) -> None:
    with pytest.raises(SpecRejected) as refused:
        read_text_classifier(with_value(full("TextClassifier"), path, value))

    assert str(refused.value) == sentence


def test_all_errors_are_reported_at_once() -> None:
    wrong = with_value(with_value(full("TextClassifier"), "spec.suspend", "no"), "spec.gate.minimum", 2)

    with pytest.raises(SpecRejected, match=r"spec\.gate\.minimum is 2: .*; spec\.suspend is 'no': "):
        read_text_classifier(wrong)


@pytest.mark.parametrize("section", ["training", "triggers", "gate", "serving", "history"])
def test_a_section_that_is_missing_is_one_that_is_empty(section: str) -> None:
    given = smallest("TextClassifier")

    assert read_text_classifier(given) == read_text_classifier(with_value(given, f"spec.{section}", {}))


def test_a_status_of_a_later_controller_is_read_without_what_is_unknown() -> None:
    assert read_training_run_status({"status": {"state": "Published", "colour": "blue"}}).state == "Published"
    assert (
        read_text_classifier_status({"status": {"served": {"version": "a", "uri": "s3://m/a/", "colour": "blue"}}}).served
        is not None
    )


def test_an_object_without_a_status_has_an_empty_one() -> None:
    assert read_text_classifier_status({}) == TextClassifierStatus()


def test_times_are_written_to_the_second_in_utc() -> None:
    condition = Condition(
        type="Ready", status="True", reason="Serving", last_transition_time=datetime(2026, 11, 23, 3, 0, 0, 999, tzinfo=UTC)
    )

    assert condition.document()["lastTransitionTime"] == "2026-11-23T03:00:00Z"


def test_types_cannot_be_changed() -> None:
    spec = TextClassifierSpec.model_validate(full("TextClassifier")["spec"])

    with pytest.raises(ValueError, match="frozen"):
        spec.suspend = False  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90.0), ("15m", 900.0), ("1h30m", 5400.0), ("72h", 259200.0), ("1s1s", 2.0), ("0s", 0.0)]
)
def test_durations_come_to_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "90", "1d", "1.5h", "-1s", "1h 30m", "1000000h", "1h1h1h1h1h1h1h1h", "1h\n", "١h"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a duration such as 90s, 15m or 1h30m"):
        parse_duration(text)
