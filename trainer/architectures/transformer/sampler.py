"""Order of the training texts: batches of similar length, divided among ranks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

SORTED_BATCHES = 50  # batches whose texts are sorted by length together; more would pad less, and order less randomly


class LengthGroupedSampler(Sampler[int]):
    """Sampler in whose order every `batch_size` consecutive texts have similar length.

    The order depends only on seed and epoch. A training that is resumed within an epoch continues with the remaining
    texts. Several ranks together see the same batches as a single one, each its share of every batch.
    """

    def __init__(self, lengths: NDArray[np.int64], *, batch_size: int, seed: int, rank: int = 0, world_size: int = 1) -> None:
        """Take lengths: tokens of each text [texts]; batch_size: texts per step on all ranks, a multiple of `world_size`."""
        self._lengths = lengths
        self._batch_size = batch_size
        self._seed = seed
        self._rank = rank
        self._world_size = world_size
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch; the Trainer calls it when one begins."""
        self._epoch = epoch

    def __len__(self) -> int:
        full, rest = divmod(len(self._lengths), self._batch_size)
        own = len(range(self._rank, rest, self._world_size)) if rest >= self._world_size else 0
        return full * self._batch_size // self._world_size + own

    def __iter__(self) -> Iterator[int]:
        for batch in self._batches():
            if len(batch) >= self._world_size:  # a smaller last batch would leave a rank without texts
                yield from batch[self._rank :: self._world_size].tolist()

    def _batches(self) -> list[NDArray[np.int64]]:
        random = np.random.default_rng([self._seed, self._epoch])
        order = random.permutation(len(self._lengths))
        batches: list[NDArray[np.int64]] = []
        for start in range(0, len(order), self._batch_size * SORTED_BATCHES):
            stretch = order[start : start + self._batch_size * SORTED_BATCHES]
            stretch = stretch[np.argsort(self._lengths[stretch], kind="stable")]
            batches += [stretch[at : at + self._batch_size] for at in range(0, len(stretch), self._batch_size)]
        return _full_ones_shuffled(batches, self._batch_size, random)


def _full_ones_shuffled(
    batches: list[NDArray[np.int64]], batch_size: int, random: np.random.Generator
) -> list[NDArray[np.int64]]:
    """Return the full batches in random order, then the incomplete one, which would shift all that follow it."""
    full = [each for each in batches if len(each) == batch_size]
    rest = [each for each in batches if len(each) < batch_size]
    return [full[at] for at in random.permutation(len(full))] + rest
