"""An exact dictionary of pairs that a graph can look up: hash and displace, then compare the key.

Two keys of one bucket never share a slot, so that a look-up is three gathers, whatever the key: the bucket's
displacement, the slot's key, the slot's value. Method: Tarjan and Yao, "Storing a sparse table", CACM 1979.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.architectures.compiled import compiled

FREE = -1  # no pair has this key
KEYS_IN_A_BUCKET = 3
ROOM = 1.3  # slots for each key


@dataclass(frozen=True, eq=False)
class Dictionary:
    """The slot of a key is `key % modulus + displacements[key % len(displacements)]`.

    keys: the key in each slot, FREE where there is none; there is a slot for every possible sum.
    values: what belongs to it.
    """

    modulus: int
    displacements: NDArray[np.int64]
    keys: NDArray[np.int64]
    values: NDArray[np.int64]

    def look_up(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """The value of each key, 0 where it is not in the dictionary."""
        slots = keys % self.modulus + self.displacements[keys % len(self.displacements)]
        return np.where(self.keys[slots] == keys, self.values[slots], 0)


def build(keys: NDArray[np.int64], values: NDArray[np.int64]) -> Dictionary:
    """The dictionary of these keys, all different and 0 or more, and these values."""
    buckets = _next_prime(len(keys) // KEYS_IN_A_BUCKET + 2)
    modulus = _next_prime(int(len(keys) * ROOM) + buckets)
    while True:
        found = _place(keys, values, buckets, modulus)
        if found is not None:
            return found
        modulus = _next_prime(modulus + 1)


def _place(keys: NDArray[np.int64], values: NDArray[np.int64], buckets: int, modulus: int) -> Dictionary | None:
    bucket = keys % buckets
    sizes = np.bincount(bucket, minlength=buckets)
    # The largest buckets first, while there is room.
    order = np.lexsort((keys, bucket, -sizes[bucket]))
    slots = np.full(2 * modulus, FREE, np.int64)
    displacements = np.zeros(buckets, np.int64)
    last = _displace(keys[order], bucket[order], modulus, slots, displacements)
    if last < 0:
        return None
    in_slots = np.full(modulus + last, FREE, np.int64)
    value_of = np.zeros(modulus + last, np.int64)
    taken = np.flatnonzero(slots[: modulus + last] != FREE)
    in_slots[taken] = keys[order][slots[taken]]
    value_of[taken] = values[order][slots[taken]]
    return Dictionary(modulus, displacements, in_slots, value_of)


@compiled
def _displace(
    keys: NDArray[np.int64],
    bucket: NDArray[np.int64],
    modulus: int,
    slots: NDArray[np.int64],
    displacements: NDArray[np.int64],
) -> int:
    """Give each bucket the first displacement that puts all its keys into free slots, and the slots their keys' numbers.

    Returns one more than the largest displacement, -1 where two keys of one bucket cannot be told apart.
    """
    largest = 0
    begin = 0
    while begin < len(keys):
        end = begin + 1
        while end < len(keys) and bucket[end] == bucket[begin]:
            end += 1
        for one in range(begin, end):
            for other in range(begin, one):
                if keys[one] % modulus == keys[other] % modulus:
                    return -1
        shift = 0
        at = begin
        while at < end:
            if shift > modulus:
                return -1
            if slots[keys[at] % modulus + shift] == FREE:
                at += 1
            else:
                shift += 1
                at = begin
        for at in range(begin, end):
            slots[keys[at] % modulus + shift] = at
        displacements[bucket[begin]] = shift
        largest = max(largest, shift)
        begin = end
    return largest + 1


def _next_prime(least: int) -> int:
    number = max(2, least)
    while any(number % divisor == 0 for divisor in range(2, int(number**0.5) + 1)):
        number += 1
    return number
