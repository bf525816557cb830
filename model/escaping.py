"""Escape untrusted text for terminals and logs: label names, column names and error messages can hold any character.

Covers lines of text, JSON and errors of commands; `model.log_format` covers log records.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import click

# C0 and C1 control characters, line separators, marks that change the writing direction, and surrogates.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_NAMES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def printable(text: str) -> str:
    """Return the text on one line, with characters that control a terminal escaped, such as \\n, \\x1b or \\u202e."""
    return _UNSAFE.sub(lambda match: _escape(match[0]), text)


def printable_json(written: str) -> str:
    """Return JSON of the same value, with characters that control a terminal escaped. `written`: JSON on one line."""
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", written)


def printable_names(names: Iterable[str]) -> tuple[str, ...]:
    """Return each name as `printable` does. Names that become equal get a number each."""
    unique: dict[str, None] = {}
    for name in names:
        shown, times = printable(name), 1
        while shown in unique:
            times += 1
            shown = f"{printable(name)} ({times})"
        unique[shown] = None
    return tuple(unique)


class PrintableErrors(click.Command):
    """Command, or group of commands, whose errors are shown through `printable`."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Parse the command line."""
        with _printable_errors():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        with _printable_errors():
            return super().invoke(ctx)


@contextmanager
def _printable_errors() -> Iterator[None]:
    try:
        yield
    except click.ClickException as error:
        shown = printable(error.format_message())
        setattr(error, "format_message", lambda: shown)  # noqa: B010 - a method of the class; `message` itself is unchanged
        raise


def _escape(character: str) -> str:
    code = ord(character)
    return _NAMES.get(character) or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")
