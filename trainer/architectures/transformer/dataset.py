"""Dataset of token ids: texts are encoded on all cores, stored in one array, and returned as tensors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from tokenizers import Tokenizer
from torch import Tensor
from torch.utils.data import Dataset

from model.manifest import Task
from model.text_length import beginning
from trainer.data.examples import Examples
from trainer.parallel.threads import thread_map

# Large enough that the cost per call is negligible. The texts and encodings of a few batches take about 50 MB.
BATCH_TEXTS = 2_000

Ids = NDArray[np.integer[Any]]


@dataclass(frozen=True, eq=False)
class TokenizedDataset(Dataset[int]):
    """Tokenized examples. Items are positions, which `batch` turns into tensors.

    ids: token ids of all texts, concatenated; in memory or memory-mapped.
    ends: end of each text in `ids` [texts].
    targets: 1 where a text has a label, uint8 [texts, labels].
    """

    ids: Ids
    ends: NDArray[np.int64]
    targets: csr_matrix
    task: Task
    label_required: bool = True

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, position: int) -> int:
        return position

    def text(self, position: int) -> Ids:
        """Return the ids of one text [tokens]."""
        return self.ids[self.ends[position - 1] if position else 0 : self.ends[position]]

    def longest_first(self) -> TokenizedDataset:
        """Return the dataset sorted by length, longest first: little padding, and a lack of memory shows in the first batch."""
        order = np.argsort(-self.lengths, kind="stable")
        ids = np.concatenate([self.text(each) for each in order]) if len(order) else self.ids
        return replace(self, ids=ids, ends=np.cumsum(self.lengths[order]), targets=self.targets[order])

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each text [texts]."""
        return np.diff(self.ends, prepend=0)

    def batch(self, positions: Sequence[int]) -> dict[str, Tensor]:
        """Return `input_ids`, `attention_mask` (int64 [texts, tokens]) and `labels` of the texts at these positions.

        Texts are padded with id 0 to the longest, as in the server. Labels are float32 [texts, labels], or int64 [texts]
        for a single-label task.
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


def truncating(tokenizer: Tokenizer, max_length: int) -> Tokenizer:
    """Return a copy that truncates at `max_length` tokens and does not pad, as the server's `TextTokenizer` does."""
    copy = Tokenizer.from_str(tokenizer.to_str())
    copy.no_padding()
    copy.enable_truncation(max_length)
    return copy


def smallest_id_type(tokenizer: Tokenizer) -> type[np.integer[Any]]:
    """Return the smallest type that holds every id of the tokenizer."""
    largest = max(*tokenizer.get_vocab(with_added_tokens=True).values(), *tokenizer.encode("").ids, 0)
    return np.uint16 if largest <= np.iinfo(np.uint16).max else np.int32


def flat_batches(examples: Examples, tokenizer: Tokenizer, size: int = BATCH_TEXTS) -> Iterator[tuple[Ids, NDArray[np.int64]]]:
    """Yield the texts in order, at most `size` at a time: concatenated ids, and the number of ids of each text [texts].

    tokenizer: from `truncating`. Long texts are cut before they are tokenized, as in the server. The tokenizers library
    encodes a batch on all cores, while the previous batch is converted to an array.
    """
    kind = smallest_id_type(tokenizer)
    max_length: int = tokenizer.truncation["max_length"]

    def flat(texts: list[str]) -> tuple[Ids, NDArray[np.int64]]:
        ids = [each.ids for each in tokenizer.encode_batch_fast([beginning(text, max_length) for text in texts])]
        lengths = np.fromiter(map(len, ids), np.int64, len(ids))
        return np.fromiter(chain.from_iterable(ids), kind, int(lengths.sum())), lengths

    yield from thread_map(flat, examples.batches(size))
