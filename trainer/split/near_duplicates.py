"""Which examples say nearly the same, so that no split tears them apart and no score is won by memory.

Candidates by locality-sensitive hashing of MinHash signatures (Broder 1997; Leskovec, Rajaraman and Ullman, "Mining of
Massive Datasets", chapter 3), each confirmed by its signatures, joined into groups. See trainer.split.minhash for the signatures.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from trainer.data.examples import WINDOW_ROWS, Examples
from trainer.parallel.compiled import compiled
from trainer.parallel.threads import thread_map
from trainer.split.minhash import BINS, FIRST, STEP, mixed, signatures, word_hashes

# Share of the pairs exactly as similar as asked that become candidates; of more similar ones it is higher.
RECALL = 0.98
EMPTY_SLOT = np.uint64(0xFFFFFFFFFFFFFFFF)
# So many tell most texts apart, at a tenth of the work.
FIRST_WORDS = 16
ALL_WORDS = 2**62

Numbers = NDArray[np.int64]


def groups(examples: Examples, similarity: float) -> NDArray[np.int64]:
    """A group for each example [examples], numbered from 0 in order of appearance.

    Two texts share a group if their words are equal, or if the Jaccard index of their three-word runs is estimated at
    `similarity` or more (standard error below 0.045), or if a chain of such pairs joins them. At 1, only equal words do.
    Time and memory grow with the number of texts, however many are alike.
    """
    if not len(examples):
        return np.zeros(0, np.int64)
    if similarity >= 1:
        return _numbered(_first_of_each(_word_hashes(examples))[0])
    return groups_and_hashes(examples, similarity)[0]


def groups_and_hashes(examples: Examples, similarity: float) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """What `groups` gives and what `text_hashes` gives, for little more than the first of them alone."""
    if similarity >= 1 or not len(examples):
        hashes = text_hashes(examples)
        return _numbered(_first_of_each(hashes)[0]), hashes
    exact, signed = _signed(examples)
    parents, different = _first_of_each(exact)
    for ones, twos in _alike(signed, different, similarity):
        _join(parents, ones, twos)
    return _numbered(_roots(parents)), exact


def _word_hashes(examples: Examples) -> NDArray[np.uint64]:
    """A hash of each text's words [examples]: of the first ones alone where no other text begins with the same.

    A text's hash is that of another's first words only if it consists of them; then both are hashed to their ends.
    """
    hashes = _hashed(examples, FIRST_WORDS)
    _, which, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    again = np.flatnonzero(counts[which.ravel()] > 1)
    if len(again):
        hashes[again] = _hashed(examples.select(again), ALL_WORDS)
    return hashes


def text_hashes(examples: Examples) -> NDArray[np.uint64]:
    """A hash of all words of each text [examples]: equal for two texts that differ in case, spaces or punctuation alone."""
    return _hashed(examples, ALL_WORDS) if len(examples) else np.zeros(0, np.uint64)


def _hashed(examples: Examples, words: int) -> NDArray[np.uint64]:
    batches = examples.text_series(WINDOW_ROWS)
    return np.concatenate(list(thread_map(lambda texts: word_hashes(texts, words), batches)))


def _first_of_each(exact: NDArray[np.uint64]) -> tuple[Numbers, Numbers]:
    """For each text the first with the same hash [examples], and those first ones, ascending."""
    _, first, which = np.unique(exact, return_index=True, return_inverse=True)
    return first[which.ravel()].astype(np.int64), np.sort(first)


def _numbered(parents: Numbers) -> Numbers:
    """The groups that these firsts stand for, numbered in their order."""
    _, numbers = np.unique(parents, return_inverse=True)
    return numbers.ravel().astype(np.int64)


def _signed(examples: Examples) -> tuple[NDArray[np.uint64], NDArray[np.uint16]]:
    """A hash of each text's words [examples] and its signature [examples, BINS]."""
    exact, signed = np.empty(len(examples), np.uint64), np.empty((len(examples), BINS), np.uint16)
    start = 0
    for some_exact, some_signed in thread_map(signatures, examples.text_series(WINDOW_ROWS)):
        end = start + len(some_exact)
        exact[start:end], signed[start:end] = some_exact, some_signed
        start = end
    return exact, signed


def _alike(signed: NDArray[np.uint16], texts: Numbers, similarity: float) -> Iterator[tuple[Numbers, Numbers]]:
    """Pairs of texts whose signatures agree in a band, and in enough places altogether, band by band."""
    width = _rows_per_band(similarity)
    least = int(np.ceil(similarity * BINS))

    def of_band(start: int) -> tuple[Numbers, Numbers]:
        # At most half full, so that a search ends soon; a power of two, so that a place is a mask away.
        table = np.full(1 << max(4, int(2 * len(texts) - 1).bit_length()), EMPTY_SLOT, np.uint64)
        return _pairs(signed, texts, start, width, least, table)

    yield from thread_map(of_band, range(0, BINS - width + 1, width))


def _rows_per_band(similarity: float) -> int:
    """The longest bands, so the fewest false candidates, with which `RECALL` of such pairs agree in a band."""
    fitting = [width for width in range(1, 33) if 1 - (1 - similarity**width) ** (BINS // width) >= RECALL]
    return max(fitting, default=1)


@compiled
def _pairs(
    signed: NDArray[np.uint16], texts: Numbers, start: int, width: int, least: int, table: NDArray[np.uint64]
) -> tuple[Numbers, Numbers]:
    """Each text with the last one before it of the same band, if at least `least` places of their signatures agree.

    Only with that one: texts that are alike meet in a chain, and many of them cost no more than few.
    table: EMPTY_SLOT everywhere. An entry is a text's number in the lower half and half of its band's hash in the upper.
    """
    ones, twos, found = np.empty(len(texts), np.int64), np.empty(len(texts), np.int64), 0
    mask = np.uint64(len(table) - 1)
    for text in texts:
        hashed = _band_hash(signed[text], start, width)
        upper, place = hashed >> np.uint64(32) << np.uint64(32), hashed & mask
        while table[place] != EMPTY_SLOT and table[place] >> np.uint64(32) << np.uint64(32) != upper:
            place = (place + np.uint64(1)) & mask
        if table[place] != EMPTY_SLOT:
            other = np.int64(table[place] & np.uint64(0xFFFFFFFF))
            if _agreement(signed[other], signed[text]) >= least:
                ones[found], twos[found] = other, text
                found += 1
        table[place] = upper | np.uint64(text)
    return ones[:found].copy(), twos[:found].copy()


@compiled
def _band_hash(signature: NDArray[np.uint16], start: int, width: int) -> np.uint64:
    hashed = STEP
    for place in range(start, start + width):
        hashed = hashed * FIRST + np.uint64(signature[place])
    return mixed(hashed)


@compiled
def _agreement(one: NDArray[np.uint16], two: NDArray[np.uint16]) -> int:
    equal = 0
    for place in range(len(one)):
        equal += one[place] == two[place]
    return equal


@compiled
def _root(parents: Numbers, text: int) -> int:
    """The first text of its group so far; shortens the way there."""
    while parents[text] != text:
        parents[text] = parents[parents[text]]
        text = parents[text]
    return text


@compiled
def _join(parents: Numbers, ones: Numbers, twos: Numbers) -> None:
    for pair in range(len(ones)):
        one, two = _root(parents, ones[pair]), _root(parents, twos[pair])
        parents[max(one, two)] = min(one, two)


@compiled
def _roots(parents: Numbers) -> Numbers:
    found = np.empty_like(parents)
    for text in range(len(parents)):
        found[text] = _root(parents, text)
    return found
