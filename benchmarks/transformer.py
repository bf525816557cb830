"""MiniLM, fine-tuned for one epoch on the product set, beside the linear model: accuracy, time, fp32 and int8.

    python benchmarks/transformer.py --data ../shared/data

Both are fitted on nine tenths of `products/train.parquet`, validated on the rest, and scored on `products/test.parquet`
with the exported model. A text is a product's name and description.
"""

from __future__ import annotations

import argparse
import logging
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
from scipy.sparse import csr_matrix
from tokenizers import Tokenizer

from model.artifact import GRAPH, TOKENIZER
from model.classifier import OnnxModel, TextTokenizer
from model.manifest import Task
from trainer.architectures.linear import fit as linear
from trainer.architectures.transformer import fit as transformer
from trainer.architectures.transformer.quantization import QUANTIZED, quantize
from trainer.attempt import Attempt
from trainer.config.settings import Config
from trainer.data.examples import Examples

TIMED_TEXTS = 200


def main() -> None:
    """Fit both, score both, print a table."""
    arguments = parse()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        test = read(arguments.data / "products" / "test.parquet", folder / "test.parquet")
        train, validation = halves(read(arguments.data / "products" / "train.parquet", folder / "train.parquet"))
        config = configuration(arguments)
        fitted = linear.fit(train, validation, config, folder=folder / "linear")
        began = time.perf_counter()
        base, *_ = transformer.train_and_export(train, validation, config, folder=folder / "minilm", attempt=Attempt())
        seconds = time.perf_counter() - began
        quantize(folder / "minilm" / GRAPH, folder / "minilm" / QUANTIZED)
        print("model         accuracy  ms/text  fitted and exported")
        report("minilm fp32", folder / "minilm", GRAPH, base.max_length, test, seconds)
        report("minilm int8", folder / "minilm", QUANTIZED, base.max_length, test, seconds)
        report("linear", fitted.folder, GRAPH, fitted.max_length, test, fitted.seconds)
        print(f"minilm: {len(train) / seconds:.0f} texts/s, evaluation and export included")


def parse() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="the folder that holds products/")
    parser.add_argument("--learning-rate", type=float, default=2e-4)
    parser.add_argument("--batch-size", type=int, default=8, help="small: one epoch has few steps")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-length", type=int, default=64, help="tokens; the median text has 24")
    return parser.parse_args()


def configuration(arguments: argparse.Namespace) -> Config:
    """Return the trainer's defaults, with one epoch, one evaluation, short texts and settings for few steps."""
    settings = {
        "base_model": "minilm",
        "num_epochs": 1,
        "evaluations_per_epoch": 1,
        "max_length": arguments.max_length,
        "learning_rate": arguments.learning_rate,
        "batch_size": arguments.batch_size,
        "seed": arguments.seed,
    }
    return Config.model_validate({"training": settings})


def read(source: Path, file: Path) -> Examples:
    """Return the products of a file as examples, whose texts are written to `file`."""
    rows = pl.read_parquet(source)
    rows.select(text=pl.concat_str("name", pl.col("description"), separator="\n")).write_parquet(file)
    labels = sorted(rows["category"].unique())
    columns = rows["category"].replace_strict({label: at for at, label in enumerate(labels)}).to_numpy()
    targets = csr_matrix((np.ones(len(rows), np.uint8), (np.arange(len(rows)), columns)), (len(rows), len(labels)))
    return Examples(file, np.arange(len(rows)), tuple(labels), targets, Task.SINGLE_LABEL)


def halves(examples: Examples) -> tuple[Examples, Examples]:
    """Return nine tenths and one tenth of the examples, at random."""
    order = np.random.default_rng(0).permutation(len(examples))
    cut = len(order) * 9 // 10
    return examples.select(np.sort(order[:cut])), examples.select(np.sort(order[cut:]))


def report(what: str, folder: Path, graph: str, max_length: int, test: Examples, seconds: float) -> None:
    """Return a line of the table."""
    tokenizer = TextTokenizer(Tokenizer.from_file(str(folder / TOKENIZER)), max_length)
    session, texts = OnnxModel(folder / graph), test.texts()
    predicted = session.logits(tokenizer.encode(texts)).argmax(axis=1)
    accuracy = float((predicted == test.targets.toarray().argmax(axis=1)).mean())
    times = []
    for text in texts[:TIMED_TEXTS]:
        began = time.perf_counter()
        session.logits(tokenizer.encode([text]))
        times.append((time.perf_counter() - began) * 1000)
    print(f"{what:12}  {accuracy:8.4f}  {median(times):7.2f}  {seconds:7.0f} s")


if __name__ == "__main__":
    main()
