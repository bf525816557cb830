"""Texts as token ids: encoded on every core, kept flat, handed out as tensors."""

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

# Large enough that a call's own cost does not show, small enough that the texts and encodings of a few take some 50 MB.
BATCH_TEXTS = 2_000

Ids = NDArray[np.integer[Any]]


@dataclass(frozen=True, eq=False)
class TokenizedDataset(Dataset[int]):
    """Tokenized examples. As a dataset it yields positions, which `batch` turns into tensors.

    ids: of all texts, one after the other; in memory or a file that is mapped into it.
    ends: where in `ids` each text ends [texts].
    targets: 1 where a text carries a label, uint8 [texts, labels].
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
        """Return the texts sorted by length: evaluation pads little, and a lack of memory shows with the first batch."""
        order = np.argsort(-self.lengths, kind="stable")
        ids = np.concatenate([self.text(each) for each in order]) if len(order) else self.ids
        return replace(self, ids=ids, ends=np.cumsum(self.lengths[order]), targets=self.targets[order])

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


def cutting(tokenizer: Tokenizer, max_length: int) -> Tokenizer:
    """A tokenizer of its own that cuts at `max_length` tokens and does not pad, as the server's `TextTokenizer` does."""
    own = Tokenizer.from_str(tokenizer.to_str())
    own.no_padding()
    own.enable_truncation(max_length)
    return own


def narrowest(tokenizer: Tokenizer) -> type[np.integer[Any]]:
    """The type that holds every id of the tokenizer: of most, two bytes are enough."""
    largest = max(*tokenizer.get_vocab(with_added_tokens=True).values(), *tokenizer.encode("").ids, 0)
    return np.uint16 if largest <= np.iinfo(np.uint16).max else np.int32


def flat_batches(examples: Examples, tokenizer: Tokenizer, size: int = BATCH_TEXTS) -> Iterator[tuple[Ids, NDArray[np.int64]]]:
    """The texts in order, at most `size` at a time: ids one after the other, and how many each text has [texts].

    `tokenizer` is one of `cutting`; long texts are cut before they are tokenised, as the server does.
    The tokenizers library encodes a batch on every core; while one batch becomes an array, the next is in work.
    """
    kind = narrowest(tokenizer)
    max_length: int = tokenizer.truncation["max_length"]

    def flat(texts: list[str]) -> tuple[Ids, NDArray[np.int64]]:
        ids = [each.ids for each in tokenizer.encode_batch_fast([beginning(text, max_length) for text in texts])]
        lengths = np.fromiter(map(len, ids), np.int64, len(ids))
        return np.fromiter(chain.from_iterable(ids), kind, int(lengths.sum())), lengths

    yield from thread_map(flat, examples.batches(size))
