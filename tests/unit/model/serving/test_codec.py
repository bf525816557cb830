"""REST bodies: every field that is wrong is named."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kserve.errors import InvalidInput

from model.classifier import Selection
from model.serving.codec import V2Request, check_v1_body, decode_v1, decode_v2
from model.serving.requests import InferenceRequest, Limits

LIMITS = Limits(texts=1024, characters=1_000_000, request_characters=8_000_000)
TENSOR: dict[str, Any] = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["a"]}

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def infer(body: bytes, json_length: str | None = None) -> V2Request:
    return decode_v2(body, json_length, model_name="papers", limits=LIMITS)


def read(body: bytes) -> InferenceRequest:
    return infer(body).inference


def question(body: object) -> InferenceRequest:
    return read(json.dumps(body).encode())


@given(anything)
def test_no_body_does_worse_than_being_refused(body: Any) -> None:
    with pytest.raises(InvalidInput):
        question(body)
    with pytest.raises(InvalidInput):
        decode_v1(body)


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
        infer(body, length)


@given(st.lists(st.text(max_size=30), max_size=10))
def test_texts_arrive_as_they_were_sent(texts: list[str]) -> None:
    assert list(question({"inputs": [TENSOR | {"shape": [len(texts)], "data": texts}]}).texts) == texts
    assert list(decode_v1({"instances": texts}).texts) == texts


def test_what_kserves_client_adds_is_tolerated() -> None:
    assert question({"id": "1", "model_name": "papers", "inputs": [TENSOR]}).texts == ["a"]


def test_bytes_of_v1_are_read_as_json() -> None:
    assert decode_v1(b'{"instances": ["a"], "parameters": {"threshold": 0}}') == InferenceRequest(["a"], Selection(threshold=0.0))


@pytest.mark.parametrize("opened", [pytest.param("[", id="lists"), pytest.param('{"a":', id="objects")])
def test_a_body_of_any_depth_is_refused_with_a_sentence(opened: str) -> None:
    closed = "]" if opened == "[" else "1}"
    for depth in range(2, 1200):
        nested = opened * depth + closed[:-1] + closed[-1] * depth
        with pytest.raises(InvalidInput):
            read(f'{{"inputs":{nested}}}'.encode())
        with pytest.raises(InvalidInput):
            decode_v1(f'{{"instances":{nested}}}'.encode())


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
        pytest.param(
            b'{"inputs": [], "parameters": {"a": 1, "top_k": [1]}}',
            "parameters.top_k is [1]: expected a string, a number or a boolean",
            id="list-as-parameter",
        ),
        pytest.param(b'{"inputs": [5], "inputs": []}', "inputs[0] is an integer: expected an object", id="said-twice"),
        pytest.param(
            b'{"inputs": [], "parameters": {"a": [1], "a": 1}}',
            "parameters[...] is a list: expected a string, a number or a boolean",
            id="parameter-said-twice",
        ),
    ],
)
def test_errors_use_the_names_of_json_types(body: bytes, sentence: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        read(body)

    assert str(refused.value) == sentence


@pytest.mark.parametrize("digits", [20, 300, 4301, 100_000])
def test_a_number_of_any_size_is_refused_with_a_short_sentence(digits: int) -> None:
    for body in ({"inputs": 7}, {"inputs": [TENSOR | {"shape": [7]}]}, {"inputs": [TENSOR], "parameters": {"threshold": 7}}):
        with pytest.raises(InvalidInput) as refused:
            read(json.dumps(body).replace("7", "9" * digits).encode())
        assert len(str(refused.value)) < 200


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        pytest.param({"shape": [1, 2]}, "has shape [1,2]: expected [n] or [n,1], n being the number of texts", id="columns"),
        pytest.param({"shape": [1, 0]}, "has shape [1,0]: expected [n] or [n,1], n being the number of texts", id="no-column"),
        pytest.param(
            {"shape": [1, 1, 1]}, "has shape [1,1,1]: expected [n] or [n,1], n being the number of texts", id="three-dimensions"
        ),
        pytest.param({"shape": []}, "has shape []: expected [n] or [n,1], n being the number of texts", id="no-dimension"),
        pytest.param({"data": [["a"]]}, 'has ["a"] at position 0: expected a string', id="nested-though-the-shape-is-not"),
        pytest.param(
            {"shape": [1, 1], "data": [["a", "b"]]}, 'has ["a","b"] at position 0: expected a string', id="two-in-a-row"
        ),
        pytest.param({"shape": [1, 1], "data": [[5]]}, "has 5 at position 0: expected a string", id="a-number-in-a-row"),
        pytest.param({"shape": [2, 1]}, "has 1 text: expected 2, as its shape says", id="one-row"),
        pytest.param({"shape": [2]}, "has 1 text: expected 2, as its shape says", id="one-text"),
        pytest.param({"shape": [0]}, "has 1 text: expected 0, as its shape says", id="no-texts"),
        pytest.param({"data": ["a", 5]}, "has 5 at position 1: expected a string", id="a-number-as-text"),
    ],
)
def test_errors_of_the_input_name_the_input(changed: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        question({"inputs": [TENSOR | changed]})

    assert str(refused.value) == f'input "text" {sentence}'


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        pytest.param(
            {"inputs": [TENSOR | {"parameters": {"top_k": 3}}]},
            'inputs[0].parameters has "top_k": expected binary_data_size or content_type; ',
            id="input",
        ),
        pytest.param(
            {"inputs": [TENSOR], "outputs": [{"name": "scores"}, {"name": "labels", "parameters": {"classification": 3}}]},
            'outputs[1].parameters has "classification": expected binary_data; ',
            id="output",
        ),
    ],
)
def test_a_tensor_s_parameter_that_would_be_ignored_is_refused(body: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        question(body)

    assert str(refused.value) == sentence + "top_k and threshold go in the request's own parameters"


@pytest.mark.parametrize("count", [0, 1, 3])
@pytest.mark.parametrize("nested", [pytest.param(False, id="flat"), pytest.param(True, id="nested")])
def test_a_column_of_texts_is_as_good_as_a_list_of_them(nested: bool, count: int) -> None:
    texts = [f"text {at}" for at in range(count)]
    data = [[each] for each in texts] if nested else texts
    for more in ({}, {"parameters": {"content_type": "str"}}):  # which goes through the SDK's types
        assert list(question({"inputs": [TENSOR | {"shape": [count, 1], "data": data} | more]}).texts) == texts


def test_instances_may_be_objects_that_hold_a_text() -> None:
    assert decode_v1({"instances": ["a", {"text": "b"}]}).texts == ["a", "b"]


@pytest.mark.parametrize(
    ("instance", "sentence"),
    [
        pytest.param({}, "instances[1].text is missing: expected a string", id="empty"),
        pytest.param({"text": 1}, "instances[1].text is 1: expected a string", id="number"),
        pytest.param({"text": "a", "label": "b"}, "instances[1].label is not a field of this request: ", id="another-field"),
        pytest.param(["a"], 'instances[1] is ["a"]: expected a string', id="list"),
    ],
)
def test_an_instance_that_is_no_text_is_named(instance: object, sentence: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        decode_v1({"instances": ["a", instance]})

    assert str(refused.value).startswith(sentence)


def test_an_output_may_be_named_several_times_but_not_any_number_of_times() -> None:
    def asking(count: int) -> InferenceRequest:
        return question({"inputs": [TENSOR], "outputs": [{"name": "labels"}] * count})

    assert asking(16).outputs == ("labels",)
    with pytest.raises(InvalidInput, match="outputs holds 17 tensors: expected at most 16"):
        asking(17)


# --- bodies that would take long to read ------------------------------------------------------------------------------

SIZE = 2**20  # bytes of a heavy body; every one of them is read or refused in time and memory that grow with its size


def filled(head: bytes, unit: bytes, end: bytes) -> bytes:
    """A body of about SIZE bytes that is full of units, with commas between."""
    return head + b",".join([unit] * (SIZE // (len(unit) + 1))) + end


def tensor_of(field: bytes, unit: bytes) -> bytes:
    others = b"".join(b'"%s":%s,' % each for each in ((b"shape", b"[1]"), (b"data", b'["a"]')) if each[0] != field)
    return filled(b'{"inputs":[{"name":"text","datatype":"BYTES",' + others + b'"' + field + b'":[', unit, b"]}]}")


def whole_of(field: bytes, unit: bytes) -> bytes:
    return filled(json.dumps({"inputs": [TENSOR]}).encode()[:-1] + b',"' + field + b'":[', unit, b"]}")


def check_v1(body: bytes) -> None:
    check_v1_body(body, LIMITS)
    decode_v1(body)


TOO_MANY = "the request has over 1280 strings or fields: expected at most 1024 texts"
HEAVY = [
    pytest.param(read, tensor_of(b"data", b"[]"), 'input "text" has a list at position 0: expected a string', id="data-of-lists"),
    pytest.param(
        read, tensor_of(b"data", b"{}"), 'input "text" has an object at position 0: expected a string', id="data-of-objects"
    ),
    pytest.param(
        read, tensor_of(b"data", b"1"), 'input "text" has an integer at position 0: expected a string', id="data-of-numbers"
    ),
    pytest.param(read, tensor_of(b"data", b'"a"'), TOO_MANY, id="many-texts"),
    pytest.param(read, tensor_of(b"data", b'["a"]'), TOO_MANY, id="many-rows"),
    pytest.param(read, tensor_of(b"data", b'"\\\\"'), TOO_MANY, id="many-backslashes"),
    pytest.param(read, tensor_of(b"shape", b"1"), 'input "text" has shape of another length: expected [n]', id="long-shape"),
    pytest.param(read, whole_of(b"outputs", b'{"name":"labels"}'), TOO_MANY, id="many-outputs"),
    pytest.param(read, whole_of(b"parameters", b"[]"), "parameters is a list: expected an object", id="parameters-as-list"),
    pytest.param(read, whole_of(b"more", b"[]"), "more is not a field of this request", id="unknown-field"),
    pytest.param(read, filled(b'{"inputs":[', b"{}", b"]}"), "inputs[0].name is missing: expected a string", id="empty-inputs"),
    pytest.param(read, filled(b"[", b"[]", b"]"), "the body is a list: expected an object", id="list"),
    pytest.param(
        read,
        filled(b'{"inputs":[],"parameters":{"top_k":[', b"[]", b"]}}"),
        "parameters[...] is a list: expected a string, a number or a boolean",
        id="list-as-parameter",
    ),
    pytest.param(read, filled(b'{"inputs":[', b"[]", b""), "inputs[0] is a list: expected an object", id="no-json-in-the-end"),
    pytest.param(read, b'{"id":"' + b"a" * SIZE + b'\xff"}', "the body is not UTF-8", id="not-utf-8"),
    pytest.param(check_v1, filled(b'{"instances":[', b'"a"', b"]}"), TOO_MANY, id="v1-many-texts"),
    pytest.param(check_v1, filled(b'{"instances":[', b'"text"', b"]}"), TOO_MANY, id="v1-many-texts-that-look-like-names"),
    pytest.param(check_v1, filled(b'{"instances":[', b'{"text":"a"}', b"]}"), TOO_MANY, id="v1-many-objects"),
    pytest.param(check_v1, filled(b'{"instances":[', b"[]", b"]}"), "instances[0] is a list: expected a string", id="v1-lists"),
    pytest.param(check_v1, filled(b'{"more":[', b"[]", b"]}"), "more is not a field of this request", id="v1-unknown-field"),
]


@pytest.mark.parametrize(("reading", "body", "sentence"), HEAVY)
def test_a_heavy_body_is_refused_before_it_is_made_objects_of(
    reading: Callable[[bytes], object], body: bytes, sentence: str
) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(InvalidInput) as refused:
            reading(body)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert str(refused.value).startswith(sentence)
    assert peak < 4 * len(body)


def test_texts_that_are_full_of_quotes_and_backslashes_are_few() -> None:
    texts = ['"' * 100_000, "\\" * 100_000, '\\"' * 100_000]

    assert question({"inputs": [TENSOR | {"shape": [3], "data": texts}]}).texts == texts


def test_as_many_texts_as_are_let_in_are_read_whatever_else_is_asked() -> None:
    texts = ["x" * 100] * LIMITS.texts
    outputs = [{"name": "labels", "parameters": {"binary_data": False}}] * 16
    parameters = {"top_k": 1, "threshold": 0.5, "binary_data_output": False}

    asked = {"id": "1", "inputs": [TENSOR | {"shape": [len(texts)], "data": texts}], "outputs": outputs, "parameters": parameters}

    assert question(asked).texts == texts


def test_a_large_v1_body_that_is_right_is_let_through() -> None:
    instances = {"instances": ["x" * SIZE], "parameters": {"top_k": 1}}
    objects = {"instances": [{"text": "x" * 100}] * LIMITS.texts}
    escaped = json.dumps(objects).replace('"text"', r'"\u0074e\u0078t"')
    event = {"specversion": "1.0", "id": "1", "source": "a", "type": "b", "time": "2026-01-01T00:00:00Z", "data": instances}

    for body in (instances, objects, event):
        check_v1_body(json.dumps(body).encode(), LIMITS)
    check_v1_body(escaped.encode(), LIMITS)
    assert len(decode_v1(escaped.encode()).texts) == LIMITS.texts


@pytest.mark.parametrize(
    ("count", "sentence"),
    [
        pytest.param(1, "binary contents of another length: expected 1 text, each preceded by its length", id="one-text"),
        pytest.param(SIZE, f"the request has {SIZE} texts: expected at most 1024", id="as-many-as-there-are"),
    ],
)
def test_binary_data_of_many_texts_is_not_unpacked(count: int, sentence: str) -> None:
    tail = bytes(4 * SIZE)
    tensor = {"name": "text", "shape": [count], "datatype": "BYTES", "parameters": {"binary_data_size": len(tail)}}
    head = json.dumps({"inputs": [tensor]}).encode()
    body = head + tail
    tracemalloc.start()
    try:
        with pytest.raises(InvalidInput) as refused:
            infer(body, str(len(head)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert sentence in str(refused.value)
    assert peak < 2 * len(body)


def test_an_id_is_kept_or_made() -> None:
    ids = [infer(json.dumps({"inputs": [TENSOR]} | more).encode()).id for more in ({"id": "mine"}, {}, {})]

    assert ids[0] == "mine"
    assert len(set(ids)) == 3


@given(st.lists(st.text(max_size=30), max_size=10))
def test_texts_in_binary_arrive_as_they_were_sent(texts: list[str]) -> None:
    tail = b"".join(len(each.encode()).to_bytes(4, "little") + each.encode() for each in texts)
    tensor = {"name": "text", "shape": [len(texts)], "datatype": "BYTES", "parameters": {"binary_data_size": len(tail)}}
    head = json.dumps({"inputs": [tensor]}).encode()

    assert list(infer(head + tail, str(len(head))).inference.texts) == texts
