"""The texts of the serving benchmark, and the bodies that each server wants them in."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import polars as pl
from tokenizers import Tokenizer

TEXTS = 384  # of each kind; twelve batches of 32
MOST_TOKENS = 128
KINDS = ("abstracts", "titles", "mixed")


def read_texts(data: Path, tokenizer: Tokenizer) -> dict[str, list[str]]:
    """Texts of arXiv's test set by kind: abstracts cut to 128 tokens, titles, and both in turn."""
    papers = pl.read_parquet(data / "arxiv" / "test.parquet", columns=["title", "abstract"]).sample(TEXTS, seed=0)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    abstracts, titles = ([_cut(each, tokenizer) for each in papers[column]] for column in ("abstract", "title"))
    half = TEXTS // 2
    mixed = list(chain.from_iterable(zip(abstracts[:half], titles[half:], strict=True)))
    return {"abstracts": abstracts, "titles": titles, "mixed": mixed}


def _cut(text: str, tokenizer: Tokenizer) -> str:
    """The text up to its last word that ends within 128 tokens, its marks of begin and end counted in."""
    found = tokenizer.encode(text)
    if len(found.ids) <= MOST_TOKENS:
        return text
    return text[: found.offsets[MOST_TOKENS - 2][1]]


def v2(tensor: str, *, texts_a_request: int = 1) -> Callable[[Sequence[str]], list[str]]:
    """Texts to bodies of the open inference protocol whose one tensor has this name."""

    def bodies(texts: Sequence[str]) -> list[str]:
        parts = (list(texts[at : at + texts_a_request]) for at in range(0, len(texts), texts_a_request))
        return [json.dumps({"inputs": [_tensor(tensor, each)]}) for each in parts]

    return bodies


def _tensor(name: str, texts: list[str]) -> dict[str, Any]:
    return {"name": name, "shape": [len(texts)], "datatype": "BYTES", "data": texts}
