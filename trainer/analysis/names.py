"""What joins labels, as far as a note tells. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

_GUESSED = re.compile(r"^labels were taken to be joined by (?P<quote>['\"])(?P<separator>.+?)(?P=quote), ")


def guessed_separator(notes: Sequence[str]) -> str | None:
    """What trainer.data.labels.columns took for the separator, by its note; None if it found none, or none was asked for."""
    found = [match["separator"] for note in notes if (match := _GUESSED.match(note))]
    return found[0] if found else None
