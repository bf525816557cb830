"""gRPC messages: fields that the SDK's messages lack, and parts that are counted before a message is parsed."""

from __future__ import annotations

import json
import struct
from contextlib import suppress
from itertools import islice
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from kserve.errors import InvalidInput
from kserve.protocol.grpc.grpc_predict_v2_pb2 import ModelInferRequest

from model.classifier import Selection
from model.serving.codec import decode_v2
from model.serving.grpc_messages import part_counts, to_infer_request
from model.serving.requests import InferenceRequest, Limits, read_infer_request

LIMITS = Limits(texts=10, characters=100, request_characters=1000)


def message(**parameters: bytes | int | bool | str) -> Any:
    """A request as it arrives; the value of a parameter may be the bytes of an InferParameter."""
    asked = ModelInferRequest(model_name="papers")
    asked.inputs.add(name="text", shape=[1], datatype="BYTES").contents.bytes_contents.append(b"a")
    for name, value in parameters.items():
        fill(asked.parameters[name], value)
    return ModelInferRequest.FromString(asked.SerializeToString())


def fill(parameter: Any, value: bytes | int | bool | str) -> None:
    if isinstance(value, bytes):
        parameter.MergeFromString(value)
    else:
        field = {bool: "bool_param", int: "int64_param", str: "string_param"}[type(value)]
        setattr(parameter, field, value)


def double(value: float) -> bytes:
    """An InferParameter of Triton's, whose field 4 is double_param."""
    return b"\x21" + struct.pack("<d", value)


def uint64(value: int) -> bytes:
    """An InferParameter of Triton's, whose field 5 is uint64_param."""
    written = b""
    while value > 0x7F:
        written += bytes([value & 0x7F | 0x80])
        value >>= 7
    return b"\x28" + written + bytes([value])


def question(asked: Any) -> InferenceRequest:
    return read_infer_request(to_infer_request(asked), LIMITS)


def refusal(asked: Any) -> str:
    with pytest.raises(InvalidInput) as refused:
        question(asked)
    return str(refused.value)


@given(st.floats(0, 1))
def test_a_fraction_is_obeyed(threshold: float) -> None:
    assert question(message(threshold=double(threshold))).selection == Selection(threshold=threshold)


@given(st.integers(1, 2**64 - 1))
def test_an_unsigned_number_is_obeyed(top_k: int) -> None:
    assert question(message(top_k=uint64(top_k))).selection == Selection(top_k=top_k)


def test_a_timeout_and_a_priority_come_in_fields_of_their_own() -> None:
    assert question(message(timeout=uint64(1500), priority=uint64(2**64 - 1))).timeout_seconds == 0.0015


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        pytest.param(
            {"temperature": double(0.5)}, 'parameter "temperature" is not known: expected top_k or threshold', id="name"
        ),
        pytest.param({"temperature": b""}, 'parameter "temperature" is not known: expected top_k or threshold', id="no-value"),
        pytest.param({"top_k": double(2)}, "parameter top_k is 2.0: expected a positive integer", id="fraction-for-a-number"),
        pytest.param(
            {"threshold": double(float("nan"))}, "parameter threshold is NaN: expected a number from 0 to 1", id="not-a-number"
        ),
        pytest.param(
            {"threshold": b"\x32\x01a"},
            "parameter threshold has its value in field 6: expected a boolean, a number or a string",
            id="unknown-kind",
        ),
        pytest.param(
            {"threshold": b"\x1a\x030.5" + double(0.5)}, "parameter threshold has 2 values: expected one", id="two-values"
        ),
    ],
)
def test_a_parameter_that_cannot_be_obeyed_is_refused_by_its_name(parameters: dict[str, bytes], sentence: str) -> None:
    assert refusal(message(**parameters)) == sentence


@pytest.mark.parametrize(
    ("where", "sentence"),
    [
        pytest.param(lambda asked: asked, "the request has a field of number 99: ", id="request"),
        pytest.param(lambda asked: asked.inputs[0], "inputs[0] has a field of number 99: ", id="input"),
        pytest.param(lambda asked: asked.inputs[0].contents, "inputs[0].contents has a field of number 99: ", id="contents"),
        pytest.param(lambda asked: asked.outputs[0], "outputs[0] has a field of number 99: ", id="output"),
        pytest.param(
            lambda asked: asked.inputs[0].parameters["content_type"],
            "inputs[0].parameters.content_type has its value in field 99: ",
            id="parameter-of-the-input",
        ),
        pytest.param(
            lambda asked: asked.outputs[0].parameters["binary_data"],
            "outputs[0].parameters.binary_data has its value in field 99: ",
            id="parameter-of-an-output",
        ),
    ],
)
def test_an_unknown_field_is_refused(where: Any, sentence: str) -> None:
    asked = message()
    asked.outputs.add(name="labels")
    where(asked).MergeFromString(b"\x98\x06\x01")  # field 99, the number 1

    assert refusal(ModelInferRequest.FromString(asked.SerializeToString())).startswith(sentence)


