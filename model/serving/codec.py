"""REST bodies to questions, answers to REST bodies.

JSON is read once and written once, to the byte as the SDK's own v2 route would answer (`tests/contract/test_rest_codec.py`)
at a fraction of its cost: that validates every element twice. Binary tensors go through the SDK's types. What a client
got wrong is InvalidInput with a sentence, where the SDK answers 422 or 500.

Nothing else is answered meanwhile. So the first thing that is wrong ends the reading, and the types leave no place for
more than a request needs: else 16 MiB can hold millions of objects, and take seconds.
"""

from __future__ import annotations

import json
import random
import re
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from kserve import InferInput, InferRequest
from kserve.errors import InvalidInput
from kserve.protocol.infer_type import RequestedOutput

from model.classifier import Floats
from model.serving.errors import JSON_ERRORS, json_error_sentence, missing, not_a_string, shown
from model.serving.requests import (
    COUNTED_AT_ONCE,
    LABELS,
    LARGE,
    PROBABILITIES,
    SCORES,
    Answer,
    Limits,
    Question,
    characters_of,
    choices_of,
    count_of,
    names_of,
    outputs_of,
    question_of,
    require_bytes,
    require_count,
    require_one,
    require_short_id,
    response_to,
    timeout_of,
)

LEADING_BLANKS = re.compile(rb"[ \t\r\n]*")
QUOTE, BACKSLASH = b'"\\'

Scalar = str | int | float | bool | None


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    pass


class _Shape(_Body, array_like=True):
    """[n], or [n, 1]. A list would be read to its end before it is found too long."""

    rows: int
    columns: int | msgspec.UnsetType = msgspec.UNSET

    def dimensions(self) -> tuple[int, ...]:
        return (self.rows,) if self.columns is msgspec.UNSET else (self.rows, self.columns)


class _Tensor(_Body):
    name: str
    shape: _Shape
    datatype: str
    parameters: dict[str, Scalar] | None = None
    data: list[str | tuple[str]] | None = None  # flat, or nested as a shape [n, 1] is


class _Output(_Body):
    name: str
    parameters: dict[str, Scalar] | None = None


class _Inference(_Body):
    inputs: list[_Tensor]
    id: str | None = None
    parameters: dict[str, Scalar] | None = None
    outputs: list[_Output] | None = None
    # Sent by KServe's client; the address says it already.
    model_name: str | None = None
    model_version: str | None = None


class _Instance(_Body):
    text: str


class _Instances(_Body):
    instances: list[str | _Instance]
    parameters: dict[str, Scalar] | None = None


class _Event(_Body):
    """A CloudEvent about instances, which the SDK's v1 takes too."""

    specversion: str
    id: str
    source: str
    type: str
    data: _Instances
    time: str | None = None
    subject: str | None = None
    dataschema: str | None = None
    datacontenttype: str | None = None


_read_inference = msgspec.json.Decoder(_Inference).decode
_read_instances = msgspec.json.Decoder(_Instances).decode
_read_event = msgspec.json.Decoder(_Event).decode
# The SDK's route writes JSON with this encoder too: another one prints small numbers otherwise.
_write = json.JSONEncoder(ensure_ascii=False, check_circular=False, allow_nan=False, separators=(",", ":")).encode


@dataclass(frozen=True)
class Inference:
    """A v2 request. `binary`: the same as the SDK's type, where tensors come or go in binary."""

    id: str
    question: Question
    binary: InferRequest | None = None


@dataclass(frozen=True)
class Body:
    """A response's body; `json_length` is that of its JSON in bytes, if binary tensors follow it."""

    content: bytes
    json_length: int | None = None


