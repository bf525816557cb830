"""Questions and answers, without a transport."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kserve import InferInput, InferRequest
from kserve.errors import InvalidInput
from kserve.protocol.grpc.grpc_predict_v2_pb2 import ModelInferRequest
from kserve.protocol.infer_type import InferResponse, RequestedOutput

from model.classifier import Prediction
from model.serving.protocol import Answer, choices_of, predictions_of, question_of, response_to

LABELS = ("a", "b", "c")
ANSWER = Answer(
    [Prediction(("b", "a"), (0.9, 0.6)), Prediction((), ()), Prediction(("c",), (0.5,))],
    np.array([[0.6, 0.9, 0.1], [0.1, 0.2, 0.3], [0.1, 0.2, 0.5]], np.float32),
)


def request(*, outputs: tuple[str, ...] = (), **more: Any) -> InferRequest:
    named = [RequestedOutput(each) for each in outputs]
    return InferRequest("papers", [InferInput("text", [3], "BYTES", data=["x", "y", "z"])], request_outputs=named, **more)


def respond(asked: InferRequest) -> InferResponse:
    return response_to(asked, ANSWER, question=question_of(asked), version="v1", labels=LABELS)


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
        found = question_of(InferRequest.from_grpc(message))
    except InvalidInput:
        return
    assert len(found.texts) == count


@pytest.mark.parametrize("value", [pytest.param(1, id="one"), pytest.param(10**30, id="huge"), pytest.param(None, id="none")])
def test_top_k_is_a_positive_integer(value: int | None) -> None:
    assert choices_of({"top_k": value}) == (value, None)


@pytest.mark.parametrize("value", [0, -1, 1.0, "1", True, [1], {}], ids=repr)
def test_any_other_top_k_is_refused(value: object) -> None:
    with pytest.raises(InvalidInput, match="expected a positive integer"):
        choices_of({"top_k": value})


@pytest.mark.parametrize("value", [-0.1, 1.01, float("nan"), float("inf"), "0.5", True, []], ids=repr)
def test_a_threshold_outside_0_to_1_is_refused(value: object) -> None:
    with pytest.raises(InvalidInput, match="expected a number from 0 to 1"):
        choices_of({"threshold": value})


def test_v1_has_no_padding() -> None:
    assert predictions_of(ANSWER) == {
        "predictions": [
            {"labels": ["b", "a"], "scores": [0.9, 0.6]},
            {"labels": [], "scores": []},
            {"labels": ["c"], "scores": [0.5]},
        ]
    }


def test_a_refusal_shows_no_more_than_the_beginning_of_a_value() -> None:
    with pytest.raises(InvalidInput) as refused:
        choices_of({"top_k": "x" * 100_000})

    assert len(str(refused.value)) < 200
