"""REST bodies: every field that is wrong is named."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kserve.errors import InvalidInput

from model.serving.bodies import inference_of, instances_of
from model.serving.protocol import Question, question_of

TENSOR: dict[str, Any] = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["a"]}

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def question(body: object) -> Question:
    return question_of(inference_of(json.dumps(body).encode(), None, "papers"))


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
        question_of(inference_of(body, length, "papers"))


@given(st.lists(st.text(max_size=30), max_size=10))
def test_texts_arrive_as_they_were_sent(texts: list[str]) -> None:
    assert list(question({"inputs": [TENSOR | {"shape": [len(texts)], "data": texts}]}).texts) == texts
    assert list(instances_of({"instances": texts}).texts) == texts


def test_what_kserves_client_adds_is_tolerated() -> None:
    assert question({"id": "1", "model_name": "papers", "inputs": [TENSOR]}).texts == ["a"]


def test_bytes_of_v1_are_read_as_json() -> None:
    assert instances_of(b'{"instances": ["a"], "parameters": {"threshold": 0}}') == Question(["a"], None, 0.0)
