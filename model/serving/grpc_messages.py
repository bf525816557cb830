"""gRPC messages: count their parts before they are parsed, and read the fields that the SDK's messages lack.

Parsing makes an object of every part. A message of 16 MiB can hold millions of parts, which take seconds and block all other
requests, so `part_counts` counts them in the encoded bytes first.

Triton's clients use two more fields for parameters: one for fractions, one for unsigned integers. The SDK's messages lack them,
and parsing drops unknown fields silently. This module reads these two and refuses all other unknown fields.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet
from kserve import InferRequest
from kserve.errors import InvalidInput

from model.serving.errors import short_json
from model.serving.requests import (
    INPUT_PARAMETERS,
    OUTPUT_PARAMETERS,
    require_few_outputs,
    require_known,
    require_parameter,
    require_text_input,
)

# Wire types of fields. The other two are those of groups, which these messages do not have.
VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
CONTINUATION_BIT = 0x80  # of each byte of a varint but the last
MAX_SHIFT_BITS = 63  # of the last byte of a varint


def part_counts(sent: bytes, described: Descriptor) -> Iterator[int]:
    """Yield the number of parts up to each field of the message, nested messages included.

    A field is one part; a packed list of numbers is one part and one more for each of its bytes. Raises DecodeError.
    """
    count = 0
    for each in _part_sizes(sent, 0, len(sent), described):
        count += each
        yield count


def _part_sizes(sent: bytes, at: int, end: int, described: Descriptor) -> Iterator[int]:
    known = described.fields_by_number
    while at < end:
        tag, at = _read_varint(sent, at)
        kind = tag & 7
        if kind == LENGTH:
            length, at = _read_varint(sent, at)
            field = known.get(tag >> 3)
            if field is None or field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
                yield 1
            elif field.message_type is None:
                yield 1 + length
            else:
                yield 1
                yield from _part_sizes(sent, at, at + length, field.message_type)
            at += length
        elif kind == VARINT:
            yield 1
            _, at = _read_varint(sent, at)
        elif kind in {FIXED64, FIXED32}:
            yield 1
            at += 8 if kind == FIXED64 else 4
        else:
            raise DecodeError
    if at != end:
        raise DecodeError


def _read_varint(sent: bytes, at: int) -> tuple[int, int]:
    """Return the varint at position `at`, and the position after it."""
    number = shift = 0
    while at < len(sent) and shift <= MAX_SHIFT_BITS:
        byte = sent[at]
        at += 1
        number |= (byte & ~CONTINUATION_BIT) << shift
        if byte < CONTINUATION_BIT:
            return number, at
        shift += 7
    raise DecodeError


DOUBLE, UINT64 = 4, 5  # numbers of Triton's fields in InferParameter: double_param and uint64_param

Parameter = str | int | float | bool | None


def to_infer_request(message: Any) -> InferRequest:
    """Convert a ModelInferRequest, with all its parameters, to the SDK's request. Raises InvalidInput for unknown fields."""
    require_text_input([each.name for each in message.inputs])  # the SDK's error would repeat names of any length
    require_few_outputs(len(message.outputs))
    _require_no_more("the request", message)
    parameters = _parameters(message.parameters, "parameter ", _each(require_parameter))
    request = InferRequest.from_grpc(message)
    request.parameters = parameters
    for at, (tensor, sent) in enumerate(zip(request.inputs, message.inputs, strict=True)):
        where = f"inputs[{at}]"
        _require_no_more(where, sent)
        _require_no_more(f"{where}.contents", sent.contents)
        tensor.parameters = _parameters(sent.parameters, f"{where}.parameters.", _known(f"{where}.parameters", INPUT_PARAMETERS))
    for at, (output, sent) in enumerate(zip(request.request_outputs or (), message.outputs, strict=True)):
        where = f"outputs[{at}]"
        _require_no_more(where, sent)
        output.parameters = _parameters(sent.parameters, f"{where}.parameters.", _known(f"{where}.parameters", OUTPUT_PARAMETERS))
    return request


def _each(check: Callable[[str], None]) -> Callable[[Iterable[str]], None]:
    def check_all(names: Iterable[str]) -> None:
        for name in names:
            check(name)

    return check_all


def _known(where: str, known: tuple[str, ...]) -> Callable[[Iterable[str]], None]:
    return lambda names: require_known(where, names, known)


def _parameters(sent: Mapping[str, Any], where: str, check: Callable[[Iterable[str]], None]) -> dict[str, Parameter]:
    """Return the values of the parameters. `check` raises for unknown names, before any value is read."""
    check(sent)
    return {name: _value(f"{where}{name}", sent[name]) for name in sent}


def _value(what: str, parameter: Any) -> Parameter:
    """Return the value of an InferParameter; None if it has none. Raises InvalidInput if it has several, or an unknown kind."""
    values: list[Parameter] = []
    if chosen := parameter.WhichOneof("parameter_choice"):
        values.append(getattr(parameter, chosen))
    for field in UnknownFieldSet(parameter):
        if (field.field_number, field.wire_type) == (DOUBLE, FIXED64):
            values.append(struct.unpack("<d", field.data.to_bytes(8, "little"))[0])
        elif (field.field_number, field.wire_type) == (UINT64, VARINT):
            values.append(field.data)
        else:
            raise InvalidInput(f"{what} has its value in field {field.field_number}: expected a boolean, a number or a string")
    if len(values) > 1:
        raise InvalidInput(f"{what} has {len(values)} values: expected one")
    return values[0] if values else None


def _require_no_more(where: str, message: Any) -> None:
    """Raise InvalidInput if the message has an unknown field, as for JSON."""
    unknown = UnknownFieldSet(message)
    if len(unknown):
        expected = f"expected those of {short_json(message.DESCRIPTOR.full_name)} only"
        raise InvalidInput(f"{where} has a field of number {unknown[0].field_number}: {expected}")
