"""Values of a dataset as messages show them: quoted, escaped and short, so that no message repeats a dataset."""

from __future__ import annotations

from collections.abc import Iterable

MOST_CHARACTERS = 200  # of data in one message
MOST_OF_A_VALUE = 60
MOST_NAMES = 20


def cut(text: str, most: int, *, end: str = "…") -> str:
    """Return the text, its end replaced by `end` if it has more than `most` characters."""
    return text if len(text) <= most else text[: most - len(end)] + end


def shown(value: object, most: int = MOST_OF_A_VALUE) -> str:
    """Return the value in quotes: control characters escaped, and cut to `most` characters."""
    return repr(cut(str(value), most, end="..."))


def escaped(value: object, most: int = MOST_OF_A_VALUE) -> str:
    """Return the value as `shown` does, without the quotes."""
    return shown(value, most)[1:-1]


def shown_names(names: Iterable[str], *, most: int = MOST_NAMES) -> str:
    """Return the names in quotes, as many as fit into a message, and the number of the others."""
    return shortened_list([(name, shown(name)) for name in names], most=most)


def escaped_names(names: Iterable[str], *, most: int = MOST_NAMES) -> str:
    """Return the names as `shown_names` does, without quotes."""
    return shortened_list([(name, escaped(name)) for name in names], most=most)


def shortened_list(names: Iterable[tuple[str, str]], *, most: int = MOST_NAMES) -> str:
    """Return the texts of (name, text) pairs, at most `most` and MOST_CHARACTERS of names, and the number of the others."""
    every = list(names)
    parts: list[str] = []
    left = MOST_CHARACTERS
    for name, text in every[:most]:
        left -= min(len(name), MOST_OF_A_VALUE)
        if left < 0 and parts:
            break
        parts.append(text)
    more = len(every) - len(parts)
    return ", ".join(parts) + (f" and {more:,} more" if more else "")


def shown_type(kind: object) -> str:
    """Return a column's type, cut to MOST_OF_A_VALUE characters: a nested type names every field."""
    return cut(str(kind), MOST_OF_A_VALUE, end="...")
