"""Texts as token ids: encoded once, kept flat, handed out in batches of similar length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from model.classifier import Encoder
from model.manifest import Task
from trainer.examples import Examples

SORTED_BATCHES = 50  # a stretch of this many batches is sorted by length: little padding, and still random


@dataclass(frozen=True, eq=False)
class TokenIds(Dataset[int]):
    """Encoded examples. As a dataset it gives positions, of which `batch` makes tensors.

    ids: of all texts, one after the other, int32.
    ends: where in `ids` each text ends [texts].
    targets: 1 where a text carries a label, uint8 [texts, labels].
    """

    ids: NDArray[np.int32]
    ends: NDArray[np.int64]
    targets: csr_matrix
    task: Task

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, position: int) -> int:
        return position

    def text(self, position: int) -> NDArray[np.int32]:
        """The ids of one text [tokens]."""
        return self.ids[self.ends[position - 1] if position else 0 : self.ends[position]]

    def longest_first(self) -> TokenIds:
        """The same, sorted: little padding when scored in this order, and a lack of memory shows with the first batch."""
        order = np.argsort(-self.lengths, kind="stable")
        ids = np.concatenate([self.text(each) for each in order]) if len(order) else self.ids
        return TokenIds(ids, np.cumsum(self.lengths[order]), self.targets[order], self.task)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each text [texts]."""
        return np.diff(self.ends, prepend=0)

    def batch(self, positions: Sequence[int]) -> dict[str, Tensor]:
        """`input_ids`, `attention_mask` (int64 [texts, tokens]) and `labels` of the texts at these positions.

        Padded with id 0 to the longest, as the server does. Labels are float32 [texts, labels], or the label's column
        when single-label.
        """
        texts = [self.text(each) for each in positions]
        ids = np.zeros((len(texts), max(1, *map(len, texts))), np.int64)
        mask = np.zeros_like(ids)
        for row, text in enumerate(texts):
            ids[row, : len(text)] = text
            mask[row, : len(text)] = 1
        targets = self.targets[np.asarray(positions)].toarray()
        labels = targets.argmax(axis=1) if self.task is Task.SINGLE_LABEL else targets.astype(np.float32)
        return {
            "input_ids": torch.from_numpy(ids),
            "attention_mask": torch.from_numpy(mask),
            "labels": torch.from_numpy(labels),
        }


def encode(examples: Examples, encoder: Encoder) -> TokenIds:
    """The examples' texts as ids, in order."""
    parts: list[NDArray[np.int32]] = []
    for texts in examples.batches():
        parts += [np.array(each.ids, np.int32) for each in encoder.encode(texts)]
    ends = np.cumsum([len(each) for each in parts], dtype=np.int64)
    ids = np.concatenate(parts) if parts else np.zeros(0, np.int32)
    return TokenIds(ids, ends, examples.targets, examples.task)


class SimilarLengths(Sampler[int]):
    """An order for each epoch in which every `batch_size` texts are of similar length.

    The order follows from seed and epoch alone, so that a training that is resumed in the middle of an epoch sees the
    texts that it has not seen yet.
    """

    def __init__(self, lengths: NDArray[np.int64], *, batch_size: int, seed: int) -> None:
        self._lengths = lengths
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer when an epoch begins."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        random = np.random.default_rng([self._seed, self._epoch])
        order = random.permutation(len(self))
        batches: list[NDArray[np.int64]] = []
        for start in range(0, len(order), self._batch_size * SORTED_BATCHES):
            stretch = order[start : start + self._batch_size * SORTED_BATCHES]
            stretch = stretch[np.argsort(self._lengths[stretch], kind="stable")]
            batches += [stretch[at : at + self._batch_size] for at in range(0, len(stretch), self._batch_size)]
        yield from np.concatenate(_full_ones_shuffled(batches, self._batch_size, random)).tolist()


def _full_ones_shuffled(
    batches: list[NDArray[np.int64]], batch_size: int, random: np.random.Generator
) -> list[NDArray[np.int64]]:
    """The batches in random order; one that is not full stands last, or it would shift all that follow."""
    full = [each for each in batches if len(each) == batch_size]
    rest = [each for each in batches if len(each) < batch_size]
    return [full[at] for at in random.permutation(len(full))] + rest
