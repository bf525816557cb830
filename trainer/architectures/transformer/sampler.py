"""In which order texts are trained on: batches of similar length, shared among processes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

SORTED_BATCHES = 50  # a stretch of this many batches is sorted by length: little padding, and still random


@dataclass(frozen=True)
class Share:
    """The part of every batch that one of several processes trains on. place: which of the `count` processes it is."""

    place: int = 0
    count: int = 1


class SimilarLengths(Sampler[int]):
    """An order for each epoch in which every `batch_size` texts are of similar length.

    The order follows from seed and epoch alone, so that a training that is resumed in the middle of an epoch sees the
    texts that it has not seen yet, and several processes see what one would, each its share of every batch.
    """

    def __init__(self, lengths: NDArray[np.int64], *, batch_size: int, seed: int, share: Share = Share()) -> None:
        """batch_size: texts of a step, of all processes together; a multiple of their number."""
        self._lengths = lengths
        self._batch_size = batch_size
        self._seed = seed
        self._share = share
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer when an epoch begins."""
        self._epoch = epoch

    def __len__(self) -> int:
        full, rest = divmod(len(self._lengths), self._batch_size)
        own = len(range(self._share.place, rest, self._share.count)) if rest >= self._share.count else 0
        return full * self._batch_size // self._share.count + own

    def __iter__(self) -> Iterator[int]:
        for batch in self._batches():
            if len(batch) >= self._share.count:  # of a last batch with fewer texts than processes, some would have none
                yield from batch[self._share.place :: self._share.count].tolist()

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
    """The batches in random order; one that is not full stands last, or it would shift all that follow."""
    full = [each for each in batches if len(each) == batch_size]
    rest = [each for each in batches if len(each) < batch_size]
    return [full[at] for at in random.permutation(len(full))] + rest
