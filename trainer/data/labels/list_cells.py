"""Parse a cell of a label column that is a list, tuple, set, array or dictionary as text.

JSON, Python and NumPy write them in different ways, and pandas writes all of these into CSV files. Knows one cell, not the
column.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

# 1 and 0 as text, in lower case; with a point, as pandas and NumPy write whole numbers in a column with missing values.
ONES = ("1", "1.0", "1.", "true")
ZEROS = ("0", "0.0", "0.", "false")
CLOSING = {"[": "]", "(": ")", "{": "}"}
MISSING = frozenset({"None", "null", "nan", "NaN", "NaT", "<NA>"})
CALL = re.compile(
    r"(?:(?:np|numpy|pd|pandas|torch|jnp|tf)\.)?(?:[Aa]rray|set|frozenset|list|tuple|deque|dict_keys|Index|[Tt]ensor)"
    r"\((.*?)(?:,\s*(?:dtype|device|shape|grad_fn|requires_grad)=.*)?\)",
    re.DOTALL,
)
SCALAR = re.compile(r"\b(?:np|numpy)\.(?:str_|bytes_|bool_?|u?int\d+|float\d+)\(([^()]*)\)")
STRING = r"""(?P<string>[bBuU]?(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"))"""
# A colon is a separator only within braces: elsewhere it may be part of a name.
TOKEN = re.compile(rf"""\s*(?:{STRING}|(?P<sign>[\[\](){{}},])|(?P<word>[^\s\[\](){{}},'"][^\s\[\](){{}},"]*))""", re.DOTALL)
TOKEN_IN_BRACES = re.compile(
    rf"""\s*(?:{STRING}|(?P<sign>[\[\](){{}},:])|(?P<word>[^\s\[\](){{}},:'"][^\s\[\](){{}},:"]*))""", re.DOTALL
)
NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")


class Unreadable(Exception):
    """A cell looks like a list or a dictionary but cannot be parsed; the message says why."""


class NoMark(Exception):
    """A dictionary holds a value that is neither 0 nor 1; the message names it."""


@dataclass(frozen=True)
class Cell:
    """Content of a cell.

    labels: the names, in order. given: false if the cell has only missing values. written: its notation, in words.
    certain: whether the text cannot be the name of a label.
    """

    labels: tuple[str, ...]
    given: bool
    written: str
    certain: bool = True


def read_cell(text: str) -> Cell | None:
    """Return the content of the cell, or None if it is not in brackets. Raises Unreadable, NoMark."""
    text = _unwrapped(text.strip())
    called = CALL.fullmatch(text)
    if called:
        text = called[1].strip() or "[]"
        if text[0] not in CLOSING:
            return None
    elif not text or text[0] not in CLOSING:
        return None
    if text[0] != "(":
        try:
            return _from_json(json.loads(text))
        except (ValueError, RecursionError):
            pass
    return _from_text(SCALAR.sub(r"\1", text))


def _unwrapped(text: str) -> str:
    """Return the list or dictionary in a JSON string, such as `"[\\"a\\"]"`; the text itself if it is none."""
    if text[:2] not in ('"[', '"{'):
        return text
    try:
        return str(json.loads(text)).strip()
    except ValueError:
        return text


def is_missing(value: object) -> bool:
    """Return whether a value of a parsed cell is missing: null, NaN or an empty string."""
    return value is None or value != value or value == ""  # noqa: PLR0124 - NaN alone differs from itself


def _from_json(value: Any) -> Cell:
    if isinstance(value, dict):
        return _from_marks(value)
    if value and all(isinstance(each, dict) and each.keys() == {"key", "value"} for each in value):  # a map of Arrow's
        return _from_marks({str(each["key"]): each["value"] for each in value})
    if any(isinstance(each, list | dict) for each in value):
        raise Unreadable("a list or dictionary within a list")
    return _listed(value, "lists written as JSON")


def _listed(values: list[Any], written: str, *, certain: bool = True) -> Cell:
    names = tuple(_name(each) for each in values if not is_missing(each))
    return Cell(names, bool(names) or not values, written, certain)


def _name(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _from_marks(marks: Mapping[str, object]) -> Cell:
    """Return a cell with the names whose value is 1. Raises NoMark for a value that is not 0, 1 or missing."""
    ones = []
    for name, value in marks.items():
        mark = "" if is_missing(value) else str(value).strip().lower()
        if mark in ONES:
            ones.append(name)
        elif mark not in ("", *ZEROS):
            raise NoMark(f"{name}: {value}")
    given = not marks or any(not is_missing(value) for value in marks.values())
    return Cell(tuple(ones), given, "dictionaries of 0 and 1")


def _from_text(text: str) -> Cell:
    tokens = list(_tokens(text))
    opening, closing = tokens[0], tokens[-1]
    if len(tokens) < 2 or closing != ("sign", CLOSING[text[0]]):
        raise Unreadable(f"{opening[1]!r} opens and does not close")
    segments: list[list[tuple[str, str]]] = [[]]
    for token in tokens[1:-1]:
        if token == ("sign", ","):
            segments.append([])
        elif token[0] == "sign" and token[1] != ":":
            raise Unreadable("brackets within brackets")
        else:
            segments[-1].append(token)
    if not segments[-1]:
        segments.pop()
    if not all(segments):
        raise Unreadable("nothing between two commas")
    if any(("sign", ":") in segment for segment in segments):
        return _from_marks(dict(_pair(segment) for segment in segments))
    items = [item for segment in segments for item in _items(segment)]
    quoted = any(kind == "string" for kind, _ in tokens)
    numbers = len(items) > 1 and all(isinstance(item, str) and (NUMBER.fullmatch(item) or _is_mark(item)) for item in items)
    by_commas = len(segments) > 1 or len(items) < 2 or text.rstrip(CLOSING[text[0]]).rstrip().endswith(",")
    written = _written(text[0], quoted=quoted, by_commas=by_commas)
    return _listed(items, written, certain=quoted or numbers or not items)


def _written(opening: str, *, quoted: bool, by_commas: bool) -> str:
    if not by_commas:
        return "arrays written by NumPy"
    if not quoted:
        return "lists without quotes"
    return {"[": "lists written as Python", "(": "tuples written as Python", "{": "sets written as Python"}[opening]


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    pattern, at = TOKEN_IN_BRACES if text[0] == "{" else TOKEN, 0
    while at < len(text):
        match = pattern.match(text, at)
        if not match:
            raise Unreadable("a quote opens and does not close")
        yield str(match.lastgroup), str(match[match.lastgroup or 0])
        at = match.end()


def _items(segment: list[tuple[str, str]]) -> list[str | None]:
    """Return the items between two commas. NumPy separates items by blanks, but an unquoted name may contain blanks."""
    kinds = {kind for kind, _ in segment}
    if any(text == "..." for kind, text in segment if kind == "word"):
        raise Unreadable("items were left out, as '...' shows")
    if kinds == {"word"} and not all(text in MISSING or NUMBER.fullmatch(text) or _is_mark(text) for _, text in segment):
        return [" ".join(text for _, text in segment)]
    return [_value(kind, text, beside_quotes="string" in kinds) for kind, text in segment]


def _is_mark(text: str) -> bool:
    return text.lower() in (*ONES, *ZEROS)


def _value(kind: str, text: str, *, beside_quotes: bool = False) -> str | None:
    if kind == "string":
        return _unquoted(text)
    if text in MISSING:
        return None
    if beside_quotes and not NUMBER.fullmatch(text):
        raise Unreadable(f"{text[:20]!r} is next to quotes")
    return text.lower() if _is_mark(text) else text


def _pair(segment: list[tuple[str, str]]) -> tuple[str, str | None]:
    """Return the name and the value of `name : value`."""
    colon = segment.index(("sign", ":")) if ("sign", ":") in segment else 0
    names, marks = segment[:colon], segment[colon + 1 :]
    if not names or len(marks) != 1 or marks[0][0] == "sign" or any(kind == "sign" for kind, _ in names):
        raise Unreadable("expected a name, a colon and 0 or 1 between two commas")
    return " ".join(str(_value(*each)) for each in names), _value(*marks[0])


def _unquoted(text: str) -> str:
    """Return the string of a Python literal such as `'it\\'s'`; bytes are decoded as UTF-8."""
    if "\\" not in text and text[0] in "'\"":
        return text[1:-1]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about invalid escapes, which are kept
            value = ast.literal_eval(text.replace("\n", "\\n"))
    except (ValueError, SyntaxError) as error:
        raise Unreadable("a string within it is not one of Python's") from error
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
