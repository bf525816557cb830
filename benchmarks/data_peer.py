"""Peer of the data benchmark: Hugging Face datasets, row by row as in its first examples, and with its fastest options.

The undersampling rule is the usual one of such scripts: a text stays if any of its labels draws to keep it.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from statistics import median
from typing import Any

Columns = dict[str, list[Any]]


@dataclass(frozen=True)
class Options:
    """Rows per call of a function (0: one row, not in a list), and number of processes."""

    batch: int
    processes: int | None


PLAIN = Options(batch=0, processes=None)
TUNED = Options(batch=1_000, processes=os.cpu_count())


def prepare(file: Path, folder: Path, *, options: Options) -> Iterator[str]:
    """Load, clean, filter, split, undersample, write; yield the name of each step when it is done."""
    import datasets

    datasets.disable_progress_bars()
    yield "import"
    rows = datasets.load_dataset("json", data_files=str(file), split="train", cache_dir=str(folder))
    yield "load"
    batched = {"batched": True, "batch_size": options.batch} if options.batch else {}
    how = {**batched, "num_proc": options.processes}
    rows = rows.map(clean_batch if options.batch else clean, remove_columns=rows.column_names, **how)
    yield "clean (map)"
    rows = rows.filter(complete_batch if options.batch else complete, **how)
    yield "leave out (filter)"
    train = rows.train_test_split(0.2, seed=0)
    train["test"].train_test_split(0.5, seed=0)
    yield "split"
    keeps = rule_of(train["train"]["labels"][:])
    yield "count labels"
    kept = train["train"].filter(in_batches(keeps) if options.batch else keeps, **how)
    yield "undersample (filter)"
    kept.to_parquet(str(folder / "train.parquet"))
    yield "write the training part"


def clean(row: dict[str, Any]) -> dict[str, Any]:
    """Join title and abstract, and split the labels."""
    return {"text": f"{row['title'].strip()}\n{row['abstract'].strip()}".strip(), "labels": row["categories"].split()}


def clean_batch(rows: Columns) -> Columns:
    """Apply `clean` to a batch of rows."""
    both = zip(rows["title"], rows["abstract"], strict=True)
    texts = [f"{title.strip()}\n{abstract.strip()}".strip() for title, abstract in both]
    return {"text": texts, "labels": [each.split() for each in rows["categories"]]}


def complete(row: dict[str, Any]) -> bool:
    """Return whether a row has a text and a label."""
    return bool(row["text"]) and bool(row["labels"])


def complete_batch(rows: Columns) -> list[bool]:
    """Apply `complete` to a batch of rows."""
    return [bool(text) and bool(labels) for text, labels in zip(rows["text"], rows["labels"], strict=True)]


def rule_of(labels: list[list[str]]) -> Callable[[dict[str, Any]], bool]:
    """Return a filter of rows: one stays if any of its labels is drawn, with a probability by its excess over the median."""
    counts = Counter(chain.from_iterable(labels))
    threshold = median(counts.values())
    excess = {label: max(0.0, (count - threshold) / count) for label, count in counts.items()}
    draws = random.Random(0)
    return lambda row: any(draws.random() >= excess[label] for label in row["labels"])


def in_batches(keeps: Callable[[dict[str, Any]], bool]) -> Callable[[Columns], list[bool]]:
    """Return a filter of batches of rows."""
    return lambda rows: [keeps({"labels": labels}) for labels in rows["labels"]]
