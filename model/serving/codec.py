"""REST codec: bodies of requests to `InferenceRequest`, `InferenceResult` to bodies of responses.

JSON is parsed once and written once. Responses equal those of the SDK's own v2 route to the byte
(`tests/contract/test_rest_codec.py`), at a fraction of its cost: the SDK validates every element twice. Binary tensors go through
the SDK's types. Invalid requests raise InvalidInput, where the SDK would answer 422 or 500.

Parsing blocks the event loop, and a body of 16 MiB can hold millions of objects, which take seconds. So parsing ends at the first
error, and the types have no more fields than a request needs.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
from kserve import InferInput, InferRequest
from kserve.errors import InvalidInput
from kserve.protocol.infer_type import RequestedOutput

from model.classifier import Floats
from model.serving.errors import JSON_ERRORS, json_error_sentence, missing, not_a_string, short_json
from model.serving.requests import (
    COUNTED_CHUNK_BYTES,
    LABELS,
    LARGE_REQUEST_BYTES,
    PROBABILITIES,
    SCORES,
    InferenceRequest,
    InferenceResult,
    Limits,
    column_names,
    count_characters,
    infer_response,
    read_infer_request,
    read_parameters,
    requested_outputs,
    require_bytes_datatype,
    require_short_id,
    require_text_count,
    require_text_input,
    text_count,
)

LEADING_BLANKS = re.compile(rb"[ \t\r\n]*")
QUOTE, BACKSLASH, LETTER_U = b'"\\u'

UUID_FIXED_BITS = 4 << 76 | 2 << 62  # version and variant
UUID_RANDOM_BITS = (1 << 128) - 1 & ~(15 << 76 | 3 << 62)

Scalar = str | int | float | bool | None


class _StrictStruct(msgspec.Struct, forbid_unknown_fields=True):
    pass


class _Shape(_StrictStruct, array_like=True):
    """Shape [n] or [n, 1]. Unlike a list, which is parsed to its end before its length is checked."""

    rows: int
    columns: int | msgspec.UnsetType = msgspec.UNSET

    def dimensions(self) -> tuple[int, ...]:
        return (self.rows,) if self.columns is msgspec.UNSET else (self.rows, self.columns)


class _Tensor(_StrictStruct):
    name: str
    shape: _Shape
    datatype: str
    parameters: dict[str, Scalar] | None = None
    data: list[str | tuple[str]] | None = None  # flat, or nested for a shape [n, 1]


class _Output(_StrictStruct):
    name: str
    parameters: dict[str, Scalar] | None = None


class _V2Body(_StrictStruct):
    inputs: list[_Tensor]
    id: str | None = None
    parameters: dict[str, Scalar] | None = None
    outputs: list[_Output] | None = None
    # KServe's client sends these. They are ignored, because the path has the same values.
    model_name: str | None = None
    model_version: str | None = None


class _Instance(_StrictStruct):
    text: str


class _V1Body(_StrictStruct):
    instances: list[str | _Instance]
    parameters: dict[str, Scalar] | None = None


class _CloudEvent(_StrictStruct):
    """A CloudEvent with instances as its data, which the SDK's v1 accepts too."""

    specversion: str
    id: str
    source: str
    type: str
    data: _V1Body
    time: str | None = None
    subject: str | None = None
    dataschema: str | None = None
    datacontenttype: str | None = None


_decode_v2_json = msgspec.json.Decoder(_V2Body).decode
_decode_v1_json = msgspec.json.Decoder(_V1Body).decode
_decode_event = msgspec.json.Decoder(_CloudEvent).decode
# The SDK's encoder: others write small numbers differently.
_encode_json = json.JSONEncoder(ensure_ascii=False, check_circular=False, allow_nan=False, separators=(",", ":")).encode


class V2Request(NamedTuple):
    """A v2 request. `binary`: the same request in the SDK's type, if any tensor is binary."""

    id: str
    inference: InferenceRequest
    binary: InferRequest | None = None


class ResponseBody(NamedTuple):
    """Body of a response. `json_length`: bytes of its JSON, if binary tensors follow it."""

    content: bytes
    json_length: int | None = None


