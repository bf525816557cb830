"""Labels that may be one label under two names, and names that may stand for a missing label. Pure."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trainer.messages import MOST_OF_A_VALUE, escaped, shortened_list, shown

# Punctuation that tells names apart, besides letters, digits and symbols: C and C# are two languages.
TELLING = "#*%!?@"
# What other programs write for a missing value, in lower case.
MISSING = ("nan", "<na>", "null", "none", "n/a")


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


def doubtful_names(labels: Sequence[str], counts: NDArray[np.int64]) -> tuple[str, ...]:
    """Return notes on labels that may be another one's second spelling, and on those that may stand for a missing label."""
    by_name = dict(zip(labels, counts.tolist(), strict=True))
    notes: list[str] = []
    same = [(one, other) for one, other in same_names(labels, counts).items() if by_name[one]]
    if same:
        pairs = [(one + other, f"{_told(one, by_name)} beside {_told(other, by_name)}") for one, other in same]
        differ = "labels that differ only in case, blanks, punctuation or Unicode form"
        notes.append(f"{differ}: {shortened_list(pairs)}; dataset.aliases makes them one")
    missing = [name for name in labels if name.casefold() in MISSING and by_name[name]]
    if missing:
        named = shortened_list([(name, _told(name, by_name)) for name in missing])
        remedy = f"if it stands for a missing one, set dataset.aliases to {{{escaped(missing[0])}: ''}}"
        notes.append(f"read as a label: {named}; {remedy}")
    return tuple(notes)


def _told(name: str, counts: dict[str, int]) -> str:
    """A label with how many rows carry it; characters that look alike in two spellings are escaped."""
    plain = unicodedata.normalize("NFC", name) == name
    return f"{shown(name) if plain else ascii(name[:MOST_OF_A_VALUE])} ({counts[name]:,})"
