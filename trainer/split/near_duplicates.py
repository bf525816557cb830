"""Groups of near-duplicate examples, which the split keeps in one part.

Candidates come from locality-sensitive hashing of MinHash signatures (Broder 1997; Leskovec, Rajaraman and Ullman, "Mining
of Massive Datasets", chapter 3). They are confirmed by comparing the signatures, and joined into groups. See
trainer.split.minhash for the signatures.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from trainer.data.examples import WINDOW_ROWS, Examples
from trainer.parallel.compiled import compiled
from trainer.parallel.threads import thread_map
from trainer.split.minhash import BINS, FIRST, STEP, mixed, signatures, word_hashes

# Share of pairs with exactly the configured similarity that become candidates; it is higher for more similar pairs.
RECALL = 0.98
EMPTY_SLOT = np.uint64(0xFFFFFFFFFFFFFFFF)
# Enough to distinguish most texts, at a tenth of the work.
FIRST_WORDS = 16
ALL_WORDS = 2**62

Numbers = NDArray[np.int64]


def groups(examples: Examples, similarity: float) -> NDArray[np.int64]:
    """Return a group for each example [examples], numbered from 0 in order of appearance.

    Two texts are in the same group if their words are equal, if the estimated Jaccard index of their three-word sequences
    is `similarity` or more (standard error below 0.045), or if a chain of such pairs joins them. At 1, only texts with
    equal words are. Time and memory are linear in the number of texts.
    """
    if not len(examples):
        return np.zeros(0, np.int64)
    if similarity >= 1:
        return _numbered(_first_of_each(_word_hashes(examples))[0])
    return groups_and_hashes(examples, similarity)[0]


def groups_and_hashes(examples: Examples, similarity: float) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Return `groups` and `text_hashes`, which takes little longer than `groups` alone."""
    if similarity >= 1 or not len(examples):
        hashes = text_hashes(examples)
        return _numbered(_first_of_each(hashes)[0]), hashes
    exact, signed = _signed(examples)
    parents, different = _first_of_each(exact)
    for ones, twos in _alike(signed, different, similarity):
        _join(parents, ones, twos)
    return _numbered(_roots(parents)), exact


def _word_hashes(examples: Examples) -> NDArray[np.uint64]:
    """Return a hash of each text's words [examples], or of its first words if no other text begins with the same ones.

    Texts whose first words have equal hashes are hashed completely.
    """
    hashes = _hashed(examples, FIRST_WORDS)
    _, which, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    again = np.flatnonzero(counts[which.ravel()] > 1)
    if len(again):
        hashes[again] = _hashed(examples.select(again), ALL_WORDS)
    return hashes


def text_hashes(examples: Examples) -> NDArray[np.uint64]:
    """Return a hash of all words of each text [examples]: equal for texts that differ only in case, spaces or punctuation."""
    return _hashed(examples, ALL_WORDS) if len(examples) else np.zeros(0, np.uint64)


def _hashed(examples: Examples, words: int) -> NDArray[np.uint64]:
    batches = examples.text_series(WINDOW_ROWS)
    return np.concatenate(list(thread_map(lambda texts: word_hashes(texts, words), batches)))


def _first_of_each(exact: NDArray[np.uint64]) -> tuple[Numbers, Numbers]:
    """Return the first text with the same hash for each text [examples], and these first texts, ascending."""
    _, first, which = np.unique(exact, return_index=True, return_inverse=True)
    return first[which.ravel()].astype(np.int64), np.sort(first)


def _numbered(parents: Numbers) -> Numbers:
    """Return the number of each text's group, from the group's first text [examples]."""
    _, numbers = np.unique(parents, return_inverse=True)
    return numbers.ravel().astype(np.int64)


def _signed(examples: Examples) -> tuple[NDArray[np.uint64], NDArray[np.uint16]]:
    """Return a hash of each text's words [examples] and its signature [examples, BINS]."""
    exact, signed = np.empty(len(examples), np.uint64), np.empty((len(examples), BINS), np.uint16)
    start = 0
    for some_exact, some_signed in thread_map(signatures, examples.text_series(WINDOW_ROWS)):
        end = start + len(some_exact)
        exact[start:end], signed[start:end] = some_exact, some_signed
        start = end
    return exact, signed


def _alike(signed: NDArray[np.uint16], texts: Numbers, similarity: float) -> Iterator[tuple[Numbers, Numbers]]:
    """Yield for each band the pairs of texts whose signatures agree in the band, and in enough places in total."""
    width = _rows_per_band(similarity)
    least = int(np.ceil(similarity * BINS))

    def of_band(start: int) -> tuple[Numbers, Numbers]:
        # At most half full, so that searches are short; a power of two, so that a mask gives the place.
        table = np.full(1 << max(4, int(2 * len(texts) - 1).bit_length()), EMPTY_SLOT, np.uint64)
        return _pairs(signed, texts, start, width, least, table)

    yield from thread_map(of_band, range(0, BINS - width + 1, width))


def _rows_per_band(similarity: float) -> int:
    """Return the largest band width, which gives the fewest false candidates, at which RECALL of the pairs share a band."""
    fitting = [width for width in range(1, 33) if 1 - (1 - similarity**width) ** (BINS // width) >= RECALL]
    return max(fitting, default=1)


@compiled
def _pairs(
    signed: NDArray[np.uint16], texts: Numbers, start: int, width: int, least: int, table: NDArray[np.uint64]
) -> tuple[Numbers, Numbers]:
    """Pair each text with the previous text of the same band, if at least `least` places of their signatures agree.

    Similar texts form a chain, so the work does not grow with the size of a group.
    table: EMPTY_SLOT everywhere. The lower half of an entry is a text's number, the upper half is of its band's hash.
    """
    ones, twos, count = np.empty(len(texts), np.int64), np.empty(len(texts), np.int64), 0
    mask = np.uint64(len(table) - 1)
    for text in texts:
        hashed = _band_hash(signed[text], start, width)
        upper, place = hashed >> np.uint64(32) << np.uint64(32), hashed & mask
        while table[place] != EMPTY_SLOT and table[place] >> np.uint64(32) << np.uint64(32) != upper:
            place = (place + np.uint64(1)) & mask
        if table[place] != EMPTY_SLOT:
            other = np.int64(table[place] & np.uint64(0xFFFFFFFF))
            if _agreement(signed[other], signed[text]) >= least:
                ones[count], twos[count] = other, text
                count += 1
        table[place] = upper | np.uint64(text)
    return ones[:count].copy(), twos[:count].copy()


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
    """Return the first text of the group so far, and shorten the path to it."""
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
    roots = np.empty_like(parents)
    for text in range(len(parents)):
        roots[text] = _root(parents, text)
    return roots
