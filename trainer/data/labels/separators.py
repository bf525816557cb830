"""What joins several labels in a string: found out from all the strings of a column, and said, never guessed in silence."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from trainer.messages import shown

# Tried in this order. The first two hardly ever stand within a label's name.
SEPARATORS = (";", "|", ",", " ")
# Signs of a separator, each enough: of the parts' occurrences, the share that stands alone elsewhere, and how many labels
# there may be for each different string. Names of several words ("Home Decor", "New York") seldom stand alone in part and
# make more labels than there were strings; labels that are joined make fewer, the more so the more rows there are.
SIGNS = {
    ";": ((0.0, 1.0),),
    "|": ((0.0, 1.0),),
    ",": ((0.9, 0.99), (0.4, 0.75), (0.0, 0.25)),
    " ": ((0.9, 0.99),),
}
# Blanks stand within names, and the words of names repeat: "very satisfied", "somewhat satisfied", "satisfied". But a word
# has its place in a name, where labels that are joined have none. So a part counts for the blank if it is a whole string
# elsewhere, or stands first in some strings and later in others. Nearly all have to; of many strings three quarters, if
# half stand at both places. In 300 rows of arXiv (150 strings with blanks) 0.77 count and 0.5 stand at both places; in
# names of products (audience, colour, article) 0.75 and 0.36, on scales of opinion 0.5 and 0.
MANY_JOINED, MOSTLY, AT_BOTH_PLACES = 100, (0.75, 0.75), 0.45
# Worth a note if nothing was found: a separator in so many of the strings, and of the blank, so many parts alone.
SUSPICIOUS = 1 / 3
BLANKS_ALONE = 0.1
CHANGE_IT = "set dataset.label_separator if not"


def find_separator(distinct: Iterable[str], known: frozenset[str]) -> tuple[str, tuple[str, ...]]:
    """Return what joins labels in these strings, "" if nothing does, and a note that says so or doubts it."""
    strings = {stripped for each in distinct if (stripped := each.strip())}
    candidates = {separator: [each for each in strings if separator in each] for separator in SEPARATORS}
    doubts: list[str] = []
    for separator, joined in candidates.items():
        if not joined:
            continue
        found = _evidence(strings, joined, separator)
        if _fits_known(joined, separator, known) if known else _fits(found, separator):
            example = shown(_shortest(joined))
            return separator, (f"labels were taken to be joined by {separator!r}, as in {example}; {CHANGE_IT}",)
        doubtful = separator != " " or found.alone >= BLANKS_ALONE or found.labels <= 1
        if not known and len(joined) > SUSPICIOUS * len(strings) and doubtful:
            doubts.append(_doubt(strings, joined, separator))
    return "", tuple(doubts)


@dataclass(frozen=True)
class _Evidence:
    """What speaks for a separator.

    joined: different strings that hold it. alone: the share of the parts' occurrences that count as labels of their own.
    moved: the share that stands first in some strings and later in others. labels: for each different string.
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


def _fits(found: _Evidence, separator: str) -> bool:
    if any(found.alone >= least and found.labels <= most for least, most in SIGNS[separator]):
        return True
    mostly = found.alone >= MOSTLY[0] and found.labels <= MOSTLY[1] and found.moved >= AT_BOTH_PLACES
    return separator == " " and found.joined >= MANY_JOINED and mostly


def _shortest(joined: list[str]) -> str:
    return min(joined, key=lambda each: (len(each), each))


def _doubt(strings: set[str], joined: list[str], separator: str) -> str:
    return (
        f"{len(joined):,} of {len(strings):,} different labels hold {separator!r}, such as {shown(_shortest(joined))}; "
        "each was taken as one label: set dataset.label_separator if they are several"
    )


def _fits_known(joined: list[str], separator: str, known: frozenset[str]) -> bool:
    """Whether more strings hold a known label when taken apart than when taken whole."""
    apart = sum(any(part.strip() in known for part in each.split(separator)) for each in joined)
    return apart > sum(each in known for each in joined)
