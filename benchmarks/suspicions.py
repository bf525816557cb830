"""Frequency at which the gate suspects honestly changed datasets and damaged ones, on real texts.

    python benchmarks/suspicions.py [--pairs 8] [--only products arxiv docstrings]

A pair is a sample of a dataset, on which the served version of `linear` is trained, and a changed copy of the sample.
Each dataset after a change is read and divided by the trainer's own code; the served version is scored on its test part.
Only what compares datasets is counted: no second version is trained.
"""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl

from model.gate import GateRecord, GateRule, suspicions
from model.scores import ScoreName
from trainer.attempt import Attempt
from trainer.config.settings import Config
from trainer.evaluation.gate_measurement import ServedScores
from trainer.evaluation.served import score_served
from trainer.pipeline import run
from trainer.preparation import prepare

DATA = Path(__file__).parents[2] / "shared/data"
POOL = {"products": 9_883, "arxiv": 20_000, "docstrings": 20_000}  # rows that samples are drawn from, at most
SIZE = {"products": 2_000, "arxiv": 4_000, "docstrings": 2_000}  # of a sample
RARE, FREQUENT = 0.01, 0.15  # of the rows: a label between these is withheld, to be the new one
LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Sample:
    """Rows with the columns text and label, and other rows of the dataset. withheld: rows of a label that neither has."""

    rows: pl.DataFrame
    others: pl.DataFrame
    withheld: pl.DataFrame
    random: np.random.Generator


Change = Callable[[Sample], pl.DataFrame]


def drawn(rows: pl.DataFrame, share: float, random: np.random.Generator) -> pl.Series:
    """Return True for that share of the rows, at random."""
    return pl.Series(random.permutation(len(rows)) < share * len(rows))


def with_labels(rows: pl.DataFrame, labels: pl.Series, where: pl.Series) -> pl.DataFrame:
    """Replace the labels of the chosen rows by these."""
    return rows.with_columns(label=pl.when(where).then(labels.rename("")).otherwise(pl.col("label")))


def permuted(rows: pl.DataFrame, share: float, random: np.random.Generator) -> pl.DataFrame:
    """Give that share of the rows the labels of other rows."""
    return with_labels(rows, rows["label"].gather(random.permutation(len(rows))), drawn(rows, share, random))


def renamed(rows: pl.DataFrame, names: dict[str, str]) -> pl.DataFrame:
    """Give labels other names."""
    each = pl.element() if rows.schema["label"] == pl.List else pl.col("label")
    new = each.replace(names)
    return rows.with_columns(label=pl.col("label").list.eval(new) if rows.schema["label"] == pl.List else new)


def swapped(sample: Sample) -> pl.DataFrame:
    """Exchange the names of the most frequent label and of one of the next nine."""
    first, *others = [name for name, _ in counted(sample.rows).most_common(10)]
    other = str(sample.random.choice(others))
    return renamed(sample.rows, {first: other, other: first})


def half_of_the_entries(sample: Sample) -> pl.DataFrame:
    """Remove half of the label entries at random: of single labels, half of the cells."""
    rows = sample.rows
    if rows.schema["label"] != pl.List:
        return with_labels(rows, pl.Series([None] * len(rows), dtype=pl.String), drawn(rows, 0.5, sample.random))
    kept = [[label for label in labels if sample.random.random() < 0.5] for labels in rows["label"]]
    return rows.with_columns(label=pl.Series(kept, dtype=pl.List(pl.String)))


def half_of_the_cells(sample: Sample) -> pl.DataFrame:
    """Empty half of the label cells."""
    empty = pl.Series([None] * len(sample.rows), dtype=sample.rows.schema["label"])
    return with_labels(sample.rows, empty, drawn(sample.rows, 0.5, sample.random))


def in_other_letters(sample: Sample) -> pl.DataFrame:
    """Replace each letter by one of another alphabet, so that no word is known."""
    cyrillic = [chr(0x430 + at) for at in range(len(LETTERS))]
    return sample.rows.with_columns(pl.col("text").str.to_lowercase().str.replace_many(list(LETTERS), cyrillic))


