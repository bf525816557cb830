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
from trainer.split import minhash
from trainer.split.minhash import BINS, FIRST, STEP, mixed, word_hashes

# Least share of the pairs with exactly the configured similarity that become candidates; more similar pairs have a larger share.
RECALL = 0.98
EMPTY_SLOT = np.uint64(0xFFFFFFFFFFFFFFFF)
# Enough to distinguish most texts, at a tenth of the work.
FIRST_WORDS = 16
ALL_WORDS = 2**62

Indices = NDArray[np.int64]


def groups(examples: Examples, similarity: float) -> NDArray[np.int64]:
    """Return a group for each example [examples], numbered from 0 in order of appearance.

    Two texts are in the same group if their words are equal; if the estimated Jaccard index of their word 3-grams is
    `similarity` or more (standard error below 0.045) and their signatures share a band, as at least RECALL of such
    pairs do; or if a chain of such pairs joins them. With `similarity` 1, only texts with equal words are in the same
    group. Time and memory are linear in the number of texts.
    """
    if not len(examples):
        return np.zeros(0, np.int64)
    if similarity >= 1:
        return _group_numbers(_first_of_each(_word_hashes(examples))[0])
    return groups_and_hashes(examples, similarity)[0]


def groups_and_hashes(examples: Examples, similarity: float) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Return `groups` and `text_hashes`, which takes little longer than `groups` alone."""
    if similarity >= 1 or not len(examples):
        hashes = text_hashes(examples)
        return _group_numbers(_first_of_each(hashes)[0]), hashes
    hashes, signatures = _signatures(examples)
    parents, different = _first_of_each(hashes)
    for left, right in _similar_pairs(signatures, different, similarity):
        _join(parents, left, right)
    return _group_numbers(_roots(parents)), hashes


def _word_hashes(examples: Examples) -> NDArray[np.uint64]:
    """Return a hash of each text's words [examples], or of its first FIRST_WORDS words if no other text starts with them.

    Texts whose first words have equal hashes are hashed completely.
    """
    hashes = _hashed(examples, FIRST_WORDS)
    _, which, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    again = np.flatnonzero(counts[which.ravel()] > 1)
    if len(again):
        hashes[again] = _hashed(examples.select(again), ALL_WORDS)
    return hashes


def first_words_hashes(examples: Examples) -> NDArray[np.uint64]:
    """Return a hash of the first words of each text [examples], at a tenth of the work of `text_hashes`."""
    return _hashed(examples, FIRST_WORDS) if len(examples) else np.zeros(0, np.uint64)


def text_hashes(examples: Examples) -> NDArray[np.uint64]:
    """Return a hash of all words of each text [examples]: equal for texts that differ only in case, spaces or punctuation."""
    return _hashed(examples, ALL_WORDS) if len(examples) else np.zeros(0, np.uint64)


def _hashed(examples: Examples, words: int) -> NDArray[np.uint64]:
    batches = examples.text_series(WINDOW_ROWS)
    return np.concatenate(list(thread_map(lambda texts: word_hashes(texts, words), batches)))


def _first_of_each(hashes: NDArray[np.uint64]) -> tuple[Indices, Indices]:
    """Return, for each text, the index of the first text with the same hash [examples]; and these indices, ascending."""
    _, first, which = np.unique(hashes, return_index=True, return_inverse=True)
    return first[which.ravel()].astype(np.int64), np.sort(first)


def _group_numbers(parents: Indices) -> Indices:
    """Number the groups 0, 1, … in the order of their first texts. Return each text's number [examples]."""
    _, numbers = np.unique(parents, return_inverse=True)
    return numbers.ravel().astype(np.int64)


def _signatures(examples: Examples) -> tuple[NDArray[np.uint64], NDArray[np.uint16]]:
    """Return a hash of each text's words [examples] and its signature [examples, BINS]."""
    hashes, signatures = np.empty(len(examples), np.uint64), np.empty((len(examples), BINS), np.uint16)
    start = 0
    for some_hashes, some_signatures in thread_map(minhash.signatures, examples.text_series(WINDOW_ROWS)):
        end = start + len(some_hashes)
        hashes[start:end], signatures[start:end] = some_hashes, some_signatures
        start = end
    return hashes, signatures


def _similar_pairs(signatures: NDArray[np.uint16], texts: Indices, similarity: float) -> Iterator[tuple[Indices, Indices]]:
    """Yield pairs of similar texts for each band: each text with the previous one in the same bucket, if similar."""
    width = _rows_per_band(similarity)
    least = int(np.ceil(similarity * BINS))

    def of_band(start: int) -> tuple[Indices, Indices]:
        # At most half full, so that searches are short; a power of two, so that a mask gives the place.
        table = np.full(1 << max(4, int(2 * len(texts) - 1).bit_length()), EMPTY_SLOT, np.uint64)
        return _pairs(signatures, texts, start, width, least, table)

    yield from thread_map(of_band, range(0, BINS - width + 1, width))


def _rows_per_band(similarity: float) -> int:
    """Return the largest band width, which gives the fewest false candidates, with a share of RECALL or more."""
    fitting = [width for width in range(1, 33) if 1 - (1 - similarity**width) ** (BINS // width) >= RECALL]
    return max(fitting, default=1)


@compiled
def _pairs(
    signatures: NDArray[np.uint16], texts: Indices, start: int, width: int, least: int, table: NDArray[np.uint64]
) -> tuple[Indices, Indices]:
    """Pair each text with the previous text in the same bucket, if at least `least` places of their signatures agree.

    Similar texts form a chain, so the work per text does not depend on the size of its group.
    table: EMPTY_SLOT everywhere. The lower 32 bits of an entry are a text's index, the upper 32 bits those of its band's
    hash.
    """
    left, right, count = np.empty(len(texts), np.int64), np.empty(len(texts), np.int64), 0
    mask = np.uint64(len(table) - 1)
    for text in texts:
        hashed = _band_hash(signatures[text], start, width)
        upper, place = hashed >> np.uint64(32) << np.uint64(32), hashed & mask
        while table[place] != EMPTY_SLOT and table[place] >> np.uint64(32) << np.uint64(32) != upper:
            place = (place + np.uint64(1)) & mask
        if table[place] != EMPTY_SLOT:
            other = np.int64(table[place] & np.uint64(0xFFFFFFFF))
            if _agreement(signatures[other], signatures[text]) >= least:
                left[count], right[count] = other, text
                count += 1
        table[place] = upper | np.uint64(text)
    return left[:count].copy(), right[:count].copy()


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
def _root(parents: Indices, text: int) -> int:
    """Return the root of the text's set in the union-find forest `parents`, and halve the path to it."""
    while parents[text] != text:
        parents[text] = parents[parents[text]]
        text = parents[text]
    return text


@compiled
def _join(parents: Indices, left: Indices, right: Indices) -> None:
    for pair in range(len(left)):
        one, two = _root(parents, left[pair]), _root(parents, right[pair])
        parents[max(one, two)] = min(one, two)


@compiled
def _roots(parents: Indices) -> Indices:
    roots = np.empty_like(parents)
    for text in range(len(parents)):
        roots[text] = _root(parents, text)
    return roots
