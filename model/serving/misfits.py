"""What is wrong with a JSON body, in a sentence that its client understands: field, value, expectation."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from model.serving.requests import LARGE, SHOWN, no_count, no_text, short

# Fields that a request must have, and what they hold.
WANTED = {
    "inputs": "a list of one tensor",
    "name": "a string",
    "shape": "[n] or [n,1], n being the number of texts",
    "datatype": '"BYTES"',
    "data": "a list of strings",
    "instances": "a list of strings",
    "text": "a string",
}
# msgspec's words for what it expected and what it got.
KINDS = {
    "array": "a list",
    "object": "an object",
    "str": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "a boolean",
    "bool | int | float | str": "a string, a number or a boolean",
    # Each may also be written otherwise (data as nested lists, instances as objects), of which nothing need be said.
    "str | array": "a string",
    "str | object": "a string",
}

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)  # what reading raises
UNREAD = object()  # in place of a value that nobody looked at


def sentence_of(error: Exception, body: object) -> str:
    """The first thing that is wrong with a body, in bytes or (v1) as read by the SDK; `error` is one of UNREADABLE.

    A small one is read again, to show what is wrong; and what is not JSON at all comes before what does not fit.
    """
    whole = body
    if isinstance(body, bytes):
        whole = UNREAD
        if len(body) <= LARGE:
            try:
                whole = msgspec.json.decode(body.decode())
            except UnicodeDecodeError as reason:
                return f"the body is not UTF-8 at byte {reason.start}"
            except UNREADABLE as reason:
                error = reason
    if isinstance(error, UnicodeDecodeError):
        return "the body is not UTF-8"
    if isinstance(error, RecursionError):
        return "the body is nested too deeply"
    what, _, path = str(error).partition(" - at `$")
    return _misfit(what, path.removesuffix("`").removeprefix("."), whole)


def _misfit(what: str, where: str, whole: object) -> str:
    """What msgspec found, and where, as a sentence."""
    if missing := re.fullmatch(r"Object missing required field `(.*)`", what):
        return f"{_join(where, missing[1])} is missing: expected {WANTED[missing[1]]}"
    if unknown := re.fullmatch(r"Object contains unknown field `(.*)`", what, re.DOTALL):
        place = "top_k and threshold go in parameters"
        return f"{_join(where, unknown[1][:SHOWN])} is not a field of this request: expected another name; {place}"
    if what.startswith("Expected `array` of at "):  # the one list of few elements; where it lies may not be said
        _, value = _found("inputs[0].shape", whole)
        return no_count("of another length" if value is UNREAD else short(value))
    where, value = _found(where, whole)
    if wrong := re.fullmatch(r"Expected `(.*?)(?: \| null)?`(?:, got `(.*)`| of length 1.*)", what):
        shown = KINDS.get(wrong[2], wrong[2] or "a list") if value is UNREAD else short(value)
        if element := re.fullmatch(r"inputs\[0\]\.data\[(\d+)\](?:\[0\])?", where):
            return no_text(int(element[1]), shown)
        return f"{where or 'the body'} is {shown}: expected {KINDS.get(wrong[1], wrong[1])}"
    return f"the body is not JSON: {what.removeprefix('JSON is malformed: ')}"


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _found(where: str, whole: Any) -> tuple[str, object]:
    """A path such as `inputs[0].shape` with the parameter's name in it, which msgspec leaves out, and what lies there.

    UNREAD where nothing does: the body was not read, or says a thing twice, and the second time something else.
    """
    place, parameter, _ = where.partition("[...]")
    found = whole
    try:
        for name, position in re.findall(r"([^.\[\]]+)|\[(\d+)\]", place):
            found = found[name] if name else found[int(position)]
        if parameter:
            name, found = next(each for each in found.items() if isinstance(each[1], list | dict))
            return _join(place, name[:SHOWN]), found
    except (LookupError, TypeError, AttributeError, StopIteration):
        return where, UNREAD
    return place, found