def test_a_fraction_as_a_parameter_of_a_tensor_is_refused() -> None:
    asked = message()
    asked.inputs[0].parameters["threshold"].MergeFromString(double(0.5))

    assert refusal(asked).startswith('inputs[0].parameters has "threshold": expected binary_data_size or content_type; ')


values = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=5).filter(lambda text: not text.isdigit())
names = st.sampled_from(["top_k", "timeout", "priority", "sequence_id", "sequence_end", "content_type", "binary_data_output"])


@given(st.dictionaries(names | st.text(max_size=5), values, max_size=3))
def test_parameters_are_obeyed_or_refused_as_over_rest(parameters: dict[str, Any]) -> None:
    body = {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["a"]}], "parameters": parameters}
    told: list[InferenceRequest | str] = []
    for ask in (
        lambda: question(message(**parameters)),
        lambda: decode_v2(json.dumps(body).encode(), None, model_name="papers", limits=LIMITS).inference,
    ):
        try:
            told.append(ask())
        except InvalidInput as refused:
            told.append(str(refused))

    if all(isinstance(each, str) for each in told):  # a map has no order: any of several wrong ones may be reported
        assert len(parameters) > 1 or told[0] == told[1]
    else:
        assert told[0] == told[1]


KIND = ModelInferRequest.DESCRIPTOR


def request(*texts: bytes, **more: Any) -> Any:
    message = ModelInferRequest(model_name="papers", **more)
    message.inputs.add(name="text", shape=[len(texts)], datatype="BYTES").contents.bytes_contents.extend(texts)
    message.parameters["top_k"].int64_param = -1
    return message


def count(sent: bytes) -> int:
    return max(part_counts(sent, KIND), default=0)


def test_each_text_is_a_part() -> None:
    none, three = (count(request(*[b"x" * 1000] * texts).SerializeToString()) for texts in (0, 3))

    assert three - none == 3


def test_numbers_in_a_list_are_as_many_parts_as_their_bytes() -> None:
    message = request(b"a")
    message.inputs[0].contents.int_contents.extend([1] * 5000)

    assert 5000 < count(message.SerializeToString()) < 5050


@pytest.mark.parametrize("number", [2, 4, 5, 6, 7], ids=["version", "parameters", "inputs", "outputs", "raw"])
def test_empty_fields_are_parts_each(number: int) -> None:
    assert count(bytes([number << 3 | 2, 0]) * 1000) == 1000


@given(st.lists(st.binary(max_size=300), max_size=5), st.binary(max_size=300))
def test_the_parts_of_a_whole_message_are_counted(texts: list[bytes], raw: bytes) -> None:
    whole = request(*texts, raw_input_contents=[raw], id="mine").SerializeToString()

    assert count(whole) >= len(texts) + 8


@given(
    st.binary(max_size=60)
    | st.builds(lambda at, more: request(b"a").SerializeToString()[:at] + more, st.integers(0, 40), st.binary(max_size=20))
)
def test_a_message_whose_parts_cannot_be_counted_cannot_be_parsed_either(sent: bytes) -> None:
    try:
        count(sent)
    except DecodeError:
        with suppress(DecodeError):  # but for groups, which are in none of these messages
            assert any(byte & 7 in {3, 4} for byte in ModelInferRequest.FromString(sent).SerializeToString())


def test_numbers_and_lengths_that_do_not_end_are_refused_at_once() -> None:
    for sent in (b"\x80" * 2**20, b"\x2a" + b"\xff" * 2**20, b"\x2a\x7f", b"\x0b" * 2**20):
        with pytest.raises(DecodeError):
            count(sent)


def test_parts_are_counted_lazily() -> None:
    assert list(islice(part_counts(b"\x2a\x00" * 2**20, KIND), 3)) == [1, 2, 3]