def decode_v2(body: bytes, json_length: str | None, *, model_name: str, limits: Limits) -> V2Request:
    """Decode a v2 body. `json_length`: bytes of its JSON, if binary tensors follow it. Raises InvalidInput."""
    head, tail = _cut(body, json_length)
    _check_strings(head, limits)
    try:
        parsed = _decode_v2_json(head)
    except JSON_ERRORS as error:
        raise InvalidInput(json_error_sentence(error, head)) from error
    if _is_binary(parsed, tail):
        sent = _sdk_request(parsed, tail, model_name)
        return V2Request(sent.id, read_infer_request(sent, limits), sent)
    require_short_id(parsed.id)
    selection, timeout_seconds = read_parameters(parsed.parameters)
    require_text_input([each.name for each in parsed.inputs])
    outputs = requested_outputs([each.name for each in parsed.outputs]) if parsed.outputs else (LABELS, SCORES)
    return V2Request(parsed.id or _new_id(), InferenceRequest(_texts(parsed.inputs[0]), selection, timeout_seconds, outputs))


def encode_v2(
    request: V2Request, result: InferenceResult, *, model_name: str, version: str, labels: Sequence[str]
) -> ResponseBody:
    """Return the body of the v2 response. `labels`: names of the columns of `probabilities`."""
    if request.binary is not None:
        response = infer_response(request.binary, result, request=request.inference, version=version, labels=labels)
        content, json_length = response.to_rest()
        if json_length:  # else no output is binary
            return ResponseBody(content, json_length)
    outputs = ",".join([_output(name, result, labels) for name in request.inference.outputs])
    head = f'"model_name":{_encode_json(model_name)},"model_version":{_encode_json(version)},"id":{_encode_json(request.id)}'
    return ResponseBody(f'{{{head},"parameters":null,"outputs":[{outputs}]}}'.encode())


def decode_v1(payload: object) -> InferenceRequest:
    """Decode a v1 body: what the SDK parsed, or bytes if its content type is not JSON's. Raises InvalidInput."""
    try:
        body = _decode_v1_json(payload) if isinstance(payload, bytes) else msgspec.convert(payload, _V1Body)
    except JSON_ERRORS as error:
        raise InvalidInput(json_error_sentence(error, payload)) from error
    selection, timeout_seconds = read_parameters(body.parameters)
    texts = [each if isinstance(each, str) else each.text for each in body.instances]
    return InferenceRequest(texts, selection, timeout_seconds)


def check_v1_body(body: bytes, limits: Limits) -> None:
    """Raise InvalidInput for a v1 body that holds more objects than any valid one, before the SDK parses it."""
    if len(body) <= LARGE_REQUEST_BYTES:
        return
    # If instances are objects, the name of their field is one more string per text.
    _check_strings(body, limits, names=limits.texts)
    try:
        _decode_event(body)
    except JSON_ERRORS:
        decode_v1(body)


