"""JSON lines like those of arXiv's snapshot, as many as are asked for, made of a sample's rows.

Each repetition of a text has its words in another order, so that it shares no three words in a row with the others.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

CHUNK_ROWS = 20_000


def make_rows(source: Path, rows: int, file: Path) -> None:
    """JSON lines with the keys id, title, abstract and categories."""
    texts = pl.read_parquet(source, columns=["id", "title", "abstract", "categories"])
    with file.open("wb") as opened:
        for repetition, start in enumerate(range(0, rows, len(texts)), start=1):
            for chunk in texts.head(rows - start).iter_slices(CHUNK_ROWS):
                dealt = {name: [deal_words(text, repetition) for text in chunk[name]] for name in ("title", "abstract")}
                chunk.with_columns(
                    pl.col("categories").list.join(" "), **{k: pl.Series(v) for k, v in dealt.items()}
                ).write_ndjson(opened)


def deal_words(text: str, piles: int) -> str:
    """The words dealt to so many piles like cards, and the piles put together."""
    words = text.split()
    return " ".join(word for pile in range(piles) for word in words[pile::piles])
