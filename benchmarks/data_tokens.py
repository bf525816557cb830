"""Tokenising for training through the cache, beside a bare loop over lists of texts in memory."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import polars as pl
from scipy.sparse import csr_matrix
from tokenizers import Tokenizer

from model.manifest import Task
from trainer.architectures.transformer import base_model
from trainer.architectures.transformer.cache import TokenCache
from trainer.data.examples import WINDOW_ROWS, Examples

MAX_LENGTH = 128
BARE_BATCH = 2_000


def compare(source: Path, texts: int, *, rounds: int) -> None:
    """Print the texts per second of both, in turns, and of a second run with a full cache."""
    with tempfile.TemporaryDirectory() as folder:
        examples = write_texts(source, texts, Path(folder) / "texts.parquet")
        tokenizer = Tokenizer.from_file(f"{base_model.locate(base_model.PACKAGED, scratch=Path(folder))}/tokenizer.json")
        tokenizer.no_padding()
        tokenizer.enable_truncation(MAX_LENGTH)
        in_memory = examples.texts()
        times: dict[str, list[float]] = {"bare loop": [], "first run": [], "second run": []}
        for turn in range(rounds):
            cache = TokenCache(Path(folder) / str(turn))
            times["bare loop"].append(seconds(lambda: bare(in_memory, tokenizer)))
            for name in ("first run", "second run"):
                times[name].append(seconds(lambda: cache.encode(examples, tokenizer, max_length=MAX_LENGTH)))  # noqa: B023
    for name, each in times.items():
        print(f"{name:12} {median(each):8.3f} s {len(examples) / median(each):12,.0f} texts/s")
    ratios = [bare / ours for bare, ours in zip(times["bare loop"], times["first run"], strict=True)]
    print(f"first run: {median(ratios):.2f} of the bare loop's speed (goal: 0.9); load {os.getloadavg()[0]:.1f}")


def write_texts(source: Path, texts: int, file: Path) -> Examples:
    """Write the first texts of the sample to `file`, and return them as examples."""
    rows = pl.read_parquet(source, columns=["title", "abstract"], n_rows=texts)
    whole = rows.select(text=pl.concat_str("title", "abstract", separator="\n"))
    whole.write_parquet(file, compression="uncompressed", row_group_size=WINDOW_ROWS, statistics=False)
    targets = csr_matrix(np.ones((len(rows), 1), np.uint8))
    return Examples(file, np.arange(len(rows)), ("any",), targets, Task.MULTI_LABEL)


def bare(texts: list[str], tokenizer: Tokenizer) -> None:
    """Encode the texts with the library alone, without reading or keeping the encodings."""
    for start in range(0, len(texts), BARE_BATCH):
        tokenizer.encode_batch_fast(texts[start : start + BARE_BATCH])


def seconds(work: Callable[[], object]) -> float:
    """Return the wall seconds of a call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
