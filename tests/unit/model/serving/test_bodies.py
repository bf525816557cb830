"""REST bodies: every field that is wrong is named."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kserve.errors import InvalidInput

from model.serving.bodies import inference_of, instances_of
from model.serving.protocol import Question

TENSOR: dict[str, Any] = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["a"]}

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def read(body: bytes) -> Question:
    return inference_of(body, None, "papers").question


def question(body: object) -> Question:
    return read(json.dumps(body).encode())


@given(anything)
def test_no_body_does_worse_than_being_refused(body: Any) -> None:
    with pytest.raises(InvalidInput):
        question(body)
    with pytest.raises(InvalidInput):
        instances_of(body)


@given(st.sampled_from(sorted(TENSOR)), anything)
def test_no_field_of_a_tensor_does_worse_than_being_refused(field: str, value: Any) -> None:
    try:
        found = question({"inputs": [TENSOR | {field: value}]})
    except InvalidInput:
        return
    assert list(found.texts) == (value if field == "data" else ["a"])


@given(st.binary(), st.none() | st.integers(0, 200).map(str) | st.text(max_size=5))
def test_no_bytes_do_worse_than_being_refused(body: bytes, length: str | None) -> None:
    with pytest.raises(InvalidInput):
        inference_of(body, length, "papers")


@given(st.lists(st.text(max_size=30), max_size=10))
def test_texts_arrive_as_they_were_sent(texts: list[str]) -> None:
    assert list(question({"inputs": [TENSOR | {"shape": [len(texts)], "data": texts}]}).texts) == texts
    assert list(instances_of({"instances": texts}).texts) == texts


def test_what_kserves_client_adds_is_tolerated() -> None:
    assert question({"id": "1", "model_name": "papers", "inputs": [TENSOR]}).texts == ["a"]


def test_bytes_of_v1_are_read_as_json() -> None:
    assert instances_of(b'{"instances": ["a"], "parameters": {"threshold": 0}}') == Question(["a"], None, 0.0)


@pytest.mark.parametrize("opened", [pytest.param("[", id="lists"), pytest.param('{"a":', id="objects")])
def test_a_body_of_any_depth_is_refused_with_a_sentence(opened: str) -> None:
    closed = "]" if opened == "[" else "1}"
    for depth in range(2, 1200):
        nested = opened * depth + closed[:-1] + closed[-1] * depth
        with pytest.raises(InvalidInput):
            read(f'{{"inputs":{nested}}}'.encode())
        with pytest.raises(InvalidInput):
            instances_of(f'{{"instances":{nested}}}'.encode())


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        pytest.param(b"", "the body is not JSON: Input data was truncated", id="empty"),
        pytest.param(b'{"inputs": NaN}', "the body is not JSON: invalid character (byte 11)", id="not-a-number"),
        pytest.param(b'{"id": "\xff"}', "the body is not UTF-8 at byte 8", id="not-utf-8"),
        pytest.param(b'{"id": 1e999}', "the body is not JSON: Number out of range", id="number-out-of-range"),
        pytest.param(b'{"inputs": [null]}', "inputs[0] is null: expected an object", id="null"),
        pytest.param(b'{"inputs": [], "id": true}', "id is true: expected a string", id="boolean"),
        pytest.param(b'{"inputs": [], "outputs": {"a": [1, null]}}', 'outputs is {"a":[1,null]}: expected a list', id="object"),
    ],
)
def test_what_is_wrong_is_said_in_json_s_words(body: bytes, sentence: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        read(body)

    assert str(refused.value) == sentence


@pytest.mark.parametrize("digits", [20, 300, 4301, 100_000])
def test_a_number_of_any_size_is_refused_with_a_short_sentence(digits: int) -> None:
    for body in ({"inputs": 7}, {"inputs": [TENSOR | {"shape": [7]}]}, {"inputs": [TENSOR], "parameters": {"threshold": 7}}):
        with pytest.raises(InvalidInput) as refused:
            read(json.dumps(body).replace("7", "9" * digits).encode())
        assert len(str(refused.value)) < 200


def test_an_id_is_kept_or_made() -> None:
    ids = [inference_of(json.dumps({"inputs": [TENSOR]} | more).encode(), None, "papers").id for more in ({"id": "mine"}, {}, {})]

    assert ids[0] == "mine"
    assert len(set(ids)) == 3


@given(st.lists(st.text(max_size=30), max_size=10))
def test_texts_in_binary_arrive_as_they_were_sent(texts: list[str]) -> None:
    tail = b"".join(len(each.encode()).to_bytes(4, "little") + each.encode() for each in texts)
    tensor = {"name": "text", "shape": [len(texts)], "datatype": "BYTES", "parameters": {"binary_data_size": len(tail)}}
    head = json.dumps({"inputs": [tensor]}).encode()

    assert list(inference_of(head + tail, str(len(head)), "papers").question.texts) == texts
