"""Text from elsewhere, made safe for a terminal or a log: label names, column names and error messages can hold anything.

Covers lines of text, JSON and the errors of commands. `model.log_format` covers log records.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import click

# Control characters of C0 and C1, separators of lines, marks that turn the direction of writing, and halves of pairs.
_ACTING = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_NAMES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def printable(text: str) -> str:
    """Return the text on one line, without a character that a terminal obeys: each is shown as \\n, \\x1b or \\u202e."""
    return _ACTING.sub(lambda found: _escape(found[0]), text)


def printable_json(written: str) -> str:
    """Return JSON of the same value, without a character that a terminal obeys. `written` has no line breaks between values."""
    return _ACTING.sub(lambda found: f"\\u{ord(found[0]):04x}", written)


def printable_names(names: Iterable[str]) -> tuple[str, ...]:
    """Return each name as `printable` does. Names that would become equal are told apart by a number."""
    found: dict[str, None] = {}
    for name in names:
        shown, times = printable(name), 1
        while shown in found:
            times += 1
            shown = f"{printable(name)} ({times})"
        found[shown] = None
    return tuple(found)


class PrintableErrors(click.Command):
    """A command, or a group of them, whose errors are shown as `printable` shows them."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Read the command line."""
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
        setattr(error, "format_message", lambda: shown)  # noqa: B010 - a method of the class; the message itself stays as it is
        raise


def _escape(character: str) -> str:
    code = ord(character)
    return _NAMES.get(character) or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")
