"""How long texts are, and how they are shown: counts and excerpts. Ignorant of labels."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.data.examples import Examples

Counts = NDArray[np.int64]

# Scripts that put no blanks between words: each character counts as one.
UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
WORD = rf"[{UNSPACED}]|[\w--[{UNSPACED}]]+"
SIGN = r"[^\w\s]"
# WordPiece tokens of English for each word and sign at the 95th percentile: 1.12 on arXiv and docstrings, 1.18 on products.
TOKENS_A_PIECE = 1.15
ADDED_TOKENS = 2  # that an encoder puts around a text
EXCERPT = 220  # characters


@dataclass(frozen=True, eq=False)
class Lengths:
    """Of each text [texts]: its words, and its words and signs together, which subword tokens come of."""

    words: Counts
    pieces: Counts

    def tokens(self) -> Counts:
        """About how many tokens a subword tokenizer makes of each text [texts]."""
        tokens: Counts = np.ceil(self.pieces * TOKENS_A_PIECE + ADDED_TOKENS).astype(np.int64)
        return tokens


def measure(examples: Examples) -> Lengths:
    """The length of every text. A word is a run of letters and digits, or a character of a script without blanks."""
    words, pieces = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for batch in examples.text_series():
        found = batch.str.count_matches(WORD).to_numpy().astype(np.int64)
        words.append(found)
        pieces.append(found + batch.str.count_matches(SIGN).to_numpy())
    return Lengths(np.concatenate(words), np.concatenate(pieces))


def excerpts(examples: Examples, positions: Iterable[int]) -> dict[int, str]:
    """The beginnings of the texts at these positions, by position; each part of the file is read once."""
    wanted = np.unique(np.fromiter(positions, np.int64))
    found: dict[int, str] = {}
    for start in range(0, len(wanted), 1_000):
        these = wanted[start : start + 1_000]
        found |= {int(at): excerpt(text) for at, text in zip(these, examples.select(these).texts(), strict=True)}
    return found


def excerpt(text: str, longest: int = EXCERPT) -> str:
    """One line of at most `longest` characters, without what a page cannot hold or show."""
    shown = "".join(" " if unicodedata.category(each) in ("Cc", "Cs", "Cn") else each for each in text[: 4 * longest])
    line = " ".join(shown.split())
    return line if len(line) <= longest and len(text) <= 4 * longest else f"{line[: longest - 1].rstrip()}…"
