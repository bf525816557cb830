"""Detect the separator of labels from all strings of a column, and report it in a note."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from trainer.shown_values import shown

# Tried in this order. The first two rarely occur within a label's name.
SEPARATORS = (";", "|", ",", " ")
# A separator fits if one of its conditions holds: (minimum `counted`, maximum `labels`) of `_Evidence`.
# Parts of names ("Home Decor", "New York") rarely occur alone, and splitting them gives more labels than there are strings.
# Splitting joined labels gives fewer, and ever fewer as rows are added.
CONDITIONS = {
    ";": ((0.0, 1.0),),
    "|": ((0.0, 1.0),),
    ",": ((0.9, 0.99), (0.4, 0.75), (0.0, 0.25)),
    " ": ((0.9, 0.99),),
}
# A space is harder: it also occurs within names, whose words repeat: "very satisfied", "somewhat satisfied", "satisfied". A
# word has a fixed place in a name, but a label may be anywhere. So, for a space, a part counts as a label if it is also a whole
# string, or is the first part of some strings and a later part of others (`moved`). Nearly all parts have to count. With
# MANY_STRINGS or more strings that contain a space, MIN_COUNTED are enough, if MIN_MOVED of the parts occur at both places and
# there are at most MAX_LABELS labels per string. In 300 rows of arXiv (150 strings with spaces), 77 % of the parts count and
# 50 % occur at both places; in names of products (audience, colour, article) 75 % and 36 %, in scales of opinion 50 % and 0.
MANY_STRINGS, MIN_COUNTED, MAX_LABELS, MIN_MOVED = 100, 0.75, 0.75, 0.45
# If no separator was detected, note each one that is in more than this share of the strings; a space only if also the share
# SPACE_COUNTED of the parts counts, or there is at most one label per string.
SUSPICIOUS = 1 / 3
SPACE_COUNTED = 0.1
CHANGE_IT = "if that is wrong, set dataset.label_separator"


def find_separator(distinct: Iterable[str], known: frozenset[str]) -> tuple[str, tuple[str, ...]]:
    """Return the separator of labels in these strings, "" if there is none, and notes."""
    strings = {stripped for each in distinct if (stripped := each.strip())}
    candidates = {separator: [each for each in strings if separator in each] for separator in SEPARATORS}
    doubts: list[str] = []
    for separator, joined in candidates.items():
        if not joined:
            continue
        evidence = _evidence(strings, joined, separator)
        if _fits_known(joined, separator, known) if known else _is_separator(evidence, separator):
            example = shown(_shortest(joined))
            return separator, (f"labels were taken to be joined by {separator!r}, as in {example}; {CHANGE_IT}",)
        doubtful = separator != " " or evidence.counted >= SPACE_COUNTED or evidence.labels <= 1
        if not known and len(joined) > SUSPICIOUS * len(strings) and doubtful:
            doubts.append(_doubt(strings, joined, separator))
    return "", tuple(doubts)


@dataclass(frozen=True)
class _Evidence:
    """Evidence for a separator.

    joined: number of distinct strings that contain it. counted: share of the parts' occurrences that count as labels. moved:
    share of the parts' occurrences whose part comes first in some strings and later in others. labels: number per distinct
    string.
    """

    joined: int
    counted: float
    moved: float
    labels: float


def _evidence(strings: set[str], joined: list[str], separator: str) -> _Evidence:
    apart = [[part for part in map(str.strip, each.split(separator)) if part] for each in joined]
    parts = [part for each in apart for part in each]
    alone = strings.difference(joined)
    moved = {each[0] for each in apart if each}.intersection(part for each in apart for part in each[1:])
    counted = alone | moved if separator == " " else alone
    count = max(1, len(parts))
    return _Evidence(
        joined=len(joined),
        counted=sum(part in counted for part in parts) / count,
        moved=sum(part in moved for part in parts) / count,
        labels=len(alone.union(parts)) / len(strings),
    )


def _is_separator(evidence: _Evidence, separator: str) -> bool:
    if any(evidence.counted >= least and evidence.labels <= most for least, most in CONDITIONS[separator]):
        return True
    mostly = evidence.counted >= MIN_COUNTED and evidence.labels <= MAX_LABELS and evidence.moved >= MIN_MOVED
    return separator == " " and evidence.joined >= MANY_STRINGS and mostly


def _shortest(joined: list[str]) -> str:
    return min(joined, key=lambda each: (len(each), each))


def _doubt(strings: set[str], joined: list[str], separator: str) -> str:
    return (
        f"{len(joined):,} of {len(strings):,} distinct strings contain {separator!r}, such as {shown(_shortest(joined))}; "
        "each was taken as one label: if they are several, set dataset.label_separator"
    )


def _fits_known(joined: list[str], separator: str, known: frozenset[str]) -> bool:
    """Return whether splitting finds a known label in more strings than matching the whole string does."""
    apart = sum(any(part.strip() in known for part in each.split(separator)) for each in joined)
    return apart > sum(each in known for each in joined)