def _check_strings(body: bytes, limits: Limits, *, names: int = 0) -> None:
    """Raise InvalidInput if JSON has more strings than any valid request, TextsTooLarge if it has more characters.

    names: number of strings besides the texts that a valid request may have, such as names of fields. Counting takes
    milliseconds. A quote without a backslash before it starts or ends a string. An escape takes up to twelve characters.
    """
    if len(body) <= LARGE_REQUEST_BYTES:
        return
    array = np.frombuffer(body, np.uint8)
    quotes = escapes = long_escapes = 0
    for start in range(0, len(array), COUNTED_CHUNK_BYTES):  # counting two bytes with `bytes.count` takes much longer
        piece = array[start : start + COUNTED_CHUNK_BYTES]
        before = array[start - 1 : start - 1 + len(piece)] if start else piece[:-1]
        after, follows_backslash = piece[len(piece) - len(before) :], before == BACKSLASH
        quotes += int(np.count_nonzero((after == QUOTE) & ~follows_backslash))
        limits.check_parts(quotes // 2 - names)
        escapes += int(np.count_nonzero(piece == BACKSLASH))
        long_escapes += int(np.count_nonzero((after == LETTER_U) & follows_backslash))
    characters = count_characters(body) - LEADING_BLANKS.match(body).end()  # type: ignore[union-attr]  # it matches the empty string too
    limits.check_size(characters - escapes - 4 * long_escapes)  # an escape has two bytes; six if its second character is u


def _new_id() -> str:
    """Return a random UUID (RFC 9562, version 4) as `str(uuid.uuid4())` does, at a fraction of its cost.

    No secret depends on it, so it needs no system call for random bytes.
    """
    digits = f"{random.getrandbits(128) & UUID_RANDOM_BITS | UUID_FIXED_BITS:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _texts(tensor: _Tensor) -> list[str]:
    require_bytes_datatype(tensor.name, tensor.datatype)
    count = text_count(tensor.shape.dimensions())
    if tensor.data is None:
        raise InvalidInput(missing("inputs[0].data"))
    require_text_count(len(tensor.data), count)
    return _flat(tensor)


def _flat(tensor: _Tensor) -> list[str]:
    """Return the elements as a flat list. They may be nested only if the shape is [n, 1]. Raises InvalidInput."""
    flat = []
    for at, each in enumerate(tensor.data or ()):
        if isinstance(each, str):
            flat.append(each)
        elif tensor.shape.columns == 1:
            flat.append(each[0])
        else:
            raise InvalidInput(not_a_string(at, short_json(list(each))))
    return flat


def _output(name: str, result: InferenceResult, labels: Sequence[str]) -> str:
    """Return one output tensor as JSON. It is encoded row by row, because encoding holds the interpreter's lock."""
    if name == PROBABILITIES:
        return _tensor(name, "FP32", result.probabilities.shape, _probabilities(result.probabilities), column_names(labels))
    longest = max([len(each.labels) for each in result.predictions], default=0)
    shape = (len(result.predictions), longest)
    if name == LABELS:
        return _tensor(name, "BYTES", shape, (_padded(each.labels, longest, "") for each in result.predictions))
    return _tensor(name, "FP32", shape, (_padded(each.scores, longest, 0.0) for each in result.predictions))


def _tensor(name: str, datatype: str, shape: tuple[int, ...], rows: Iterable[Sequence[object]], labels: str | None = None) -> str:
    data = ",".join([_encode_json(row)[1:-1] for row in rows]) if shape[1] else ""
    parameters = "null" if labels is None else _encode_json({"labels": labels})
    head = f'"name":"{name}","shape":[{shape[0]},{shape[1]}],"datatype":"{datatype}","parameters":{parameters}'
    return f'{{{head},"data":[{data}]}}'


def _probabilities(probabilities: Floats) -> Iterable[Sequence[float]]:
    return (row.tolist() for row in probabilities)


def _padded(row: tuple[Any, ...], length: int, filler: object) -> tuple[Any, ...]:
    return row if len(row) == length else row + (filler,) * (length - len(row))


def _cut(body: bytes, json_length: str | None) -> tuple[bytes, bytes]:
    if json_length is None:
        return body, b""
    if not re.fullmatch(r"[0-9]{1,12}", json_length) or int(json_length) > len(body):
        expected = f"a number of bytes up to the body's {len(body)}"
        raise InvalidInput(f"header Inference-Header-Content-Length is {short_json(json_length)}: expected {expected}")
    return body[: int(json_length)], body[int(json_length) :]


def _is_binary(parsed: _V2Body, tail: bytes) -> bool:
    """Return whether the request may have binary tensors; unknown parameters are refused later."""
    return bool(
        tail
        or (parsed.parameters and "binary_data_output" in parsed.parameters)
        or any(each.parameters for each in parsed.inputs)
        or any(each.parameters for each in parsed.outputs or ())
    )


def _sdk_request(parsed: _V2Body, tail: bytes, model_name: str) -> InferRequest:
    raw = _raw_inputs(parsed.inputs, tail)
    return InferRequest(
        model_name,
        [
            InferInput(each.name, list(each.shape.dimensions()), each.datatype, _data(each), each.parameters)
            for each in parsed.inputs
        ],
        request_id=parsed.id or _new_id(),
        raw_inputs=raw,
        parameters=parsed.parameters or {},
        request_outputs=[RequestedOutput(each.name, each.parameters or {}) for each in parsed.outputs or ()],
    )


def _data(tensor: _Tensor) -> list[str] | None:
    return None if tensor.data is None else _flat(tensor)


def _raw_inputs(inputs: list[_Tensor], tail: bytes) -> list[bytes] | None:
    """Return the binary contents of the one input, or None if there are none. Raises InvalidInput."""
    sizes = [(each.parameters or {}).get("binary_data_size") for each in inputs]
    if not any(size is not None for size in sizes):
        for at, each in enumerate(inputs):
            if each.data is None:
                raise InvalidInput(missing(f"inputs[{at}].data"))
        if tail:
            raise InvalidInput(f"the body has {len(tail)} bytes after its JSON: expected an input with binary_data_size")
        return None
    require_text_input([each.name for each in inputs])
    require_bytes_datatype(inputs[0].name, inputs[0].datatype)
    if type(sizes[0]) is not int or sizes[0] != len(tail) or inputs[0].data is not None:
        expected = f"the {len(tail)} bytes after the JSON and no data"
        raise InvalidInput(f"inputs[0].parameters.binary_data_size is {short_json(sizes[0])}: expected {expected}")
    return [tail]
