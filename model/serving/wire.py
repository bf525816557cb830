"""What a gRPC message is made of, told from its bytes before it is read.

Reading it makes an object of every part: of 16 MiB, up to some seconds in which nothing else is answered. Knows the
encoding of protobuf, no protocol.
"""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError

# How a field is written, as its tag says; groups, the two kinds left, are in no message here.
VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
MORE = 0x80  # the bit of a number's byte that says that another follows
LONGEST = 63  # by how many bits a number's last byte can be shifted


def parts(sent: bytes, described: Descriptor) -> Iterator[int]:
    """How many parts the message has up to each of its fields, those of the messages in it included.

    A field is one, or one and as many as its bytes where it is a packed list of numbers. Raises DecodeError.
    """
    count = 0
    for each in _fields(sent, 0, len(sent), described):
        count += each
        yield count


def _fields(sent: bytes, at: int, end: int, described: Descriptor) -> Iterator[int]:
    known = described.fields_by_number
    while at < end:
        tag, at = _varint(sent, at)
        kind = tag & 7
        if kind == LENGTH:
            length, at = _varint(sent, at)
            field = known.get(tag >> 3)
            if field is None or field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
                yield 1
            elif field.message_type is None:
                yield 1 + length
            else:
                yield 1
                yield from _fields(sent, at, at + length, field.message_type)
            at += length
        elif kind == VARINT:
            yield 1
            _, at = _varint(sent, at)
        elif kind in {FIXED64, FIXED32}:
            yield 1
            at += 8 if kind == FIXED64 else 4
        else:
            raise DecodeError
    if at != end:
        raise DecodeError


def _varint(sent: bytes, at: int) -> tuple[int, int]:
    """A number, and where it ends."""
    number = shift = 0
    while at < len(sent) and shift <= LONGEST:
        byte = sent[at]
        at += 1
        number |= (byte & ~MORE) << shift
        if byte < MORE:
            return number, at
        shift += 7
    raise DecodeError
