"""TF-IDF rows from word ids: choose words and pairs of words as features, and compute their weights in each text.

A feature's number is also its row in the weights: first the word ids, including padding and unknown (their rows are zero),
then the pairs; both by the number of texts that contain them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from trainer.features.vocabulary import SPECIAL, Tokens
from trainer.parallel.compiled import compiled

FIRST_WORD = len(SPECIAL)
EMPTY = -1
SPARE = 2  # candidates per feature; those that were counted too high drop out
# Knuth's multiplicative hash: the golden ratio of 2^64, as a signed integer.
GOLDEN = -7046029254386353131


@dataclass(frozen=True, eq=False)
class Features:
    """Chosen features.

    word_count: number of the tokenizer's ids, including padding and unknown.
    pairs: `first * word_count + second` of the words of each pair, int64 [pairs].
    idf: inverse document frequency of each feature, 0 for padding and unknown, float32 [word_count + pairs].
    """

    word_count: int
    pairs: NDArray[np.int64]
    idf: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.idf)


def choose(tokens: Tokens, *, word_count: int, minimum_texts: int, maximum: int) -> tuple[NDArray[np.int64], Features]:
    """Choose the `maximum` words and pairs that most texts contain, and that at least `minimum_texts` contain.

    A pair is two adjacent words. Return the old id of each chosen word, in the order of the new ids from 2 on, and the
    features, in new ids. Words precede pairs that are in as many texts, so that the words of a chosen pair are chosen too.
    """
    in_texts = _count_words(tokens.ids, tokens.starts, word_count)
    in_texts[:FIRST_WORD] = 0
    pairs, pair_texts = _count_pairs(tokens, word_count, minimum_texts, maximum)
    order = np.argsort(np.concatenate((-in_texts[FIRST_WORD:], -pair_texts)), kind="stable")[:maximum]
    words = order[order < word_count - FIRST_WORD] + FIRST_WORD
    words = words[in_texts[words] >= minimum_texts]
    kept = order[order >= word_count - FIRST_WORD] - (word_count - FIRST_WORD)
    new_id = np.zeros(word_count, np.int64)
    new_id[words] = np.arange(FIRST_WORD, FIRST_WORD + len(words))
    first, second = np.divmod(pairs[kept], word_count)
    size = FIRST_WORD + len(words)
    texts = np.concatenate((np.zeros(FIRST_WORD, np.int64), in_texts[words], pair_texts[kept]))
    idf = np.log((1 + len(tokens)) / (1 + texts)) + 1
    idf[:FIRST_WORD] = 0
    return words, Features(size, new_id[first] * size + new_id[second], idf.astype(np.float32))


def renumber(tokens: Tokens, words: NDArray[np.int64], *, word_count: int) -> Tokens:
    """Return the tokens with the new ids of `words`. All other words become unknown."""
    new_id = np.full(word_count, FIRST_WORD - 1, np.int32)
    new_id[words] = np.arange(FIRST_WORD, FIRST_WORD + len(words), dtype=np.int32)
    return Tokens(new_id[tokens.ids], tokens.starts)


def tf_idf(tokens: Tokens, features: Features) -> csr_matrix:
    """Return rows of (1 + log count) * idf, scaled to length 1 unless empty; float32 [texts, features]."""
    keys = _table(len(features.pairs))
    rows = np.zeros(len(keys), np.int32)
    _fill(keys, rows, features.pairs, features.word_count)
    values, indices, starts = _weigh(tokens.ids, tokens.starts, features.word_count, features.idf, keys, rows)
    return csr_matrix((values, indices, starts), shape=(len(tokens), len(features)))


def _count_pairs(tokens: Tokens, word_count: int, minimum: int, maximum: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return pairs in at least `minimum` texts, ascending, and their numbers of texts. They include the `maximum` most frequent.

    Most pairs occur once. A small table of approximate counters, shared by pairs with the same hash, excludes them, so that
    only pairs that may be in `least` texts are counted exactly.
    """
    sketch = np.zeros(1 << max(10, min(26, len(tokens.ids).bit_length())), np.uint8)
    _sketch_pairs(tokens.ids, word_count, sketch)
    at_least = np.bincount(sketch, minlength=256)[::-1].cumsum()[::-1]
    least = max(min(minimum, 255), int(np.flatnonzero(at_least >= SPARE * maximum).max(initial=1)))
    while True:
        pairs, texts = _count_candidates(tokens, word_count, sketch, least)
        if least <= minimum or (texts >= least).sum() >= maximum:
            return pairs[texts >= minimum], texts[texts >= minimum]
        least = max(minimum, least // 2)


def _count_candidates(
    tokens: Tokens, word_count: int, sketch: NDArray[np.uint8], least: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the pairs whose hash occurs at least `least` times, ascending, and their numbers of texts."""
    table, done = _empty_counter(1 << 15), 0
    while True:
        done = _count_exactly(tokens.ids, tokens.starts, word_count, sketch, least, table, done)
        if done == len(tokens):
            break
        larger = _empty_counter(len(table.keys))
        _move(table, larger)
        table = larger
    used = np.flatnonzero(table.keys != EMPTY)
    used = used[np.argsort(table.keys[used])]
    return table.keys[used], table.texts[used].astype(np.int64)


class _Counter(NamedTuple):
    """Hash table of keys, the number of texts with each, and the last such text."""

    keys: NDArray[np.int64]
    texts: NDArray[np.int32]
    last: NDArray[np.int32]


def _empty_counter(room: int) -> _Counter:
    keys = _table(room)
    return _Counter(keys, np.zeros(len(keys), np.int32), np.full(len(keys), -1, np.int32))


def _table(count: int) -> NDArray[np.int64]:
    """Return an empty table for `count` keys: its size is a power of two, at least twice the count."""
    return np.full(1 << max(4, (2 * count - 1).bit_length()), EMPTY, np.int64)


@compiled
def _hash(key: int) -> int:
    mixed = key * GOLDEN
    return mixed ^ (mixed >> 29)


@compiled
def _slot(keys: NDArray[np.int64], key: int) -> int:
    """Return the slot of the key in the table, or the empty slot for it."""
    at = _hash(key) & (len(keys) - 1)
    while keys[at] != EMPTY and keys[at] != key:
        at = (at + 1) & (len(keys) - 1)
    return at


@compiled
def _count_words(ids: NDArray[np.int32], starts: NDArray[np.int64], word_count: int) -> NDArray[np.int64]:
    """Return the number of texts with each word."""
    texts = np.zeros(word_count, np.int64)
    last = np.full(word_count, -1, np.int64)
    for text in range(len(starts) - 1):
        for at in range(starts[text], starts[text + 1]):
            if last[ids[at]] != text:
                last[ids[at]] = text
                texts[ids[at]] += 1
    return texts


@compiled
def _sketch_pairs(ids: NDArray[np.int32], word_count: int, sketch: NDArray[np.uint8]) -> None:
    """Count pairs by their hash, up to 255. Counts may be too high, also because pairs across texts are counted."""
    for at in range(len(ids) - 1):
        if ids[at] >= FIRST_WORD and ids[at + 1] >= FIRST_WORD:
            bucket = _hash(np.int64(ids[at]) * word_count + ids[at + 1]) & (len(sketch) - 1)
            if sketch[bucket] < 255:
                sketch[bucket] += 1


@compiled
def _count_exactly(
    ids: NDArray[np.int32],
    starts: NDArray[np.int64],
    word_count: int,
    sketch: NDArray[np.uint8],
    least: int,
    table: _Counter,
    done: int,
) -> int:
    """Count the texts of each pair whose hash occurs `least` times, from text `done` on. Return the text at which the table
    is full, or the number of texts.
    """
    used = 0
    for key in table.keys:
        used += key != EMPTY
    for text in range(done, len(starts) - 1):
        if 2 * (used + starts[text + 1] - starts[text]) > len(table.keys):
            return text
        for at in range(starts[text], starts[text + 1] - 1):
            if ids[at] < FIRST_WORD or ids[at + 1] < FIRST_WORD:
                continue
            key = np.int64(ids[at]) * word_count + ids[at + 1]
            if sketch[_hash(key) & (len(sketch) - 1)] < least:
                continue
            slot = _slot(table.keys, key)
            used += table.keys[slot] == EMPTY
            table.keys[slot] = key
            if table.last[slot] != text:
                table.last[slot] = text
                table.texts[slot] += 1
    return len(starts) - 1


@compiled
def _move(table: _Counter, larger: _Counter) -> None:
    """Copy every entry of the table into a larger, empty one."""
    for at in range(len(table.keys)):
        if table.keys[at] != EMPTY:
            slot = _slot(larger.keys, table.keys[at])
            larger.keys[slot] = table.keys[at]
            larger.texts[slot] = table.texts[at]
            larger.last[slot] = table.last[at]


@compiled
def _fill(keys: NDArray[np.int64], rows: NDArray[np.int32], pairs: NDArray[np.int64], first: int) -> None:
    """Insert the pairs into the empty table `keys`, and their feature numbers, from `first` on, into `rows`."""
    for at in range(len(pairs)):
        slot = _slot(keys, pairs[at])
        keys[slot] = pairs[at]
        rows[slot] = first + at


@compiled
def _weigh(
    ids: NDArray[np.int32],
    starts: NDArray[np.int64],
    word_count: int,
    idf: NDArray[np.float32],
    keys: NDArray[np.int64],
    rows: NDArray[np.int32],
) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.int64]]:
    """Return values, features and starts of the TF-IDF rows; features in the order of their first occurrence in a text."""
    # Pages that are not written to take no memory, so the arrays may be too large.
    values = np.empty(2 * len(ids), np.float32)
    features = np.empty(2 * len(ids), np.int32)
    ends = np.zeros(len(starts), np.int64)
    counts = np.zeros(len(idf), np.int32)
    end = 0
    for text in range(len(starts) - 1):
        begin = end
        for at in range(starts[text], starts[text + 1]):
            word = ids[at]
            if word < FIRST_WORD:
                continue
            if counts[word] == 0:
                features[end] = word
                end += 1
            counts[word] += 1
            if at + 1 == starts[text + 1] or ids[at + 1] < FIRST_WORD:
                continue
            key = np.int64(word) * word_count + ids[at + 1]
            slot = _slot(keys, key)
            if keys[slot] != key:
                continue
            if counts[rows[slot]] == 0:
                features[end] = rows[slot]
                end += 1
            counts[rows[slot]] += 1
        squares = 0.0
        for at in range(begin, end):
            value = (1 + np.log(counts[features[at]])) * idf[features[at]]
            counts[features[at]] = 0
            values[at] = value
            squares += value * value
        for at in range(begin, end):
            values[at] /= np.sqrt(squares)
        ends[text + 1] = end
    return values[:end], features[:end], ends
