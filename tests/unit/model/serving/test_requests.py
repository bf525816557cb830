"""Questions and answers, without a transport."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kserve import InferInput, InferRequest
from kserve.errors import InvalidInput
from kserve.protocol.grpc.grpc_predict_v2_pb2 import ModelInferRequest
from kserve.protocol.infer_type import InferResponse, RequestedOutput

from model.classifier import Prediction, Selection
from model.serving.requests import (
    InferenceResult,
    Limits,
    infer_response,
    read_infer_request,
    read_parameters,
    v1_response,
)

LABELS = ("a", "b", "c")
LIMITS = Limits(texts=1024, characters=1_000_000, request_characters=8_000_000)
ANSWER = InferenceResult(
    [Prediction(("b", "a"), (0.9, 0.6)), Prediction((), ()), Prediction(("c",), (0.5,))],
    np.array([[0.6, 0.9, 0.1], [0.1, 0.2, 0.3], [0.1, 0.2, 0.5]], np.float32),
)


def request(*, outputs: tuple[str, ...] = (), **more: Any) -> InferRequest:
    named = [RequestedOutput(each) for each in outputs]
    return InferRequest("papers", [InferInput("text", [3], "BYTES", data=["x", "y", "z"])], request_outputs=named, **more)


def respond(asked: InferRequest) -> InferResponse:
    return infer_response(asked, ANSWER, request=read_infer_request(asked, LIMITS), version="v1", labels=LABELS)


def test_rows_are_padded_to_the_longest() -> None:
    content, _ = respond(request()).to_rest()

    labels, scores = content["outputs"]
    assert (labels["shape"], labels["data"]) == ([3, 2], ["b", "a", "", "", "c", ""])
    assert scores["data"] == pytest.approx([0.9, 0.6, 0, 0, 0.5, 0])


def test_outputs_come_in_the_order_asked_for_and_once() -> None:
    response = respond(request(outputs=("probabilities", "labels", "probabilities")))

    assert [each.name for each in response.outputs] == ["probabilities", "labels"]


def test_a_response_carries_the_requests_id_and_the_version() -> None:
    response = respond(request(request_id="mine"))

    assert (response.id, response.model_name, response.model_version) == ("mine", "papers", "v1")


@given(st.lists(st.binary(max_size=40), max_size=4), st.integers(-2, 5))
def test_no_raw_contents_do_worse_than_being_refused(raws: list[bytes], count: int) -> None:
    message = ModelInferRequest(model_name="papers", raw_input_contents=raws[:1])
    message.inputs.add(name="text", shape=[count], datatype="BYTES")
    try:
        found = read_infer_request(InferRequest.from_grpc(message), LIMITS)
    except InvalidInput:
        return
    assert len(found.texts) == count


@pytest.mark.parametrize("value", [pytest.param(1, id="one"), pytest.param(10**30, id="huge"), pytest.param(None, id="none")])
def test_top_k_is_a_positive_integer(value: int | None) -> None:
    assert read_parameters({"top_k": value}) == (None if value is None else Selection(top_k=value), None)


@pytest.mark.parametrize("value", [0, -1, 1.0, "1", True, [1], {}], ids=repr)
def test_any_other_top_k_is_refused(value: object) -> None:
    with pytest.raises(InvalidInput, match="expected a positive integer"):
        read_parameters({"top_k": value})


@pytest.mark.parametrize("value", [-0.1, 1.01, float("nan"), float("inf"), "0.5", True, []], ids=repr)
def test_a_threshold_outside_0_to_1_is_refused(value: object) -> None:
    with pytest.raises(InvalidInput, match="expected a number from 0 to 1"):
        read_parameters({"threshold": value})


def grpc_question(**parameters: Any) -> Any:
    message = ModelInferRequest(model_name="papers")
    message.inputs.add(name="text", shape=[0], datatype="BYTES")
    for name, value in parameters.items():
        message.parameters[name].string_param = value
    return read_infer_request(InferRequest.from_grpc(message), LIMITS)


@pytest.mark.parametrize("written", ["0", "1", "0.5", "1.0", "5e-1", "0.05E1", "-0.0"])
def test_a_threshold_over_grpc_is_a_number_as_json_writes_it(written: str) -> None:
    assert grpc_question(threshold=written).selection == Selection(threshold=float(written))


@pytest.mark.parametrize(
    "written", ["0_5", " 0.5 ", "0.5\n", "\u0660.\u0665", ".5", "1.", "+1", "00", "0x1", "nan", "inf", "1e999", "", "0" * 10**6]
)
def test_any_other_threshold_over_grpc_is_refused_as_it_came(written: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        grpc_question(threshold=written)

    assert str(refused.value).startswith(f"parameter threshold is {json.dumps(written, ensure_ascii=False)[:37]}")


@pytest.mark.parametrize(
    ("field", "sentence"),
    [
        pytest.param("inputs", 'inputs[0].parameters has "top_k": expected binary_data_size or content_type; ', id="input"),
        pytest.param("outputs", 'outputs[0].parameters has "top_k": expected binary_data; ', id="output"),
    ],
)
def test_a_tensor_s_parameter_that_would_be_ignored_is_refused_over_grpc_too(field: str, sentence: str) -> None:
    message = ModelInferRequest(model_name="papers")
    message.inputs.add(name="text", shape=[0], datatype="BYTES")
    message.outputs.add(name="labels")
    getattr(message, field)[0].parameters["top_k"].int64_param = 5

    with pytest.raises(InvalidInput) as refused:
        read_infer_request(InferRequest.from_grpc(message), LIMITS)

    assert str(refused.value) == sentence + "top_k and threshold go in the request's own parameters"


def test_v1_has_no_padding() -> None:
    assert v1_response(ANSWER) == {
        "predictions": [
            {"labels": ["b", "a"], "scores": [0.9, 0.6]},
            {"labels": [], "scores": []},
            {"labels": ["c"], "scores": [0.5]},
        ]
    }


def test_a_refusal_shows_no_more_than_the_beginning_of_a_value() -> None:
    with pytest.raises(InvalidInput) as refused:
        read_parameters({"top_k": "x" * 100_000})

    assert len(str(refused.value)) < 200


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param({"priority": 0}, id="priority"),
        pytest.param({"priority": 2**64 - 1}, id="highest-priority"),
        pytest.param({"sequence_id": 0, "sequence_start": False, "sequence_end": False}, id="no-sequence"),
        pytest.param({"sequence_id": ""}, id="no-sequence-by-name"),
        pytest.param({"content_type": "str"}, id="content-type"),
    ],
)
def test_what_asks_for_nothing_else_is_let_through(asked: dict[str, Any]) -> None:
    assert read_parameters(asked) == (None, None)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        pytest.param({"priority": -1}, "parameter priority is -1: expected a non-negative integer", id="priority"),
        pytest.param(
            {"priority": "high"}, 'parameter priority is "high": expected a non-negative integer', id="priority-by-name"
        ),
        pytest.param({"timeout": -1}, "parameter timeout is -1: expected microseconds, a non-negative integer", id="timeout"),
        pytest.param({"timeout": 0.5}, "parameter timeout is 0.5: expected microseconds, a non-negative integer", id="seconds"),
        pytest.param({"timeout": True}, "parameter timeout is true: expected microseconds, a non-negative integer", id="boolean"),
        pytest.param({"sequence_id": 7}, "parameter sequence_id is 7: expected none, since each text is", id="sequence"),
        pytest.param({"sequence_start": True}, "parameter sequence_start is true: expected none", id="start-of-a-sequence"),
        pytest.param({"content_type": "base64"}, 'parameter content_type is "base64": expected str', id="content-type"),
    ],
)
def test_what_cannot_be_obeyed_is_refused(asked: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        read_parameters(asked)

    assert str(refused.value).startswith(sentence)


@pytest.mark.parametrize(
    ("microseconds", "seconds"),
    [
        pytest.param(None, None, id="null"),
        pytest.param(0, None, id="none"),
        pytest.param(1, 1e-6, id="shortest"),
        pytest.param(2_500_000, 2.5, id="seconds"),
        pytest.param(2**64 - 1, None, id="longer-than-any-timer"),
        pytest.param(10**400, None, id="longer-than-a-float"),
    ],
)
def test_a_timeout_is_given_in_microseconds(microseconds: int | None, seconds: float | None) -> None:
    assert read_parameters({"timeout": microseconds}) == (None, seconds)


def test_an_input_whose_elements_are_no_texts_is_refused() -> None:
    tensor = InferInput("text", [1], "BYTES", data=["eA=="], parameters={"content_type": "base64"})

    with pytest.raises(InvalidInput) as refused:
        read_infer_request(InferRequest("papers", [tensor]), LIMITS)

    assert str(refused.value) == 'inputs[0].parameters.content_type is "base64": expected str, since every element is a text'
