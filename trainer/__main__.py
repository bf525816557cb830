"""The trainer's commands: train, evaluate and settings are here, the others beside what they do."""

from __future__ import annotations

import json
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from model.storage import open_store
from trainer.commands.analyze import analyze
from trainer.commands.balance import mltl, oversample, undersample
from trainer.commands.fingerprint import fingerprint
from trainer.commands.options import CONFIG_FILE, LABEL_COLUMN, OVERRIDES, TEXT_COLUMNS, CodedCommand, configure, failures, option
from trainer.commands.prune import prune
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
@option("--test-dataset", setting="dataset.test_uri", help="A test set; without one, a part of the dataset is set aside.")
@TEXT_COLUMNS
@LABEL_COLUMN
@option("--output-dir", setting="output_dir", help="Where versions are published, file:// or s3://.  [default: ./models]")
@option("--name", setting="name", help="The classifier's name.  [default: classifier]")
@option("--architecture", setting="training.architecture", type=click.Choice(["auto", "linear", "transformer"]),
        help="What to fit.  [default: auto: linear, and transformer if there is a base model]")  # fmt: skip
@option("--base-model", setting="training.base_model", help="Encoder to fine-tune: a folder, s3://, a hub name, or minilm.")
@option("--num-epochs", setting="training.num_epochs", type=float, help="Passes over the training part, transformer.")
@option("--sample-count", setting="dataset.sample_count", type=int, help="Train on a random sample of so many rows.")
@option("--seed", setting="training.seed", type=int, help="Same seed, same data: same model.  [default: 0]")
@option("--from-scratch", setting="training.from_scratch", is_flag=True, help="Ignore the checkpoints of an interrupted run.")
@OVERRIDES
@CONFIG_FILE
def train(overrides: tuple[str, ...], file: Path | None, **options: Any) -> None:
    """Train a classifier from labelled texts and publish it as a version.

    The version is written to OUTPUT_DIR/NAME/VERSION/; that URI is the only line on standard output. The same
    command again resumes an interrupted training.

    \b
    Exit codes: 0 published, 64 a setting is wrong, 65 the dataset is wrong,
    75 something outside failed and trying again may help, 143 stopped by SIGTERM after saving a checkpoint.
    """
    if environment().get(f"{PREFIX}PROGRESS__LOG_FORMAT") == "json":
        logs.configure("json")  # settings that are wrong are told so, too
    with ResultFile(environment()) as result, failures():
        config = configure(file, overrides, options)
        logs.configure(config.progress.log_format)
        result.write_to(config.result_file)
        processes = read_processes(environment(), gpus=_gpus)
        if not processes.leads_its_node or len(processes.node) > 1:
            result.write_to(None)  # the first process of the node has more to tell
        if len(processes.node) > 1:
            sys.exit(run_all(processes.node, environment()))
        for each in processes.node:  # torch reads it nowhere else
            add_to_environment(each)
        _train(config, processes, result)


def _train(config: Config, processes: Processes, result: ResultFile) -> None:
    """What every process of a training does; the first one has something to tell."""
    from trainer.attempt import Attempt
    from trainer.pipeline import assist, run

    attempt = Attempt(processes=processes)
    with (
        attempt.interruption.on_sigterm(),
        attempt.metrics.serve(config.progress.metrics_port if processes.leads_its_node else None),
        tempfile.TemporaryDirectory(prefix="labelwright-") as scratch,
    ):
        if not processes.first:
            return assist(config, attempt, scratch=Path(scratch))
        published = run(config, attempt, scratch=Path(scratch), now=datetime.now(UTC))
    result.published(published)
    if not logs.in_json():
        print_scores(published.manifest.model_dump()["scores"], interval=published.micro_f1_interval)
    click.echo(published.uri)
    return None


def _gpus() -> int:
    from trainer.architectures.transformer.devices import count_gpus  # torch takes seconds to import

    return count_gpus()


@click.command(name="evaluate", cls=CodedCommand, short_help="Score a version on a dataset.")
@click.option("--model-path", required=True, help="The version: a folder, file:// or s3://.")
@option("--dataset", setting="dataset.uri", required=True, help="Labelled texts, as for train.")
@TEXT_COLUMNS
@LABEL_COLUMN
@click.option("--output-dir", required=True, help="Where scores.json is written: a folder, file:// or s3://.")
@OVERRIDES
@CONFIG_FILE
def evaluate(model_path: str, output_dir: str, overrides: tuple[str, ...], file: Path | None, **options: Any) -> None:
    """Score a published version on any dataset, and write OUTPUT_DIR/scores.json."""
    with failures(), tempfile.TemporaryDirectory(prefix="labelwright-") as scratch:
        config = configure(file, overrides, options)
        logs.configure(config.progress.log_format)
        from trainer.evaluation.rescore import rescore

        store = open_store(output_dir)
        rescored = rescore(model_path, config.dataset, scratch=Path(scratch))
        result = rescored.result
        store.write("scores.json", f"{json.dumps(result, indent=1)}\n".encode())
        same = result["scores"]["baseline"]["dataset_sha256"] == result["dataset"]["sha256"]
        print_scores(result["scores"], baseline=same, interval=rescored.micro_f1_interval)
    click.echo(f"{store.uri}scores.json")


@click.command(short_help="Print every setting, to be edited and given to train --config.")
def settings() -> None:
    """Print every setting of train with its default and what it does, as a YAML file for --config."""
    from trainer.commands.settings import as_yaml

    click.echo(as_yaml(), nl=False)


def print_scores(scores: dict[str, Any], *, baseline: bool = True, interval: float | None = None) -> None:
    """Print a small table for people on standard error.

    baseline: whether its scores are of the same texts. interval: half of the 95 % interval of the test's micro-F1.
    """
    columns = {"test": scores["test"]}
    if baseline:
        columns[f"baseline ({scores['baseline']['architecture']})"] = scores["baseline"]["test"]
    click.echo("".join([f"{'':<18}", *(f"{name:>{len(name) + 4}}" for name in columns)]), err=True)
    for score in ("micro_f1", "macro_f1", "samples_f1", "weighted_f1", "subset_accuracy"):
        values = (f"{part[score]:>{len(name) + 4}.4f}" for name, part in columns.items())
        click.echo("".join([f"{score:<18}", *values]), err=True)
    test = scores["test"]
    texts = f"on {test['texts']:,} text{'' if test['texts'] == 1 else 's'}"
    if interval is not None:
        texts += f"; another draw of as many may move micro_f1 by {interval:.4f} (95 % interval)"
    click.echo(texts, err=True)
    if test.get("without_label") is not None:
        shares = f"{100 * test['without_label']:.1f} % carry no label, {100 * test['predicted_without_label']:.1f} %"
        click.echo(f"of these {shares} are given none", err=True)


@click.group()
def main() -> None:
    """Labelled texts to a published version."""


for command in (train, settings, analyze, undersample, oversample, mltl, fingerprint, prune, evaluate):
    main.add_command(command)

if __name__ == "__main__":
    main()
