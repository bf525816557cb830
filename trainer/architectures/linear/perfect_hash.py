"""Perfect hash table of pairs that an ONNX graph can look up: hash and displace, then compare the key.

Two keys never share a row, so a look-up takes two gathers: the displacement of the key's bucket, and the key in its row.
Method: Tarjan and Yao, "Storing a sparse table", Communications of the ACM 22, 1979.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.parallel.compiled import compiled

FREE = -1  # not the key of any pair
KEYS_IN_A_BUCKET = 3
ROWS_PER_KEY = 1.04  # more rows take more memory, fewer take longer to build


@dataclass(frozen=True, eq=False)
class Dictionary:
    """Hash table. A key's row is `(key % modulus + displacements[key % buckets]) % rows`, if `keys` has the key there.

    displacements: 0 or more, int64 [buckets].
    keys: the key of each row, or FREE, int64 [rows].
    """

    modulus: int
    displacements: NDArray[np.int64]
    keys: NDArray[np.int64]

    def rows(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the row of each key, 0 for keys that are not in the dictionary."""
        candidates = (keys % self.modulus + self.displacements[keys % len(self.displacements)]) % len(self.keys)
        return np.where(self.keys[candidates] == keys, candidates, 0)


def build(keys: NDArray[np.int64], *, first: int) -> Dictionary:
    """Build the dictionary of these keys, which are distinct and 0 or more. Rows below `first` stay free."""
    buckets = _next_prime(len(keys) // KEYS_IN_A_BUCKET + 2)
    modulus = _next_prime(int(len(keys) * ROWS_PER_KEY) + 2)
    while True:
        dictionary = _place(keys, buckets, modulus, first)
        if dictionary is not None:
            return dictionary
        # The keys of a bucket have no free rows, usually because two have the same remainder: use other primes.
        buckets, modulus = _next_prime(buckets + 1), _next_prime(modulus + 1 + modulus // 100)


def _place(keys: NDArray[np.int64], buckets: int, modulus: int, first: int) -> Dictionary | None:
    bucket = keys % buckets
    sizes = np.bincount(bucket, minlength=buckets)
    # The largest buckets are placed first; buckets with one key fit into any free row.
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
    """Find for each bucket a displacement that puts its keys into free rows of `taken`. Keys are sorted by bucket.

    Return False if there is none for a bucket.
    """
    modulus = len(taken)
    begin = 0
    while begin < len(keys):
        end = begin + 1
        while end < len(keys) and bucket[end] == bucket[begin]:
            end += 1
        places = np.sort(keys[begin:end] % modulus)
        # Displacements from -places[0] to modulus - 1 - places[-1] keep all keys inside. The search starts at a different
        # one for each bucket, so that the rows fill up evenly.
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
    """Return whether the places, shifted, are free and distinct. Places are sorted."""
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
