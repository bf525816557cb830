"""What a message is made of, told without reading it."""

from __future__ import annotations

from contextlib import suppress
from itertools import islice
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from kserve.protocol.grpc.grpc_predict_v2_pb2 import ModelInferRequest

from model.serving.wire import parts

KIND = ModelInferRequest.DESCRIPTOR


def request(*texts: bytes, **more: Any) -> Any:
    message = ModelInferRequest(model_name="papers", **more)
    message.inputs.add(name="text", shape=[len(texts)], datatype="BYTES").contents.bytes_contents.extend(texts)
    message.parameters["top_k"].int64_param = -1
    return message


def count(sent: bytes) -> int:
    return max(parts(sent, KIND), default=0)


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
def test_a_message_is_told_to_its_end(texts: list[bytes], raw: bytes) -> None:
    whole = request(*texts, raw_input_contents=[raw], id="mine").SerializeToString()

    assert count(whole) >= len(texts) + 8


@given(
    st.binary(max_size=60)
    | st.builds(lambda at, more: request(b"a").SerializeToString()[:at] + more, st.integers(0, 40), st.binary(max_size=20))
)
def test_what_cannot_be_told_cannot_be_read_either(sent: bytes) -> None:
    try:
        count(sent)
    except DecodeError:
        with suppress(DecodeError):  # but for groups, which are in none of these messages
            assert any(byte & 7 in {3, 4} for byte in ModelInferRequest.FromString(sent).SerializeToString())


def test_numbers_and_lengths_that_do_not_end_are_refused_at_once() -> None:
    for sent in (b"\x80" * 2**20, b"\x2a" + b"\xff" * 2**20, b"\x2a\x7f", b"\x0b" * 2**20):
        with pytest.raises(DecodeError):
            count(sent)


def test_what_is_told_is_told_as_it_is_found() -> None:
    assert list(islice(parts(b"\x2a\x00" * 2**20, KIND), 3)) == [1, 2, 3]
