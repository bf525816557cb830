"""Texts per second of fine-tuning MiniLM, beside a bare torch loop over the same batches, step by step in turns.

    python benchmarks/training.py [--data ../shared/data] [--steps 40] [--batch-size 32] [--threads 2]

arXiv abstracts, cut at 128 tokens, 149 labels. After each step of ours, the bare loop makes the same step with its own
network: forward, loss, backward, AdamW, with the same autocast and threads; its batches are tensors already. Our step is measured
from the end of the previous one: batch, clipping, learning rate, callbacks. Neither evaluates or saves. Both are measured within
the same second, so other load on the machine affects both.
"""

from __future__ import annotations

import argparse
import copy
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl
import torch
from scipy.sparse import csr_matrix
from transformers import PrinterCallback, TrainerCallback

from model.manifest import Task
from trainer.architectures import devices
from trainer.architectures.transformer import fine_tuning
from trainer.architectures.transformer import fit as transformer
from trainer.architectures.transformer.cache import TokenCache
from trainer.architectures.transformer.callbacks import EvenlySpaced, ReportProgress, StoreCheckpoints
from trainer.architectures.transformer.dataset import TokenizedDataset
from trainer.architectures.transformer.losses import Loss, loss_function
from trainer.architectures.transformer.network import PooledClassifier
from trainer.architectures.transformer.sampler import LengthGroupedSampler
from trainer.attempt import Attempt
from trainer.config.settings import Config
from trainer.data.examples import Examples

WARM_UP = 5  # steps


def main() -> None:
    """Make both networks, train them in turns, print the medians."""
    arguments = parse()
    config = Config.model_validate(
        {"training": {"base_model": "minilm", "num_epochs": 1, "batch_size": arguments.batch_size, "max_length": 128}}
    )
    transformer.prepare_libraries(config.training.seed)
    threads = devices.use_all_cpus()
    if arguments.threads:
        threads = arguments.threads
        torch.set_num_threads(threads)
    with TemporaryDirectory() as scratch:
        examples = read(arguments.data / "arxiv/train.parquet", Path(scratch) / "texts.parquet", texts_of(arguments))
        base = transformer.base_of(config, scratch=Path(scratch))
        tokens = TokenCache(Path(scratch) / "tokens").encode(examples, base.tokenizer, max_length=base.max_length)
        network = transformer.new_network(base, examples, dropout=None)
        turns = take_turns(network, tokens, config, Path(scratch))
    report(turns, arguments.batch_size, threads)


def parse() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="the folder that holds arxiv/")
    parser.add_argument("--steps", type=int, default=40, help="that are measured, after a warm-up")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0: as the trainer sets them")
    return parser.parse_args()


def texts_of(arguments: argparse.Namespace) -> int:
    """Return the number of texts that the steps take."""
    texts: int = (arguments.steps + WARM_UP) * arguments.batch_size
    return texts


def read(source: Path, file: Path, count: int) -> Examples:
    """Return the first abstracts with their categories, as examples."""
    rows = pl.read_parquet(source, columns=["abstract", "categories"])
    labels = rows["categories"].explode().unique().sort()
    rows = rows.head(count)
    rows.select(text="abstract").write_parquet(file)
    marks = rows.with_row_index("row").explode("categories")
    columns = marks["categories"].cast(pl.Enum(labels)).to_physical().to_numpy()
    targets = csr_matrix((np.ones(len(marks), np.uint8), (marks["row"].to_numpy(), columns)), (count, len(labels)))
    return Examples(file, np.arange(count), tuple(labels), targets, Task.MULTI_LABEL)


class Bare:
    """Training loop with only what a step needs."""

    def __init__(self, network: PooledClassifier, tokens: TokenizedDataset, config: Config, loss: Loss) -> None:
        order = list(LengthGroupedSampler(tokens.lengths, batch_size=config.training.batch_size, seed=config.training.seed))
        size = config.training.batch_size
        self._batches = [tokens.batch(order[at : at + size]) for at in range(0, len(order), size)]
        self._network = network.train()
        self._optimizer = torch.optim.AdamW(fine_tuning.parameter_groups(network, config.training), fused=True)
        self._loss = loss

    def step(self, number: int) -> None:
        """Make the step on the batch of this number."""
        batch = self._batches[number]
        with torch.autocast("cpu", torch.bfloat16, enabled=devices.has_bfloat16()):
            outputs = self._network(batch["input_ids"], batch["attention_mask"])
            loss = self._loss(outputs, batch["labels"])
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        self._optimizer.zero_grad()


@dataclass
class Turns(TrainerCallback):
    """Seconds of each step of both. At the end of each of our steps, the bare loop makes its own."""

    bare: Bare
    ours_seconds: list[float] = field(default_factory=list)
    bare_seconds: list[float] = field(default_factory=list)
    began: float = 0.0

    def on_epoch_begin(self, *_: Any, **__: Any) -> None:
        """Start the clock of our step."""
        self.began = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Stop the clock of our step, make the bare loop's step, and start the clock again."""
        ended = time.perf_counter()
        self.ours_seconds.append(ended - self.began)
        self.bare.step(len(self.bare_seconds))
        self.began = time.perf_counter()
        self.bare_seconds.append(self.began - ended)


def take_turns(network: PooledClassifier, tokens: TokenizedDataset, config: Config, folder: Path) -> Turns:
    """Run our fine-tuning as in `fine_tune`, but without evaluation, with the bare loop between its steps."""
    settings, attempt = config.training, Attempt()
    loss = loss_function(tokens.targets, tokens.task, config.balance)
    turns = Turns(Bare(copy.deepcopy(network), tokens, config, loss))
    steps = fine_tuning.total_steps(len(tokens), settings)
    trainer = fine_tuning.FineTuning(
        network,
        tokens,
        settings,
        EvenlySpaced(steps, 1),
        args=fine_tuning.arguments(settings, steps, folder, resumable=False),
        eval_dataset=tokens,
        compute_loss_func=loss,
        callbacks=[ReportProgress(attempt, settings.batch_size), StoreCheckpoints(attempt, folder, minutes=600), turns],
    )
    trainer.remove_callback(PrinterCallback)  # type: ignore[no-untyped-call]
    trainer.train()
    return turns


def report(turns: Turns, batch_size: int, threads: int) -> None:
    """Print the texts per second of both, and the median of the steps' ratios."""
    ours, bare = turns.ours_seconds[WARM_UP:], turns.bare_seconds[WARM_UP:]
    precision = "bf16" if devices.has_bfloat16() else "fp32"
    print(f"{len(ours)} steps of {batch_size} texts, {precision}, {threads} threads, load {os.getloadavg()[0]:.1f}")
    for name, seconds in (("labelwright", ours), ("bare torch", bare)):
        print(f"{name:12} {batch_size / median(seconds):8.1f} texts/s")
    ratios = [theirs / our for theirs, our in zip(bare, ours, strict=True)]
    print(f"of the bare loop's speed: {median(ratios):.3f}, all steps together {sum(bare) / sum(ours):.3f} (goal: 0.9)")


if __name__ == "__main__":
    main()
