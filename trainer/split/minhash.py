"""MinHash signatures of texts, computed by compiled code over the bytes of many texts at once.

Words are runs of letters and digits in lower case. A shingle is three consecutive words. The signature is a one-permutation
MinHash (Li, Owen and Zhang, "One Permutation Hashing", NIPS 2012), which needs one hash per shingle. Its empty bins are
filled as in Shrivastava, "Optimal Densification for Fast and Accurate Minwise Hashing", ICML 2017. The share of equal
places in two signatures estimates the Jaccard index of the two sets of shingles.
"""

from __future__ import annotations

import unicodedata
from functools import cache

import numpy as np
import polars as pl
from numpy.typing import NDArray

from trainer.parallel.compiled import compiled

BINS = 128
SEPARATOR = 0
KEPT = 1
EMPTY = np.uint32(0xFFFFFFFF)
# Multipliers of splitmix64.
FIRST = np.uint64(0xBF58476D1CE4E5B9)
SECOND = np.uint64(0x94D049BB133111EB)
STEP = np.uint64(0x9E3779B97F4A7C15)


def signatures(texts: pl.Series) -> tuple[NDArray[np.uint64], NDArray[np.uint16]]:
    """Return a hash of each text's words in order [texts], and its signature [texts, BINS].

    Texts with equal words have equal hashes. The hash of a text without words is of its bytes.
    """
    exact, signed = np.empty(len(texts), np.uint64), np.empty((len(texts), BINS), np.uint16)
    _sign(*_bytes(texts), _folding(), exact, signed)
    return exact, signed


def word_hashes(texts: pl.Series, words: int) -> NDArray[np.uint64]:
    """Return a hash of each text's first `words` words [texts]. If it has no more words, the hash equals that of `signatures`."""
    exact = np.empty(len(texts), np.uint64)
    _hash_all(*_bytes(texts), _folding(), words, exact)
    return exact


def _bytes(texts: pl.Series) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the bytes of all texts, separated by one byte, and the end of each text."""
    data = texts.str.join("\n").cast(pl.Binary).cast(pl.List(pl.UInt8)).explode().to_numpy()
    return data, np.cumsum(texts.str.len_bytes().to_numpy().astype(np.int64) + 1) - 1


@cache
def _folding() -> NDArray[np.uint32]:
    """Return the lower-case letter or digit of each character of the basic plane, 0 for other characters."""
    table = np.zeros(1 << 16, np.uint32)
    for code in range(1 << 16):
        character = chr(code)
        if character.isalnum() or unicodedata.category(character).startswith("M"):  # marks: vowels in many scripts
            table[code] = ord(character.lower()[0])
    return table


@compiled
def mixed(value: np.uint64) -> np.uint64:
    """Mix the bits of a value with the finaliser of splitmix64."""
    value = (value ^ (value >> np.uint64(30))) * FIRST
    value = (value ^ (value >> np.uint64(27))) * SECOND
    return value ^ (value >> np.uint64(31))


@compiled
def _sign(
    data: NDArray[np.uint8],
    ends: NDArray[np.int64],
    folding: NDArray[np.uint32],
    exact: NDArray[np.uint64],
    signed: NDArray[np.uint16],
) -> None:
    least = np.empty(BINS, np.uint32)
    start = 0
    for text in range(len(ends)):
        least[:] = EMPTY
        exact[text] = _shingle(data[start : ends[text]], folding, least)
        _densify(least)
        for place in range(BINS):
            signed[text, place] = np.uint16(least[place] & np.uint32(0xFFFF))
        start = ends[text] + 1


@compiled
def _hash_all(
    data: NDArray[np.uint8], ends: NDArray[np.int64], folding: NDArray[np.uint32], words: int, exact: NDArray[np.uint64]
) -> None:
    start = 0
    for text in range(len(ends)):
        exact[text] = _hash_words(data[start : ends[text]], folding, words)
        start = ends[text] + 1


@compiled
def _hash_words(data: NDArray[np.uint8], folding: NDArray[np.uint32], words: int) -> np.uint64:
    """Return the hash of the first words, as `_shingle` does, without counting shingles."""
    whole, word = STEP, STEP
    seen, at, size = 0, 0, len(data)
    while at <= size and seen < words:
        code = np.uint32(0)
        if at < size:
            code, at = _character(data, at, folding)
        else:
            at += 1
        if code != 0:
            word = word * FIRST + np.uint64(code)
        elif word != STEP:
            whole, word, seen = whole * FIRST + mixed(word), STEP, seen + 1
    if seen == 0:
        for byte in data:
            whole = whole * FIRST + np.uint64(byte)
    return whole


@compiled
def _shingle(data: NDArray[np.uint8], folding: NDArray[np.uint32], least: NDArray[np.uint32]) -> np.uint64:
    """Put the minimum hash of each bin's shingles into `least`. Return the hash of all words in order."""
    whole, word, before, before_that = STEP, STEP, STEP, STEP
    words, at, size = 0, 0, len(data)
    while at <= size:
        code = np.uint32(0)
        if at < size:
            code, at = _character(data, at, folding)
        else:
            at += 1
        if code != 0:
            word = word * FIRST + np.uint64(code)
        elif word != STEP:
            words += 1
            word = mixed(word)  # otherwise "ab cd" and "ac bd" would have the same hash
            whole = whole * FIRST + word
            if words >= 3:
                _count(before_that * STEP + before * SECOND + word, least)
            before_that, before, word = before, word, STEP
    if words == 0:
        for byte in data:
            whole = whole * FIRST + np.uint64(byte)
    if words < 3:
        _count(mixed(whole), least)
    return whole


@compiled
def _character(data: NDArray[np.uint8], at: int, folding: NDArray[np.uint32]) -> tuple[np.uint32, int]:
    """Return the folded character that starts at this byte of UTF-8, 0 if it is not part of a word; and the next start."""
    lead = np.uint32(data[at])
    if lead < 0x80:
        return folding[lead], at + 1
    if lead < 0xE0:
        return folding[((lead & np.uint32(0x1F)) << 6) | (data[at + 1] & 0x3F)], at + 2
    if lead < 0xF0:
        code = ((lead & np.uint32(0x0F)) << 12) | (np.uint32(data[at + 1] & 0x3F) << 6) | np.uint32(data[at + 2] & 0x3F)
        return folding[code], at + 3
    # Beyond the basic plane, characters from U+20000 are ideographs; those before are mostly signs and emoji.
    code = ((lead & np.uint32(0x07)) << 18) | (np.uint32(data[at + 1] & 0x3F) << 12)
    code |= (np.uint32(data[at + 2] & 0x3F) << 6) | np.uint32(data[at + 3] & 0x3F)
    return code if code >= np.uint32(0x20000) else np.uint32(0), at + 4


@compiled
def _count(shingle: np.uint64, least: NDArray[np.uint32]) -> None:
    """Put a shingle's hash into its bin. The lowest bits select the bin, the upper half is the value."""
    place = shingle & np.uint64(BINS - 1)
    value = np.uint32(shingle >> np.uint64(32))
    least[place] = min(least[place], value)


@compiled
def _densify(least: NDArray[np.uint32]) -> None:
    """Fill each empty bin with the value of a non-empty one, found by a walk that depends only on the bin."""
    filled = least != EMPTY
    for place in range(BINS):
        walk = np.uint64(place)
        while least[place] == EMPTY:
            walk = mixed(walk + STEP)
            other = walk & np.uint64(BINS - 1)
            if filled[other]:
                least[place] = least[other]
