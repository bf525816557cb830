"""Labels that are one label under two names, as far as the names tell. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# Punctuation that tells names apart, besides letters, digits and symbols: C and C# are two languages.
TELLING = "#*%!?@"
_GUESSED = re.compile(r"^labels were taken to be joined by (?P<quote>['\"])(?P<separator>.+?)(?P=quote), ")


def spelling(name: str) -> str:
    """What is left of a name without case, blanks and punctuation; digits that were apart stay apart, "&" is "and"."""
    found, apart = "", False
    for each in unicodedata.normalize("NFKC", name).casefold().replace("&", " and "):
        if unicodedata.category(each)[0] not in "LMNS" and each not in TELLING:
            apart = True
            continue
        found += " " + each if apart and each.isdigit() and found[-1:].isdigit() else each
        apart = False
    return found


def same_names(labels: Sequence[str], counts: NDArray[np.int64]) -> dict[str, str]:
    """Labels whose spelling is that of a more frequent one, with that one: what `dataset.aliases` takes."""
    by_spelling: dict[str, list[int]] = defaultdict(list)
    for at, name in enumerate(labels):
        by_spelling[spelling(name) or name].append(at)
    aliases = {}
    for those in by_spelling.values():
        first, *others = sorted(those, key=lambda at: (-counts[at], labels[at]))
        aliases.update({labels[at]: labels[first] for at in others})
    return aliases


def guessed_separator(notes: Sequence[str]) -> str | None:
    """What trainer.labels took for the separator, by its note; None if it found none, or none was asked for."""
    found = [match["separator"] for note in notes if (match := _GUESSED.match(note))]
    return found[0] if found else None
