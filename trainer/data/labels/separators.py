"""Detect the separator of labels from all strings of a column, and report it in a note."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from trainer.messages import shown

# Tried in this order. The first two rarely occur within a label's name.
SEPARATORS = (";", "|", ",", " ")
# Conditions for a separator, one of which has to hold: the minimum share of the parts' occurrences that are also whole
# strings, and the maximum number of labels per distinct string. Parts of names ("Home Decor", "New York") are rarely
# strings themselves and yield more labels than strings. Parts that are labels yield fewer, the more so with more rows.
SIGNS = {
    ";": ((0.0, 1.0),),
    "|": ((0.0, 1.0),),
    ",": ((0.9, 0.99), (0.4, 0.75), (0.0, 0.25)),
    " ": ((0.9, 0.99),),
}
# Blanks occur within names, and words of names repeat: "very satisfied", "somewhat satisfied", "satisfied". A word has a fixed
# place in a name, but a label may be anywhere. So a part counts for the blank if it is also a whole string, or is first in
# some strings and later in others. Nearly all parts have to count; with many strings, three quarters are enough if half are
# at both places. In 300 rows of arXiv (150 strings with blanks), 0.77 count and 0.5 are at both places; in names of products
# (audience, colour, article) 0.75 and 0.36, in scales of opinion 0.5 and 0.
MANY_JOINED, MOSTLY, AT_BOTH_PLACES = 100, (0.75, 0.75), 0.45
# If no separator was detected, note one that is in this share of the strings; for the blank, if this share of parts counts.
SUSPICIOUS = 1 / 3
BLANKS_ALONE = 0.1
CHANGE_IT = "set dataset.label_separator if not"


def find_separator(distinct: Iterable[str], known: frozenset[str]) -> tuple[str, tuple[str, ...]]:
    """Return the separator of labels in these strings, "" if there is none, and notes."""
    strings = {stripped for each in distinct if (stripped := each.strip())}
    candidates = {separator: [each for each in strings if separator in each] for separator in SEPARATORS}
    doubts: list[str] = []
    for separator, joined in candidates.items():
        if not joined:
            continue
        evidence = _evidence(strings, joined, separator)
        if _fits_known(joined, separator, known) if known else _fits(evidence, separator):
            example = shown(_shortest(joined))
            return separator, (f"labels were taken to be joined by {separator!r}, as in {example}; {CHANGE_IT}",)
        doubtful = separator != " " or evidence.alone >= BLANKS_ALONE or evidence.labels <= 1
        if not known and len(joined) > SUSPICIOUS * len(strings) and doubtful:
            doubts.append(_doubt(strings, joined, separator))
    return "", tuple(doubts)


@dataclass(frozen=True)
class _Evidence:
    """Evidence for a separator.

    joined: number of distinct strings that contain it. alone: share of the parts' occurrences that count as labels. moved:
    share of those that are first in some strings and later in others. labels: number per distinct string.
    """

    joined: int
    alone: float
    moved: float
    labels: float


def _evidence(strings: set[str], joined: list[str], separator: str) -> _Evidence:
    apart = [[part for part in map(str.strip, each.split(separator)) if part] for each in joined]
    parts = [part for each in apart for part in each]
    alone = strings.difference(joined)
    moved = {each[0] for each in apart if each}.intersection(part for each in apart for part in each[1:])
    free = alone | moved if separator == " " else alone
    count = max(1, len(parts))
    return _Evidence(
        joined=len(joined),
        alone=sum(part in free for part in parts) / count,
        moved=sum(part in moved for part in parts) / count,
        labels=len(alone.union(parts)) / len(strings),
    )


def _fits(evidence: _Evidence, separator: str) -> bool:
    if any(evidence.alone >= least and evidence.labels <= most for least, most in SIGNS[separator]):
        return True
    mostly = evidence.alone >= MOSTLY[0] and evidence.labels <= MOSTLY[1] and evidence.moved >= AT_BOTH_PLACES
    return separator == " " and evidence.joined >= MANY_JOINED and mostly


def _shortest(joined: list[str]) -> str:
    return min(joined, key=lambda each: (len(each), each))


def _doubt(strings: set[str], joined: list[str], separator: str) -> str:
    return (
        f"{len(joined):,} of {len(strings):,} different labels hold {separator!r}, such as {shown(_shortest(joined))}; "
        "each was taken as one label: set dataset.label_separator if they are several"
    )


def _fits_known(joined: list[str], separator: str, known: frozenset[str]) -> bool:
    """Return whether more strings contain a known label when they are separated than when they are not."""
    apart = sum(any(part.strip() in known for part in each.split(separator)) for each in joined)
    return apart > sum(each in known for each in joined)
