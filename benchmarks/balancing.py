"""F1 and duration of each balancing strategy on arXiv, with the same training budget.

    python benchmarks/balancing.py [--rows all] [--seeds 0 1] [--only none undersample]
    python benchmarks/balancing.py --files [--peer]

The linear architecture is fitted on the balanced training part; validation and test parts are unchanged. The budget is the same
number of passes and features, so fewer texts take less time. With `--files`, the command `undersample` runs on 1,000,000 rows of
JSON lines; with `--peer`, also the usual rule (a text stays if any of its labels is drawn), with Hugging Face datasets and a
Python function per row.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

import numpy as np
from data_cost import Side, measure
from data_rows import make_rows
from linear import Answering, DataParts, encoder_of, read, scores

from model.artifact import GRAPH
from model.classifier import Floats, OnnxModel, PredictionRule, to_probabilities
from trainer.balance.imbalance import measure as imbalance
from trainer.balance.strategies import balance
from trainer.config.settings import BalanceConfig, Config
from trainer.evaluation.thresholds import choose_thresholds

SOURCE = Path(__file__).parents[2] / "shared/data/arxiv/train.parquet"
ROWS = 1_000_000
WAYS: dict[str, dict[str, str]] = {
    "none": {},
    "undersample": {"sampling": "undersample"},
    "undersample-any": {"sampling": "undersample-any"},
    "mltl": {"sampling": "mltl"},
    "oversample": {"sampling": "oversample"},
    "weighted": {"loss": "weighted"},
}


def main() -> None:
    """Print the chosen table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=SOURCE.parents[1], help="the folder that holds arxiv/")
    parser.add_argument("--rows", choices=["small", "all"], default="small", help="small: the rows marked so")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", choices=sorted(WAYS), nargs="+", default=list(WAYS))
    parser.add_argument("--files", action="store_true", help="time the command on 1,000,000 rows instead")
    parser.add_argument("--peer", action="store_true", help="and the peer")
    chosen = parser.parse_args()
    if chosen.files:
        time_files(peer=chosen.peer)
    else:
        compare(chosen)


@dataclass(frozen=True)
class BalancingResult:
    """Result of one strategy."""

    balancing_seconds: float
    texts: int
    mean_ratio: float
    largest: int
    f1: dict[str, float]
    cpu_seconds: float


def compare(chosen: argparse.Namespace) -> None:
    """Print the results of the strategies."""
    with tempfile.TemporaryDirectory() as folder:
        parts = read(argparse.Namespace(data=chosen.data, dataset="arxiv", rows=chosen.rows), Path(folder))
        before = imbalance(parts.train.targets)
        print(
            f"arxiv, {chosen.rows} rows: {before.texts:,} texts, largest label {before.largest:,}, MeanIR {before.mean_ratio:.2f}"
        )
        print("way | seed | texts | largest label | MeanIR | micro-F1 | macro-F1 | balancing s | fitting CPU s")
        for name in chosen.only:
            for seed in chosen.seeds:
                result = outcome(parts, BalanceConfig.model_validate(WAYS[name]), seed, Path(folder))
                figures = (
                    f"{result.texts:,}", f"{result.largest:,}", f"{result.mean_ratio:.2f}", f"{result.f1['micro-F1']:.4f}",
                    f"{result.f1['macro-F1']:.4f}", f"{result.balancing_seconds:.2f}", f"{result.cpu_seconds:.1f}",
                )  # fmt: skip
                print(" | ".join((name, str(seed), *figures)), flush=True)


def outcome(parts: DataParts, config: BalanceConfig, seed: int, folder: Path) -> BalancingResult:
    """Balance, fit, choose thresholds on validation, score the test part."""
    start = time.perf_counter()
    balanced = balance(parts.train, config, seed=seed)
    seconds = time.perf_counter() - start
    after = imbalance(balanced.examples.targets)
    start_cpu = time.process_time()
    ours = Config.model_validate({"balance": config.model_dump(), "training": {"seed": seed}})
    answering = fit(DataParts(balanced.examples, parts.validation, parts.test), ours, folder)
    cpu = time.process_time() - start_cpu
    return BalancingResult(seconds, after.texts, after.mean_ratio, after.largest, score(answering, parts), cpu)


def fit(parts: DataParts, config: Config, folder: Path) -> Answering:
    """Fit the linear architecture, and return a function that classifies with its files, as the server does."""
    from trainer.architectures.linear import fit as linear

    exported = linear.fit(parts.train, parts.validation, config, folder=folder / "linear")
    tokenizer, graph = encoder_of(exported.folder, exported.max_length), OnnxModel(exported.folder / GRAPH)

    def answer(texts: list[str]) -> Floats:
        logits = [graph.logits(tokenizer.encode(texts[at : at + 512])) for at in range(0, len(texts), 512)]
        return to_probabilities(np.concatenate(logits), parts.train.task)

    return answer


def score(answering: Answering, parts: DataParts) -> dict[str, float]:
    """Return micro- and macro-F1 on the test part."""
    thresholds = choose_thresholds(answering(parts.validation.texts()), parts.validation.targets, parts.train.task)
    return scores(answering, PredictionRule(parts.train.task, parts.train.labels, thresholds), parts.test)


def time_files(*, peer: bool) -> None:
    """Time both rules of `labelwright undersample` on a file, each in a separate process, without imports."""
    sides: dict[str, Side] = {
        "labelwright, joint": partial(undersample, sampling="undersample"),
        "labelwright, any": partial(undersample, sampling="undersample-any"),
    }
    if peer:
        sides["datasets, any"] = undersample_with_datasets
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.jsonl"
        make_rows(SOURCE, ROWS, file)
        print(f"{ROWS:,} rows, {file.stat().st_size / 1e9:.2f} GB of JSON lines to JSON lines, load {os.getloadavg()[0]:.1f}")
        for name, side in sides.items():
            laps = measure(side, file)
            steps = ", ".join(f"{step} {seconds:.1f} s" for step, seconds in laps.seconds.items())
            whole = sum(laps.seconds.values()) - laps.seconds["import"]
            print(f"{name}: {whole:.1f} s, {laps.cpu:.1f} s CPU, {laps.peak:,.0f} MB: {steps}", flush=True)


def undersample(file: Path, folder: Path, *, sampling: str) -> Iterator[str]:
    """Undersample with Labelwright; yield the name of each step when it is done."""
    from trainer.balance.files import balance_file

    yield "import"
    config = Config.model_validate({"dataset": {"uri": str(file)}, "balance": {"sampling": sampling}})
    done = balance_file(config, str(folder / "out.jsonl"), with_texts=False, scratch=folder)
    yield f"read, choose and write {done.after.texts:,} rows"


def undersample_with_datasets(file: Path, folder: Path) -> Iterator[str]:
    """Load, count in a loop, filter with a function per row, write; with a seed, unlike the original."""
    import datasets

    yield "import"
    datasets.disable_progress_bars()
    loaded = datasets.load_dataset("json", data_files=str(file), split="train", cache_dir=str(folder / "cache"))
    yield "load"
    counts = Counter(label for labels in loaded["categories"] for label in labels.split())
    threshold = int(np.median(list(counts.values())))
    random = Random(0)
    chances = {label: threshold / count for label, count in counts.items()}
    kept = loaded.filter(lambda row: any(random.random() < chances[label] for label in row["categories"].split()))
    yield "count and filter"
    kept.to_json(str(folder / "out.jsonl"))
    yield f"write {len(kept):,} rows"


if __name__ == "__main__":
    main()
