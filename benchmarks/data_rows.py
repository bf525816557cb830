"""Make any number of JSON lines like those of arXiv's snapshot from the rows of a sample.

Each repetition of a text has its words in another order, so that it shares no three words in a row with the others.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

CHUNK_ROWS = 20_000


def make_rows(source: Path, rows: int, file: Path) -> None:
    """Write JSON lines with the keys id, title, abstract and categories."""
    texts = pl.read_parquet(source, columns=["id", "title", "abstract", "categories"])
    with file.open("wb") as opened:
        for repetition, start in enumerate(range(0, rows, len(texts)), start=1):
            for chunk in texts.head(rows - start).iter_slices(CHUNK_ROWS):
                dealt = {name: [deal_words(text, repetition) for text in chunk[name]] for name in ("title", "abstract")}
                chunk.with_columns(
                    pl.col("categories").list.join(" "), **{k: pl.Series(v) for k, v in dealt.items()}
                ).write_ndjson(opened)


def deal_words(text: str, piles: int) -> str:
    """Deal the words to `piles` piles like cards, and return the piles one after the other."""
    words = text.split()
    return " ".join(word for pile in range(piles) for word in words[pile::piles])