def inference_of(body: bytes, json_length: str | None, *, model_name: str, limits: Limits) -> Inference:
    """A v2 body, whose JSON is `json_length` bytes long if binary tensors follow it. Raises InvalidInput."""
    head, tail = _cut(body, json_length)
    _require_few_strings(head, limits)
    try:
        read = _read_inference(head)
    except JSON_ERRORS as error:
        raise InvalidInput(json_error_sentence(error, head)) from error
    if _is_binary(read, tail):
        request = _sdk_request(read, tail, model_name)
        return Inference(request.id, question_of(request, limits), request)
    require_short_id(read.id)
    top_k, threshold = choices_of(read.parameters) if read.parameters else (None, None)
    timeout = timeout_of(read.parameters) if read.parameters else None
    require_one([each.name for each in read.inputs])
    outputs = outputs_of([each.name for each in read.outputs]) if read.outputs else (LABELS, SCORES)
    return Inference(read.id or _new_id(), Question(_texts(read.inputs[0]), top_k, threshold, outputs, timeout))


def body_of(inference: Inference, answer: Answer, *, model_name: str, version: str, labels: Sequence[str]) -> Body:
    """The v2 response. `labels` are the names of the columns of `probabilities`."""
    question = inference.question
    if inference.binary is not None:
        response = response_to(inference.binary, answer, question=question, version=version, labels=labels)
        content, json_length = response.to_rest()
        if json_length:  # else no output goes in binary
            return Body(content, json_length)
    outputs = ",".join([_output(name, answer, labels) for name in question.outputs])
    written = f'"model_name":{_write(model_name)},"model_version":{_write(version)},"id":{_write(inference.id)}'
    return Body(f'{{{written},"parameters":null,"outputs":[{outputs}]}}'.encode())


def instances_of(payload: object) -> Question:
    """A v1 body: what the SDK read, or bytes where it did not take the content type for JSON. Raises InvalidInput."""
    try:
        body = _read_instances(payload) if isinstance(payload, bytes) else msgspec.convert(payload, _Instances)
    except JSON_ERRORS as error:
        raise InvalidInput(json_error_sentence(error, payload)) from error
    parameters = body.parameters or {}
    top_k, threshold = choices_of(parameters)
    texts = [each if isinstance(each, str) else each.text for each in body.instances]
    return Question(texts, top_k, threshold, timeout_seconds=timeout_of(parameters))


def require_light(body: bytes, limits: Limits) -> None:
    """Raise InvalidInput for a v1 body that the SDK would make more objects of than of any that is right."""
    if len(body) <= LARGE:
        return
    # Instances may be objects: their field's name, however it is written, is a string besides each text.
    _require_few_strings(body, limits, names=limits.texts)
    try:
        _read_event(body)
    except JSON_ERRORS:
        instances_of(body)


