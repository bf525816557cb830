"""Texts of the serving benchmark, and their request bodies for each server."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import polars as pl
from tokenizers import Tokenizer

TEXTS_PER_KIND = 384  # twelve batches of 32
MAX_TOKENS = 128
KINDS = ("abstracts", "titles", "mixed")


def read_texts(data: Path, tokenizer: Tokenizer) -> dict[str, list[str]]:
    """Return texts of arXiv's test set by kind: abstracts cut to 128 tokens, titles, and both in turn."""
    papers = pl.read_parquet(data / "arxiv" / "test.parquet", columns=["title", "abstract"]).sample(TEXTS_PER_KIND, seed=0)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    abstracts, titles = ([_cut(each, tokenizer) for each in papers[column]] for column in ("abstract", "title"))
    half = TEXTS_PER_KIND // 2
    mixed = list(chain.from_iterable(zip(abstracts[:half], titles[half:], strict=True)))
    return {"abstracts": abstracts, "titles": titles, "mixed": mixed}


def _cut(text: str, tokenizer: Tokenizer) -> str:
    """Return the text up to its last word that ends within 128 tokens, start and end tokens included."""
    encoding = tokenizer.encode(text)
    if len(encoding.ids) <= MAX_TOKENS:
        return text
    return text[: encoding.offsets[MAX_TOKENS - 2][1]]


def v2(tensor: str, *, texts_a_request: int = 1) -> Callable[[Sequence[str]], list[str]]:
    """Return a function from texts to a body of the open inference protocol, whose only tensor has this name."""

    def bodies(texts: Sequence[str]) -> list[str]:
        parts = (list(texts[at : at + texts_a_request]) for at in range(0, len(texts), texts_a_request))
        return [json.dumps({"inputs": [_tensor(tensor, each)]}) for each in parts]

    return bodies


def _tensor(name: str, texts: list[str]) -> dict[str, Any]:
    return {"name": name, "shape": [len(texts)], "datatype": "BYTES", "data": texts}
