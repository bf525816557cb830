"""The command `labelwright train`: from labelled texts to a published version, in one process or several."""

from __future__ import annotations

import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import click

from model.manifest import ArchitectureChoice
from trainer.commands.evaluate import print_scores
from trainer.commands.exit_codes import CodedCommand, failures
from trainer.commands.options import CONFIG_FILE, LABEL_COLUMN, OVERRIDES, TEXT_COLUMNS, configure, option
from trainer.commands.result_file import ResultFile
from trainer.config.loading import add_to_environment, environment
from trainer.config.settings import PREFIX, Config
from trainer.run import logs
from trainer.run.processes import Processes, read_processes, run_all


@click.command(cls=CodedCommand, short_help="Train a classifier and publish it as a version.")
@option(
    "--dataset",
    setting="dataset.uri",
    help="Labelled texts at file://, s3://, hf:// or kaggle://: a file, folder or glob.  [default: the arXiv snapshot, 4 GB]",
)
@option("--test-dataset", setting="dataset.test_uri", help="A test set.  [default: a random part of the dataset]")
@TEXT_COLUMNS
@LABEL_COLUMN
@option("--output-dir", setting="output_dir", help="Where versions are published, file:// or s3://.  [default: ./models]")
@option("--name", setting="name", help="The classifier's name.  [default: classifier]")
@option("--architecture", setting="training.architecture", type=click.Choice(get_args(ArchitectureChoice)),
        help="Model to fit; auto: linear, and transformer if there is a base model.  [default: auto]")  # fmt: skip
@option(
    "--base-model",
    setting="training.base_model",
    help="Encoder to fine-tune: a folder, s3://, a name on the Hugging Face hub, or minilm.",
)
@option("--num-epochs", setting="training.num_epochs", type=float, help="Epochs of the transformer.  [default: 3]")
@option("--sample-count", setting="dataset.sample_count", type=int, help="Train on a random sample of this many rows.")
@option("--seed", setting="training.seed", type=int, help="Seed of all random choices.  [default: 0]")
@option("--from-scratch", setting="training.from_scratch", is_flag=True, help="Ignore the checkpoints of an interrupted run.")
@OVERRIDES
@CONFIG_FILE
def train(overrides: tuple[str, ...], file: Path | None, **options: Any) -> None:
    """Train a classifier from labelled texts and publish it as a version.

    The version is written to OUTPUT_DIR/NAME/VERSION/. Its URI is the only line on standard output. If the training
    of a transformer was interrupted, the same command resumes it; linear starts again.

    \b
    Exit codes: 0 published (also if the gate rejects the version),
    64 a setting is wrong, 65 the dataset is wrong,
    75 a temporary failure, such as a storage that cannot be reached,
    130 interrupted by Ctrl-C, 143 stopped by SIGTERM (a transformer has saved a checkpoint).
    """
    if environment().get(f"{PREFIX}PROGRESS__LOG_FORMAT") == "json":
        logs.configure("json")  # for errors of the configuration too
    with ResultFile(environment()) as result, failures():
        config = configure(file, overrides, options)
        logs.configure(config.progress.log_format)
        result.write_to(config.result_file)
        processes = read_processes(environment(), gpus=_count_gpus)
        if not processes.leads_its_node or len(processes.node) > 1:
            result.write_to(None)  # the first process of the node writes it
        if len(processes.node) > 1:
            sys.exit(run_all(processes.node, environment()))
        for each in processes.node:  # torch reads them from the environment only
            add_to_environment(each)
        _train(config, processes, result)


def _train(config: Config, processes: Processes, result: ResultFile) -> None:
    """Run this process's part of the training. Rank 0 publishes and prints the result."""
    from trainer.attempt import Attempt
    from trainer.pipeline import run, train_as_worker

    attempt = Attempt(processes=processes)
    with (
        attempt.interruption.on_sigterm(),
        attempt.metrics.serve(config.progress.metrics_port if processes.leads_its_node else None),
        tempfile.TemporaryDirectory(prefix="labelwright-") as scratch,
    ):
        if not processes.first:
            return train_as_worker(config, attempt, scratch=Path(scratch))
        published = run(config, attempt, scratch=Path(scratch), now=datetime.now(UTC))
    result.published(published)
    if not logs.in_json():
        print_scores(published.manifest.model_dump()["scores"], interval=published.micro_f1_interval)
    click.echo(published.uri)
    return None


def _count_gpus() -> int:
    from trainer.architectures.devices import count_gpus  # torch takes seconds to import

    return count_gpus()