def _require_few_strings(body: bytes, limits: Limits, *, names: int = 0) -> None:
    """Raise InvalidInput if JSON holds more strings than a right request, TextsTooLarge if more characters.

    `names` is how many fields go with the texts: each adds a string to them. To count quotes and characters takes
    milliseconds. A quote that follows no backslash begins a string or ends it, so that they are at most two for each. A
    character that is escaped is written with up to twelve.
    """
    if len(body) <= LARGE:
        return
    written = np.frombuffer(body, np.uint8)
    quotes = 0
    for start in range(0, len(written), COUNTED_AT_ONCE):
        piece = written[start : start + COUNTED_AT_ONCE]
        before = written[start - 1 : start - 1 + len(piece)] if start else piece[:-1]
        quotes += int(np.count_nonzero((piece[len(piece) - len(before) :] == QUOTE) & (before != BACKSLASH)))
    limits.check_parts(quotes // 2 - names)
    characters = characters_of(body) - LEADING_BLANKS.match(body).end()  # type: ignore[union-attr]  # it matches nothing too
    escapes = body.count(b"\\")  # one takes two bytes, or six with a u
    limits.check_size(characters - escapes - 4 * body.count(b"\\u"))


def _new_id() -> str:
    """What `uuid.uuid4` gives, without asking the system for randomness that nothing here rests on: that takes longer."""
    return str(uuid.UUID(int=random.getrandbits(128), version=4))


def _texts(tensor: _Tensor) -> list[str]:
    require_bytes(tensor.name, tensor.datatype)
    count = count_of(tensor.shape.dimensions())
    if tensor.data is None:
        raise InvalidInput(missing("inputs[0].data"))
    require_count(len(tensor.data), count)
    return _flat(tensor)


def _flat(tensor: _Tensor) -> list[str]:
    """Return the elements, which may be nested where the shape is [n, 1]. Raises InvalidInput if others are."""
    flat = []
    for at, each in enumerate(tensor.data or ()):
        if isinstance(each, str):
            flat.append(each)
        elif tensor.shape.columns == 1:
            flat.append(each[0])
        else:
            raise InvalidInput(not_a_string(at, shown(list(each))))
    return flat


def _output(name: str, answer: Answer, labels: Sequence[str]) -> str:
    """One output tensor. Written row by row: the interpreter can do nothing else while it writes one."""
    if name == PROBABILITIES:
        return _tensor(name, "FP32", answer.probabilities.shape, _probabilities(answer.probabilities), names_of(labels))
    longest = max((len(each.labels) for each in answer.predictions), default=0)
    shape = (len(answer.predictions), longest)
    if name == LABELS:
        return _tensor(name, "BYTES", shape, (_padded(each.labels, longest, "") for each in answer.predictions))
    return _tensor(name, "FP32", shape, (_padded(each.scores, longest, 0.0) for each in answer.predictions))


def _tensor(name: str, datatype: str, shape: tuple[int, ...], rows: Iterable[Sequence[object]], labels: str | None = None) -> str:
    data = ",".join([_write(row)[1:-1] for row in rows]) if shape[1] else ""
    parameters = "null" if labels is None else _write({"labels": labels})
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
        raise InvalidInput(f"header Inference-Header-Content-Length is {shown(json_length)}: expected {expected}")
    return body[: int(json_length)], body[int(json_length) :]


def _is_binary(read: _Inference, tail: bytes) -> bool:
    """Whether the request speaks of binary tensors; those of parameters that it must not have are judged later."""
    return bool(
        tail
        or (read.parameters and "binary_data_output" in read.parameters)
        or any(each.parameters for each in read.inputs)
        or any(each.parameters for each in read.outputs or ())
    )


def _sdk_request(read: _Inference, tail: bytes, model_name: str) -> InferRequest:
    raw = _raw_inputs(read.inputs, tail)
    return InferRequest(
        model_name,
        [
            InferInput(each.name, list(each.shape.dimensions()), each.datatype, _data(each), each.parameters)
            for each in read.inputs
        ],
        request_id=read.id or _new_id(),
        raw_inputs=raw,
        parameters=read.parameters or {},
        request_outputs=[RequestedOutput(each.name, each.parameters or {}) for each in read.outputs or ()],
    )


def _data(tensor: _Tensor) -> list[str] | None:
    return None if tensor.data is None else _flat(tensor)


def _raw_inputs(inputs: list[_Tensor], tail: bytes) -> list[bytes] | None:
    """The binary contents, one for each input; None if there are none. `requests` wants exactly one input, so does this."""
    sizes = [(each.parameters or {}).get("binary_data_size") for each in inputs]
    if not any(size is not None for size in sizes):
        for at, each in enumerate(inputs):
            if each.data is None:
                raise InvalidInput(missing(f"inputs[{at}].data"))
        if tail:
            raise InvalidInput(f"the body has {len(tail)} bytes behind its JSON: expected an input with binary_data_size")
        return None
    require_one([each.name for each in inputs])
    require_bytes(inputs[0].name, inputs[0].datatype)
    if type(sizes[0]) is not int or sizes[0] != len(tail) or inputs[0].data is not None:
        expected = f"the {len(tail)} bytes behind the JSON and no data"
        raise InvalidInput(f"inputs[0].parameters.binary_data_size is {shown(sizes[0])}: expected {expected}")
    return [tail]
