"""Rows a second, CPU and memory of reading, cleaning, grouping and splitting, beside Hugging Face datasets.

    python benchmarks/reading.py [--rows 1000000] [--source ../shared/data/arxiv/train.parquet]

The rows are JSON lines like those of arXiv's snapshot, made of the source's rows. Each repetition of a text has its words
in another order, so that it shares no three words in a row with the others. Both sides run in processes of their own, one
after the other; the peer loads, filters rows without text or label and writes Parquet, which is less than our side does.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

SOURCE = Path(__file__).parents[2] / "shared/data/arxiv/train.parquet"
CHUNK_ROWS = 20_000


def main() -> None:
    """Make the rows, run both sides, print a line of figures for each."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rows", type=int, default=1_000_000)
    arguments.add_argument("--source", type=Path, default=SOURCE)
    arguments.add_argument("--repeat", type=int, default=3, help="runs of our side; the fastest counts")
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.jsonl"
        make_rows(chosen.source, chosen.rows, file)
        print(f"{chosen.rows:,} rows, {file.stat().st_size / 1e9:.2f} GB of JSON lines, {os.cpu_count()} processors")
        ours = [measure(read_and_split, file) for _ in range(chosen.repeat)]
        show("labelwright: read, clean", min((each["read"] for each in ours), key=lambda each: each["wall"]), chosen.rows)
        show("labelwright: and group, split", min((each["all"] for each in ours), key=lambda each: each["wall"]), chosen.rows)
        theirs = measure(load_filter_write, file)
        for step, figures in theirs.items():
            show(f"datasets: {step}", figures, chosen.rows)


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


def read_and_split(file: Path, folder: Path) -> dict[str, Any]:
    """Our side: from the file to three parts, near-duplicates together."""
    from trainer.config import DatasetConfig, SplitConfig
    from trainer.near_duplicates import groups
    from trainer.sources import read_examples
    from trainer.splitting import split

    config = SplitConfig()
    compile_ahead(folder)
    start = clock()
    loaded = read_examples(DatasetConfig(uri=str(file), label_separator=" "), scratch=folder, seed=0)
    figures = {"read": since(start)}
    split(loaded.examples, groups(loaded.examples, config.near_duplicates), config, seed=0, with_test=True)
    return {**figures, "all": since(start)}


def compile_ahead(folder: Path) -> None:
    """Compiled code is kept on disk between runs; the first run ever is not what is measured."""
    from scipy.sparse import csr_matrix

    from model.manifest import Task
    from trainer.config import SplitConfig
    from trainer.examples import Examples
    from trainer.near_duplicates import groups
    from trainer.splitting import split

    pl.DataFrame({"text": ["one two three", "four five six"] * 5}).write_parquet(folder / "small.parquet")
    targets = csr_matrix(np.ones((10, 1), np.uint8))
    small = Examples(folder / "small.parquet", np.arange(10), ("a",), targets, Task.SINGLE_LABEL)
    split(small, groups(small, 0.7), SplitConfig(), seed=0, with_test=True)


def load_filter_write(file: Path, folder: Path) -> dict[str, Any]:
    """The peer: the same rows through Hugging Face datasets."""
    import datasets

    datasets.disable_progress_bars()
    start = clock()
    loaded = datasets.load_dataset("json", data_files=str(file), split="train", cache_dir=str(folder))
    figures = {"load": since(start)}
    kept = loaded.filter(lambda row: bool(row["abstract"].strip()) and bool(row["categories"].strip()))
    figures["and filter"] = since(start)
    kept.to_parquet(str(folder / "rows.parquet"))
    return {**figures, "and write": since(start)}


def clock() -> tuple[float, float]:
    """Seconds of the wall's clock and of all this process's threads."""
    return time.perf_counter(), time.process_time()


def since(start: tuple[float, float]) -> dict[str, float]:
    """What has passed since `start`, and the most memory the process has held so far, in MB."""
    wall, cpu = clock()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"wall": wall - start[0], "cpu": cpu - start[1], "peak": peak}


def measure(side: Callable[[Path, Path], dict[str, Any]], file: Path) -> dict[str, Any]:
    """What `side` returns from a process of its own, started afresh, with a folder of its own."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    with tempfile.TemporaryDirectory() as folder:
        process = context.Process(target=_run, args=(side, file, Path(folder), sender))
        process.start()
        sender.close()
        figures: dict[str, Any] = json.loads(receiver.recv())
        process.join()
    return figures


def _run(side: Callable[[Path, Path], dict[str, Any]], file: Path, folder: Path, sender: Any) -> None:
    sender.send(json.dumps(side(file, folder)))


def show(name: str, figures: dict[str, float], rows: int) -> None:
    """One line of a table."""
    speed = rows / figures["wall"]
    print(f"{name:32} {speed:10,.0f} rows/s {figures['wall']:7.1f} s wall {figures['cpu']:7.1f} s CPU {figures['peak']:7,.0f} MB")


if __name__ == "__main__":
    main()
