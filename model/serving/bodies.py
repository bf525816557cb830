"""REST bodies, JSON with or without binary tensors behind it, to what `protocol` reads.

The SDK's own reading answers 422 or 500 where the client is wrong; this answers InvalidInput with a sentence.
"""

from __future__ import annotations

from collections.abc import Mapping
from reprlib import repr as short
from typing import Any

from kserve import InferInput, InferRequest
from kserve.errors import InvalidInput
from kserve.protocol.infer_type import RequestedOutput
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from model.serving.protocol import Question, choices_of, require_bytes

# Fields that a request must have, and what they hold.
WANTED = {
    "inputs": "a list of one tensor",
    "name": "a string",
    "shape": "[n], n being the number of texts",
    "datatype": "BYTES",
    "data": "a list of strings",
    "instances": "a list of strings",
}


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, protected_namespaces=())


class _Input(_Body):
    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] = Field(default_factory=dict)
    data: list[Any] | None = None


class _Output(_Body):
    name: str
    parameters: dict[str, Any] = Field(default_factory=dict)


class _Inference(_Body):
    id: str | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)
    inputs: list[_Input]
    outputs: list[_Output] = Field(default_factory=list)
    # Sent by KServe's client; the address says it already.
    model_name: str | None = None
    model_version: str | None = None


class _Instances(_Body):
    instances: list[str]
    parameters: dict[str, Any] = Field(default_factory=dict)


def inference_of(body: bytes, json_length: str | None, model_name: str) -> InferRequest:
    """A v2 body, whose JSON is `json_length` bytes long if binary tensors follow it. Raises InvalidInput."""
    head, tail = _cut(body, json_length)
    try:
        inference = _Inference.model_validate_json(head)
    except ValidationError as error:
        raise InvalidInput(_sentence(error)) from error
    raw = _raw_inputs(inference.inputs, tail)
    return InferRequest(
        model_name,
        [InferInput(each.name, each.shape, each.datatype, data=each.data) for each in inference.inputs],
        request_id=inference.id,
        raw_inputs=raw,
        parameters=inference.parameters,
        request_outputs=[RequestedOutput(each.name, each.parameters) for each in inference.outputs],
    )


def instances_of(payload: object) -> Question:
    """A v1 body: what the SDK read, or bytes where it did not take the content type for JSON. Raises InvalidInput."""
    try:
        body = _Instances.model_validate_json(payload) if isinstance(payload, bytes) else _Instances.model_validate(payload)
    except ValidationError as error:
        raise InvalidInput(_sentence(error)) from error
    top_k, threshold = choices_of(body.parameters)
    return Question(body.instances, top_k, threshold)


def _cut(body: bytes, json_length: str | None) -> tuple[bytes, bytes]:
    if json_length is None:
        return body, b""
    if not json_length.isdecimal() or int(json_length) > len(body):
        expected = f"a number of bytes up to the body's {len(body)}"
        raise InvalidInput(f"header Inference-Header-Content-Length is {short(json_length)}: expected {expected}")
    return body[: int(json_length)], body[int(json_length) :]


def _raw_inputs(inputs: list[_Input], tail: bytes) -> list[bytes] | None:
    """The binary contents, one for each input; None if there are none. `protocol` wants exactly one input, so does this."""
    sizes = [each.parameters.get("binary_data_size") for each in inputs]
    if not any(size is not None for size in sizes):
        for at, each in enumerate(inputs):
            if each.data is None:
                raise InvalidInput(f"inputs.{at}.data is missing: expected {WANTED['data']}")
        if tail:
            raise InvalidInput(f"the body has {len(tail)} bytes behind its JSON: expected an input with binary_data_size")
        return None
    if len(inputs) != 1:
        raise InvalidInput(f"inputs holds {len(inputs)} tensors: expected one, named 'text'")
    require_bytes(inputs[0].name, inputs[0].datatype.upper())
    if sizes[0] != len(tail) or inputs[0].data is not None:
        expected = f"the {len(tail)} bytes behind the JSON and no data"
        raise InvalidInput(f"inputs.0.parameters.binary_data_size is {short(sizes[0])}: expected {expected}")
    return [tail]


def _sentence(error: ValidationError) -> str:
    """The first thing that is wrong with a body."""
    first: Mapping[str, Any] = error.errors(include_url=False)[0]
    where = ".".join(map(str, first["loc"]))
    match first["type"]:
        case "json_invalid":
            return f"the body is not JSON: {first['ctx']['error']}"
        case "missing":
            return f"{where} is missing: expected {WANTED[first['loc'][-1]]}"
        case "extra_forbidden":
            return f"{where} is not a field of this request: expected another name; top_k and threshold go in parameters"
        case _:
            expected = first["msg"].removeprefix("Input should be ")
            return f"{where or 'the body'} is {short(first['input'])}: expected {expected}"
