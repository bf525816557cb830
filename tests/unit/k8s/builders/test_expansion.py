"""A user's text reaches a container as it was written: neither the node nor KServe puts anything else in its place.

The node expands $(NAME) in command, args and the values of variables: the container's own variables are known there, those of the
Secret among them. KServe reads a ServingRuntime's container, joined with an InferenceService's model, as a Go template.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, TypeVar

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel

from k8s.controller.api.v1alpha1 import SpecRejected, read_text_classifier, read_training_run
from k8s.controller.builders.job_pods import arguments, variables
from k8s.controller.builders.maintenance_jobs import dataset_check, prune
from k8s.controller.builders.serving import inference_service, serving_runtime
from k8s.controller.builders.training_job import headless_service, training_job
from k8s.controller.objects.kinds import Document
from tests.support.kubernetes import specs
from tests.support.kubernetes.sights import IMAGES, classifier, run
from tests.support.kubernetes.specs import with_value

Model = TypeVar("Model", bound=BaseModel)
SECRET = "$(password)"
# Read by the controller itself, so that a wrong one would be an error and no text.
READ = {"timeout", "deadline", "dataset_check_interval", "schedule", "time_zone", "strategy", "operator", "effect"}
PLACEHOLDER = "{{.Name}}"

dollars = st.lists(st.sampled_from(["$", "$$", "(", ")", "password", SECRET, "$$(password)", "é", "\N{CAT FACE}", "s3://"]))
text = dollars.map("".join)


def expanded(text: str, asked: list[str]) -> str:
    """As the kubelet expands it, by the rules of third_party/forked/golang/expansion; asked: the variables that it looks up."""
    found, at = "", 0
    while at < len(text):
        if text[at] != "$" or at + 1 == len(text):
            found, at = found + text[at], at + 1
        elif text[at + 1] == "$":
            found, at = f"{found}$", at + 2
        elif text[at + 1] == "(" and (end := text.find(")", at + 2)) >= 0:
            asked.append(text[at + 2 : end])
            found, at = f"{found}<secret>", end + 1
        else:
            found, at = found + text[at : at + 2], at + 2
    return found


def with_text(model: Model, said: str) -> Model:
    """The same with that text in every field that holds one, whatever its pattern: no escaping may rely on that."""
    return model.model_copy(update={name: _with_text(name, getattr(model, name), said) for name in type(model).model_fields})


def _with_text(name: str, value: Any, said: str) -> Any:
    if name in READ:
        return value
    match value:
        case BaseModel():
            return with_text(value, said)
        case str():
            return said
        case tuple():
            return tuple(_with_text(name, each, said) for each in value)
        case dict():
            return dict.fromkeys([said], said) if value else {}
    return value


def everything(said: str) -> list[Document]:
    """All that is built of a classifier and a run in which every text is that one."""
    document, made = classifier(), run("papers-1-aaaaaa").document
    spec = with_text(read_text_classifier(specs.full("TextClassifier")), said)
    of_run = with_text(read_training_run(specs.full("TrainingRun")), said)
    return [
        training_job(made, of_run, IMAGES),
        headless_service(made, of_run),
        dataset_check(document, spec, IMAGES, slot=1),
        prune(document, spec, IMAGES, versions=(said,)),
        prune(document, spec, IMAGES, versions=()),
        serving_runtime(document, IMAGES),
        inference_service(document, spec, IMAGES, uri=said),
    ]


def what_is_expanded(document: Any) -> Iterator[str]:
    """Every text that the node expands, in whatever container it stands."""
    if isinstance(document, dict):
        for name, value in document.items():
            if name in ("command", "args"):
                yield from value
            elif name == "env":
                yield from (each["value"] for each in value if "value" in each)
            elif name != "subPathExpr":
                yield from what_is_expanded(value)
            else:
                yield value
    elif isinstance(document, list):
        for each in document:
            yield from what_is_expanded(each)


@given(said=text)
@example(said=SECRET)
@example(said="s3://models/$(password)")
def test_no_variable_is_put_into_what_is_built_of_a_users_text(said: str) -> None:
    asked: list[str] = []
    found = [expanded(each, asked) for document in everything(said) for each in what_is_expanded(document)]
    assert asked == []
    assert len(found) > 30
    assert sum(said in each for each in found) >= 4  # of the downloader, of both prunes


@given(said=text)
def test_an_argument_and_a_variable_are_what_was_written(said: str) -> None:
    assert [expanded(each, []) for each in arguments(said)] == [said]
    assert [expanded(each["value"], []) for each in variables({"A": said})] == [said]


def test_kserve_finds_no_template_in_a_users_text() -> None:
    said = "{{.Namespace}}"
    document, spec = classifier(), with_text(read_text_classifier(specs.full("TextClassifier")), said)
    runtime = json.dumps(serving_runtime(document, IMAGES)["spec"])
    assert "{{" not in runtime.replace(PLACEHOLDER, "")
    model = inference_service(document, spec, IMAGES, uri=said)["spec"]["predictor"]["model"]
    # What KServe joins with the runtime's container; addresses and what is asked of a node it takes as they are.
    assert "{{" not in json.dumps({name: value for name, value in model.items() if name not in ("storageUri", "resources")})


@pytest.mark.parametrize("side", ["requests", "limits"])
@pytest.mark.parametrize("name", ["{{.Namespace}}", "$(password)", ""])
def test_a_resource_that_is_none_is_refused(side: str, name: str) -> None:
    wrong = with_value(specs.smallest("TextClassifier"), "spec.serving.resources", {side: {name: "1"}})
    with pytest.raises(SpecRejected, match=rf"spec\.serving\.resources.*{side}"):
        read_text_classifier(wrong)


ADDRESSES = [
    ("TextClassifier", "spec.dataset.uri"),
    ("TextClassifier", "spec.dataset.testUri"),
    ("TextClassifier", "spec.dataset.corrections"),
    ("TextClassifier", "spec.storage.uri"),
    ("TextClassifier", "spec.training.tracking.uri"),
    ("TextClassifier", "spec.training.baseModel"),
    ("TrainingRun", "spec.served.uri"),
]


@pytest.mark.parametrize(("kind", "path"), ADDRESSES, ids=[path for _, path in ADDRESSES])
def test_an_address_with_a_dollar_is_refused_by_its_field(kind: str, path: str) -> None:
    address = "http://mlflow/$(password)" if "tracking" in path else "s3://models/$(password)"
    read = {"TextClassifier": read_text_classifier, "TrainingRun": read_training_run}[kind]
    with pytest.raises(SpecRejected, match=rf"{path} is 'http://mlflow/\$\(password\)'|{path} is 's3://models/\$\(password\)'"):
        read(with_value(specs.full(kind), path, address))
