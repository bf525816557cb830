"""Linear architecture beside scikit-learn: F1, time, memory, milliseconds per text.

    python benchmarks/linear.py --data ../shared/data --dataset arxiv --rows small

The peer is TF-IDF of words and pairs of words (sublinear, at most 200,000) with one LinearSVC (C 0.5) for each label. Both
are fitted on the same nine tenths of `train.parquet`; thresholds are chosen by the same function on the rest; `test.parquet`
is scored. Each runs in a separate process. Times are from texts in a file to a classifier with thresholds (ours in its folder),
without reading the labels and starting Python.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl

from model.artifact import GRAPH, TOKENIZER
from model.classifier import Floats, OnnxModel, PredictionRule, TextTokenizer, to_probabilities
from model.manifest import Task
from trainer.config.settings import Config, DatasetConfig
from trainer.data.examples import Examples
from trainer.data.reading import read_aligned, read_examples
from trainer.evaluation.scoring import f1_score, micro_f1
from trainer.evaluation.thresholds import choose_thresholds

COLUMNS = {
    "arxiv": (("title", "abstract"), "categories"),
    "products": (("name", "description"), "category"),
}
TIMED_TEXTS = 500
Answering = Callable[[list[str]], Floats]


@dataclass(frozen=True)
class DataParts:
    """Parts of the dataset, the same for both sides."""

    train: Examples
    validation: Examples
    test: Examples


def main() -> None:
    """Run the given side in this process; without one, run both in separate processes and print the table."""
    arguments = parse()
    if arguments.only:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
        print(json.dumps(measure(arguments)))
        return
    ours, peer = (run_alone(arguments, which) for which in ("linear", "sklearn"))
    print(f"{arguments.dataset}, {arguments.rows} rows, {arguments.threads} thread(s)")
    print(f"{'':16}{'linear':>12}{'sklearn':>12}{'ratio':>10}")
    for name, value in ours.items():
        print(f"{name:16}{value:12.4g}{peer[name]:12.4g}{value / peer[name]:10.3f}")


def parse() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="the folder that holds arxiv/ and products/")
    parser.add_argument("--dataset", choices=sorted(COLUMNS), default="arxiv")
    parser.add_argument("--rows", choices=["small", "all"], default="small", help="small: the rows marked so (arxiv only)")
    parser.add_argument("--threads", type=int, default=1, help="processors that each may use to fit")
    parser.add_argument("--only", choices=["linear", "sklearn"], help="measure this one here and print JSON")
    return parser.parse_args()


def run_alone(arguments: argparse.Namespace, which: str) -> dict[str, float]:
    """Return the figures of one side, run in a fresh process."""
    threads = {name: str(arguments.threads) for name in ("RAYON_NUM_THREADS", "POLARS_MAX_THREADS", "OMP_NUM_THREADS")}
    root = str(Path(__file__).resolve().parent.parent)
    command = [sys.executable, __file__, *sys.argv[1:], "--only", which]
    done = subprocess.run(command, env=os.environ | threads | {"PYTHONPATH": root}, stdout=subprocess.PIPE, check=True)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def measure(arguments: argparse.Namespace) -> dict[str, float]:
    """Fit, score, and measure the time of single texts."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.threads])
    with TemporaryDirectory() as scratch:
        parts = read(arguments, Path(scratch))
        began, cpu = time.perf_counter(), time.process_time()
        fit = fit_linear if arguments.only == "linear" else fit_sklearn
        answering = fit(parts, Path(scratch))
        thresholds = choose_thresholds(answering(parts.validation.texts()), parts.validation.targets, parts.train.task)
        spent = {"seconds": time.perf_counter() - began, "CPU seconds": time.process_time() - cpu}
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        rule = PredictionRule(parts.train.task, parts.train.labels, thresholds)
        return {
            **scores(answering, rule, parts.test),
            **spent,
            "peak GB": memory,
            "ms per text": timed(answering, parts.test),
        }


def fit_linear(parts: DataParts, scratch: Path) -> Answering:
    """Fit the linear architecture, and return a function that classifies with its files, as the server does."""
    from trainer.architectures.linear import fit as linear

    exported = linear.fit(parts.train, parts.validation, Config(), folder=scratch / "linear")
    tokenizer = encoder_of(exported.folder, exported.max_length)
    graph = OnnxModel(exported.folder / GRAPH)

    def answer(texts: list[str]) -> Floats:
        logits = [graph.logits(tokenizer.encode(texts[at : at + 512])) for at in range(0, len(texts), 512)]
        return to_probabilities(np.concatenate(logits), parts.train.task)

    return answer


def encoder_of(folder: Path, max_length: int) -> TextTokenizer:
    """Load the tokenizer from the folder."""
    from tokenizers import Tokenizer

    return TextTokenizer(Tokenizer.from_file(str(folder / TOKENIZER)), max_length)


def fit_sklearn(parts: DataParts, _scratch: Path) -> Answering:
    """Fit the peer. Its margins become probabilities by the same function; no decision depends on their scale."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.svm import LinearSVC

    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, max_features=200_000, dtype=np.float32)
    features = vectorizer.fit_transform(parts.train.texts())
    fitted = OneVsRestClassifier(LinearSVC(C=0.5)).fit(features, parts.train.targets)

    def answer(texts: list[str]) -> Floats:
        margins = fitted.decision_function(vectorizer.transform(texts))
        return to_probabilities(margins.astype(np.float32), parts.train.task)

    return answer


def read(arguments: argparse.Namespace, scratch: Path) -> DataParts:
    """Return nine tenths of the training file, the other tenth, and the test file."""
    texts, label = COLUMNS[arguments.dataset]
    files = {}
    for part in ("train", "test"):
        rows = pl.read_parquet(arguments.data / arguments.dataset / f"{part}.parquet")
        if arguments.rows == "small" and "small" in rows.columns:
            rows = rows.filter(pl.col("small"))
        (scratch / part).mkdir()
        files[part] = scratch / part / "rows.parquet"
        rows.write_parquet(files[part])
    config = DatasetConfig(uri=files["train"].as_uri(), text_columns=texts, label_columns=(label,), label_separator="")
    whole = read_examples(config, scratch=scratch / "train", seed=0).examples
    uri = files["test"].as_uri()
    test = read_aligned(
        config, uri, labels=whole.labels, task=whole.task, label_required=whole.label_required, scratch=scratch / "test"
    ).examples
    order = np.random.default_rng(0).permutation(len(whole))
    cut = len(order) // 10
    return DataParts(whole.select(np.sort(order[cut:])), whole.select(np.sort(order[:cut])), test)


def scores(answering: Answering, rule: PredictionRule, test: Examples) -> dict[str, float]:
    """Return micro- and macro-F1 on the test part; if each text has one label, micro-F1 is accuracy."""
    given = rule.assigned(answering(test.texts()))
    truth = test.targets.toarray().astype(np.bool_)
    name = "accuracy" if rule.task is Task.SINGLE_LABEL else "micro-F1"
    macro = f1_score((given & truth).sum(0), given.sum(0), truth.sum(0))
    return {name: micro_f1(given, truth), "macro-F1": float(macro.mean())}


def timed(answering: Answering, test: Examples) -> float:
    """Return the median milliseconds of a call with one text, on one thread."""
    times = []
    for text in test.texts()[:TIMED_TEXTS]:
        began = time.perf_counter()
        answering([text])
        times.append((time.perf_counter() - began) * 1000)
    return median(times)


if __name__ == "__main__":
    main()