HONEST: dict[str, Change] = {
    "half as many rows more": lambda it: pl.concat([it.rows, it.others.head(len(it.rows) // 2)]),
    "twice the rows": lambda it: pl.concat([it.rows, it.others.head(len(it.rows))]),
    "another sample": lambda it: it.others.head(len(it.rows)),
    "drawn with replacement": lambda it: it.rows[it.random.integers(0, len(it.rows), len(it.rows))],
    "a new label": lambda it: pl.concat([it.rows, it.withheld]),
    "2 % relabelled at random": lambda it: permuted(it.rows, 0.02, it.random),
    "10 % relabelled at random": lambda it: permuted(it.rows, 0.1, it.random),
}
DAMAGE: dict[str, Change] = {
    "labels shuffled": lambda it: permuted(it.rows, 1.0, it.random),
    "half of the labels shuffled": lambda it: permuted(it.rows, 0.5, it.random),
    "two names swapped": swapped,
    "half of the cells empty": half_of_the_cells,
    "half of the entries removed": half_of_the_entries,
    "texts cut to ten characters": lambda it: it.rows.with_columns(pl.col("text").str.head(10)),
    "another alphabet": in_other_letters,
}


def main() -> None:
    """Print how many of the pairs of each change are suspicious, by dataset."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="the folder that holds arxiv/ and products/")
    parser.add_argument("--pairs", type=int, default=8, help="of each dataset and change")
    parser.add_argument("--only", nargs="+", choices=sorted(POOL), default=sorted(POOL))
    chosen = parser.parse_args()
    logging.disable(logging.WARNING)
    began, suspected_counts, shown = time.perf_counter(), Counter[tuple[str, str]](), dict[str, str]()
    for name in chosen.only:
        rows = read(name, chosen.data)
        for seed in range(chosen.pairs):
            reasons = {change: why for change, why in findings(name, rows, seed).items() if why}
            suspected_counts.update((change, name) for change in reasons)
            for change, why in reasons.items():
                shown.setdefault(change, f"{name}: {why[0]}")
            print(f"{name} {seed}: {', '.join(reasons)}", flush=True)
    print(f"{chosen.pairs} pairs of each, {time.perf_counter() - began:.0f} s, load {os.getloadavg()[0]:.1f}")
    print(" | ".join(("change", *chosen.only)))
    for change in (*HONEST, *DAMAGE):
        print(" | ".join((change, *(str(suspected_counts[change, name]) for name in chosen.only))))
    for change, reason in shown.items():
        print(f"{change}: {reason}")


def read(name: str, data: Path) -> pl.DataFrame:
    """Return the columns text and label, the latter a list where texts have several."""
    if name == "docstrings":
        from labelwright.demo_dataset import write_dataset

        with tempfile.TemporaryDirectory() as folder:
            write_dataset(Path(folder) / "docstrings.parquet")
            rows = pl.read_parquet(Path(folder) / "docstrings.parquet").rename({"labels": "label"})
    else:
        rows = pl.read_parquet(data / name / "train.parquet")
        texts, label = {"arxiv": (["title", "abstract"], "categories"), "products": (["name", "description"], "category")}[name]
        rows = rows.select(text=pl.concat_str(texts, separator="\n"), label=pl.col(label))
    return rows.sample(min(POOL[name], len(rows)), seed=0)


def findings(name: str, rows: pl.DataFrame, seed: int) -> dict[str, tuple[str, ...]]:
    """Return the gate's suspicions about one sample after each change."""
    random = np.random.default_rng(seed)
    rows = rows.sample(fraction=1, shuffle=True, seed=seed)
    counts = counted(rows)
    new = str(random.choice([label for label, count in counts.items() if RARE < count / len(rows) < FREQUENT]))
    has_it = pl.col("label").list.contains(new) if rows.schema["label"] == pl.List else pl.col("label") == new
    known, size = rows.filter(~has_it), SIZE[name]
    withheld = rows.filter(has_it).head(size // 10)
    with tempfile.TemporaryDirectory() as folder:
        served = train(known.head(size), Path(folder), seed=seed)
        reasons = {}
        for at, (change, made) in enumerate((HONEST | DAMAGE).items()):
            sample = Sample(known.head(size), known.tail(-size), withheld, np.random.default_rng([seed, at]))
            reasons[change] = suspected(made(sample), served, Path(folder), seed=seed)
        return reasons


def counted(rows: pl.DataFrame) -> Counter[str]:
    """Return how many rows each label has."""
    return Counter((rows["label"].explode() if rows.schema["label"] == pl.List else rows["label"]).to_list())


def config_of(rows: pl.DataFrame, folder: Path, version: str, **more: object) -> Config:
    """Return the configuration of a training on these rows, which are written beside the versions."""
    file = folder / f"{version}.parquet"
    rows.write_parquet(file)
    dataset = {"uri": file.as_uri(), "text_columns": ["text"], "label_columns": ["label"]}
    return Config.model_validate({"version": version, "output_dir": (folder / "models").as_uri(), "dataset": dataset, **more})


def train(rows: pl.DataFrame, folder: Path, *, seed: int) -> str:
    """Publish a version of these rows and return its address."""
    config = config_of(rows, folder, "served", training={"architecture": "linear", "seed": seed})
    with tempfile.TemporaryDirectory() as scratch:
        return run(config, Attempt(), scratch=Path(scratch), now=datetime(2026, 1, 1, tzinfo=UTC)).uri


def suspected(rows: pl.DataFrame, served: str, folder: Path, *, seed: int) -> tuple[str, ...]:
    """Return the reasons why these rows are suspicious, compared with the served version."""
    config = config_of(rows, folder, "after", gate={"served_uri": served}, training={"seed": seed})
    with tempfile.TemporaryDirectory() as scratch:
        data = prepare(config, Attempt(), Path(scratch))
        scored = score_served(served, data.test, data.row_counts)
    assert isinstance(scored, ServedScores), scored
    nothing = {ScoreName.MICRO_F1: 1.0}  # no second version is judged
    record = GateRecord(
        scores=nothing, baseline_scores=nothing, served_version="served", data=scored.data, rule=GateRule(), served_scores=nothing
    )
    return suspicions(record, config.gate)


if __name__ == "__main__":
    main()
