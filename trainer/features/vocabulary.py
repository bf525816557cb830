"""Word-level tokenizer of the linear architecture: train, prune, encode texts to word ids.

Id 0 is padding and id 1 is any unknown word. Words follow, the most frequent first.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from tokenizers import Regex, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import NFKC, Lowercase, Sequence
from tokenizers.pre_tokenizers import Split
from tokenizers.trainers import WordLevelTrainer

from model.text_length import beginning
from trainer.data.examples import Examples

SPECIAL = ("[PAD]", "[UNK]")
UNKNOWN = SPECIAL[1]
# Two or more letters, digits or marks of any script. Words of one character, and punctuation as words, make pairs worse
# (docs/experiments.md). No word contains a bracket, so none equals an entry of SPECIAL.
WORD = r"\w\w+"
ENCODED_AT_ONCE = 1_000  # an encoding takes a hundred times the memory of its ids
UNBOUNDED = 2**31 - 1


@dataclass(frozen=True, eq=False)
class Tokens:
    """Word ids of many texts. Those of text i are `ids[starts[i]:starts[i + 1]]`."""

    ids: NDArray[np.int32]
    starts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.starts) - 1


def train_tokenizer(examples: Examples, *, minimum: int, max_length: int) -> Tokenizer:
    """Return a tokenizer of all words that occur at least `minimum` times in the texts.

    Only the part of a text that a model with `max_length` words may read (`model.text_length`) is used.
    """
    tokenizer = _tokenizer(WordLevel(unk_token=UNKNOWN))
    trainer = WordLevelTrainer(vocab_size=UNBOUNDED, min_frequency=minimum, special_tokens=list(SPECIAL), show_progress=False)
    batches = ([beginning(text, max_length) for text in batch] for batch in _small_batches(examples))
    tokenizer.train_from_iterator(batches, trainer)
    counted = tokenizer.get_vocab()
    return word_tokenizer(sorted(counted.keys() - set(SPECIAL), key=counted.__getitem__))


def word_tokenizer(words: list[str]) -> Tokenizer:
    """Return a tokenizer that gives these words the ids from 2 on.

    SPECIAL are plain entries, not "added tokens": the tokenizer would search for those in every text, which takes time,
    and a text that contains "[PAD]" would get its id.
    """
    vocabulary = {word: at for at, word in enumerate((*SPECIAL, *words))}
    return _tokenizer(WordLevel(vocabulary, unk_token=UNKNOWN))


def words_of(tokenizer: Tokenizer) -> list[str]:
    """Return the tokenizer's words in the order of their ids, from id 2 on."""
    vocabulary: dict[str, int] = json.loads(tokenizer.to_str())["model"]["vocab"]
    return sorted(vocabulary, key=vocabulary.__getitem__)[len(SPECIAL) :]


def encode(tokenizer: Tokenizer, examples: Examples, *, max_length: int) -> Tokens:
    """Return the word ids of the examples' texts, at most `max_length` per text."""
    return _gather(encode_texts(tokenizer, batch, max_length=max_length) for batch in _small_batches(examples))


def encode_texts(tokenizer: Tokenizer, texts: list[str], *, max_length: int) -> Tokens:
    """Return the word ids of the texts, at most `max_length` per text."""
    tokenizer.enable_truncation(max_length)
    encodings = tokenizer.encode_batch_fast([beginning(text, max_length) for text in texts])
    tokenizer.no_truncation()
    lengths = np.fromiter((len(each) for each in encodings), np.int64, len(encodings))
    ids = np.fromiter(chain.from_iterable(each.ids for each in encodings), np.int32, int(lengths.sum()))
    return Tokens(ids, np.concatenate(([0], np.cumsum(lengths))))


def _tokenizer(model: WordLevel) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = Sequence([NFKC(), Lowercase()])
    tokenizer.pre_tokenizer = Split(Regex(WORD), "removed", invert=True)
    return tokenizer


def _small_batches(examples: Examples) -> Iterator[list[str]]:
    for batch in examples.batches():
        for start in range(0, len(batch), ENCODED_AT_ONCE):
            yield batch[start : start + ENCODED_AT_ONCE]


def _gather(parts: Iterator[Tokens]) -> Tokens:
    ids, starts, total = [np.zeros(0, np.int32)], [np.zeros(1, np.int64)], 0
    for part in parts:
        ids.append(part.ids)
        starts.append(part.starts[1:] + total)
        total += len(part.ids)
    return Tokens(np.concatenate(ids), np.concatenate(starts))
