"""Find labels that may be two spellings of one label, and names that may mean a missing label. Pure."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trainer.shown_values import MOST_OF_A_VALUE, escaped, shortened_list, shown

# Punctuation that distinguishes names, besides letters, digits and symbols: C and C# are two languages.
DISTINGUISHING = "#*%!?@"
# Missing values as other programs write them, in lower case.
MISSING = ("nan", "<na>", "null", "none", "n/a")


def spelling(name: str) -> str:
    """Return the name without case, blanks and punctuation. Separate numbers stay separate, and "&" becomes "and"."""
    kept, apart = "", False
    for each in unicodedata.normalize("NFKC", name).casefold().replace("&", " and "):
        if unicodedata.category(each)[0] not in "LMNS" and each not in DISTINGUISHING:
            apart = True
            continue
        kept += " " + each if apart and each.isdigit() and kept[-1:].isdigit() else each
        apart = False
    return kept


def same_names(labels: Sequence[str], counts: NDArray[np.int64]) -> dict[str, str]:
    """Return aliases, as for `dataset.aliases`, from labels to more frequent ones with the same spelling."""
    by_spelling: dict[str, list[int]] = defaultdict(list)
    for at, name in enumerate(labels):
        by_spelling[spelling(name) or name].append(at)
    aliases = {}
    for those in by_spelling.values():
        first, *others = sorted(those, key=lambda at: (-counts[at], labels[at]))
        aliases.update({labels[at]: labels[first] for at in others})
    return aliases


def doubtful_names(labels: Sequence[str], counts: NDArray[np.int64]) -> tuple[str, ...]:
    """Return notes on labels that may be another spelling of a label, and on those that may mean a missing label."""
    by_name = dict(zip(labels, counts.tolist(), strict=True))
    notes: list[str] = []
    same = [(one, other) for one, other in same_names(labels, counts).items() if by_name[one]]
    if same:
        pairs = [(one + other, f"{_with_count(one, by_name)} and {_with_count(other, by_name)}") for one, other in same]
        differ = "labels that differ only in case, blanks, punctuation or Unicode form"
        notes.append(f"{differ}: {shortened_list(pairs)}; dataset.aliases can merge them")
    missing = [name for name in labels if name.casefold() in MISSING and by_name[name]]
    if missing:
        named = shortened_list([(name, _with_count(name, by_name)) for name in missing])
        remedy = f"if it means a missing label, set dataset.aliases to {{{escaped(missing[0])}: ''}}"
        notes.append(f"read as a label: {named}; {remedy}")
    return tuple(notes)


def _with_count(name: str, counts: dict[str, int]) -> str:
    """Return the label with its number of rows. A name that is not in Unicode's composed form is escaped."""
    plain = unicodedata.normalize("NFC", name) == name
    return f"{shown(name) if plain else ascii(name[:MOST_OF_A_VALUE])} ({counts[name]:,})"
