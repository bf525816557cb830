"""An exact dictionary of pairs that a graph can look up: hash and displace, then compare the key.

Two keys never share a row, so that a look-up is two gathers, whatever the key: the displacement of its bucket, and the key
that belongs to its row. Method: Tarjan and Yao, "Storing a sparse table", Communications of the ACM 22, 1979.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.parallel.compiled import compiled

FREE = -1  # no pair has this key
KEYS_IN_A_BUCKET = 3
ROOM = 1.04  # rows for each key: those that stay free cost memory, fewer of them cost time to build


@dataclass(frozen=True, eq=False)
class Dictionary:
    """A key's row is `(key % modulus + displacements[key % buckets]) % rows`, if `keys` has the key in that row.

    displacements: 0 or more, int64 [buckets].
    keys: the key of each row, FREE where there is none, int64 [rows].
    """

    modulus: int
    displacements: NDArray[np.int64]
    keys: NDArray[np.int64]

    def rows(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """The row of each key, 0 where it is not in the dictionary."""
        found = (keys % self.modulus + self.displacements[keys % len(self.displacements)]) % len(self.keys)
        return np.where(self.keys[found] == keys, found, 0)


def build(keys: NDArray[np.int64], *, first: int) -> Dictionary:
    """The dictionary of these keys, all different and 0 or more, with rows from `first` on."""
    buckets = _next_prime(len(keys) // KEYS_IN_A_BUCKET + 2)
    modulus = _next_prime(int(len(keys) * ROOM) + 2)
    while True:
        found = _place(keys, buckets, modulus, first)
        if found is not None:
            return found
        # The keys of some bucket fit nowhere, most often because two always meet: other primes part them.
        buckets, modulus = _next_prime(buckets + 1), _next_prime(modulus + 1 + modulus // 100)


def _place(keys: NDArray[np.int64], buckets: int, modulus: int, first: int) -> Dictionary | None:
    bucket = keys % buckets
    sizes = np.bincount(bucket, minlength=buckets)
    # The largest buckets first, while there is room; those of one key fit anywhere.
    order = np.lexsort((keys, bucket, -sizes[bucket]))
    several = order[sizes[bucket[order]] > 1]
    single = order[sizes[bucket[order]] == 1]
    taken = np.full(modulus, FREE, np.int64)
    displacements = np.zeros(buckets, np.int64)
    if not _displace(keys[several], bucket[several], taken, displacements):
        return None
    free = np.flatnonzero(taken == FREE)[: len(single)]
    taken[free] = keys[single]
    displacements[bucket[single]] = free - keys[single] % modulus
    rows = np.concatenate((np.full(first, FREE, np.int64), taken))
    return Dictionary(modulus, (displacements + first) % len(rows), rows)


@compiled
def _displace(
    keys: NDArray[np.int64], bucket: NDArray[np.int64], taken: NDArray[np.int64], displacements: NDArray[np.int64]
) -> bool:
    """Give each bucket, all its keys in a row, a displacement that puts them into free places of `taken`.

    Returns False where there is none for a bucket.
    """
    modulus = len(taken)
    begin = 0
    while begin < len(keys):
        end = begin + 1
        while end < len(keys) and bucket[end] == bucket[begin]:
            end += 1
        places = np.sort(keys[begin:end] % modulus)
        # From -places[0] to modulus - 1 - places[-1] all keys stay inside. The search starts anywhere in between: were it
        # at one end for every bucket, that end would be full.
        choices = modulus - (places[-1] - places[0])
        start = keys[begin] * 7919 % choices
        tried = 0
        while tried < choices and not _fits(places, (start + tried) % choices - places[0], taken):
            tried += 1
        if tried == choices:
            return False
        displacements[bucket[begin]] = (start + tried) % choices - places[0]
        for at in range(begin, end):
            taken[keys[at] % modulus + displacements[bucket[begin]]] = keys[at]
        begin = end
    return True


@compiled
def _fits(places: NDArray[np.int64], shift: int, taken: NDArray[np.int64]) -> bool:
    """Whether the places, shifted, are free and differ. They ascend."""
    for at in range(len(places)):
        if at > 0 and places[at] == places[at - 1]:
            return False
        if taken[places[at] + shift] != FREE:
            return False
    return True


def _next_prime(least: int) -> int:
    number = max(2, least)
    while any(number % divisor == 0 for divisor in range(2, int(number**0.5) + 1)):
        number += 1
    return number
