"""The trainer's commands: train, evaluate, settings."""

from __future__ import annotations

import errno
import json
import logging
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from model.artifact import ArtifactRejected
from model.storage import ObjectExists, ObjectMissing, StorageRejected, StorageUnavailable, open_store
from trainer.config import Config, ConfigRejected, load, parse_override

# Exit codes, after sysexits.h: what a Job's podFailurePolicy decides by.
CONFIG_WRONG = 64
DATASET_WRONG = 65
TRY_AGAIN = 75
INTERRUPTED = 130

Command = TypeVar("Command", bound=Callable[..., Any])


@contextmanager
def failures() -> Iterator[None]:
    """Translate what can go wrong into exit codes."""
    from trainer.sources import DatasetRejected

    try:
        yield
    except (ConfigRejected, StorageRejected, ArtifactRejected, ObjectExists) as error:
        raise _with_code(click.ClickException(str(error)), CONFIG_WRONG) from error
    except (DatasetRejected, ObjectMissing) as error:
        raise _with_code(click.ClickException(str(error)), DATASET_WRONG) from error
    except (StorageUnavailable, ConnectionError, TimeoutError) as error:
        raise _with_code(click.ClickException(f"{error}; trying again may help"), TRY_AGAIN) from error
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        full = error.filename or tempfile.gettempdir()
        raise _with_code(click.ClickException(f"the disk of {full} is full; trying again may help"), TRY_AGAIN) from error
    except KeyboardInterrupt:
        message = "stopped; the same command again goes on from the last checkpoint, if there is one"
        raise _with_code(click.ClickException(message), INTERRUPTED) from None


class CodedCommand(click.Command):
    """A command whose wrong use ends like a wrong configuration: no Job should try it again."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does, with our exit code."""
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            raise _with_code(error, CONFIG_WRONG) from None


def _with_code(error: click.ClickException, exit_code: int) -> click.ClickException:
    setattr(error, "exit_code", exit_code)  # noqa: B010 - click declares it for the class, and reads the instance's
    return error


def option(*names: str, setting: str, help: str, **kind: Any) -> Callable[[Command], Command]:  # noqa: A002 - click's word
    """A command-line option for one setting, such as `dataset.uri`; unset, the file or the default decides."""
    return click.option(*names, setting.replace(".", "__"), default=None, help=help, **kind)


TEXT_COLUMNS = option(
    "--text-columns",
    setting="dataset.text_columns",
    help="Columns joined into the text, separated by commas.  [default: title,abstract]",
)
LABEL_COLUMN = option(
    "--label-column",
    setting="dataset.label_columns",
    help="Column of labels, or several 0/1 columns, separated by commas.  [default: categories]",
)
OVERRIDES = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Any setting that `labelwright settings` prints: --set training.batch_size=16.",
)
CONFIG_FILE = click.option(
    "--config", "file", type=click.Path(path_type=Path), help="A YAML file of settings; options win over it."
)


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
    75 something outside failed and trying again may help.
    """
    log_to_stderr()
    with failures(), tempfile.TemporaryDirectory(prefix="labelwright-") as scratch:
        config = configure(file, overrides, options)
        from trainer.pipeline import run

        published = run(config, scratch=Path(scratch), now=datetime.now(UTC))
        print_scores(published.manifest.model_dump()["scores"])
    click.echo(published.uri)


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
    log_to_stderr()
    with failures(), tempfile.TemporaryDirectory(prefix="labelwright-") as scratch:
        config = configure(file, overrides, options)
        from trainer.rescoring import rescore

        store = open_store(output_dir)
        result = rescore(model_path, config.dataset, scratch=Path(scratch))
        store.write("scores.json", f"{json.dumps(result, indent=1)}\n".encode())
        same = result["scores"]["baseline"]["dataset_sha256"] == result["dataset"]["sha256"]
        print_scores(result["scores"], baseline=same)
    click.echo(f"{store.uri}scores.json")


@click.command(short_help="Print every setting, to be edited and given to train --config.")
def settings() -> None:
    """Print every setting of train with its default and what it does, as a YAML file for --config."""
    from trainer.settings import as_yaml

    click.echo(as_yaml(), nl=False)


def configure(file: Path | None, overrides: tuple[str, ...], options: dict[str, Any]) -> Config:
    """The configuration of a file, `--set` and the command's own options, the later winning."""
    given = {name.replace("__", "."): value for name, value in options.items() if value is not None and value is not False}
    for setting in ("dataset.text_columns", "dataset.label_columns"):
        if setting in given:
            given[setting] = [each.strip() for each in given[setting].split(",")]
    return load(file, dict(map(parse_override, overrides)) | given)


def print_scores(scores: dict[str, Any], *, baseline: bool = True) -> None:
    """A small table for people, on standard error."""
    columns = {"test": scores["test"]}
    if baseline:
        columns[f"baseline ({scores['baseline']['architecture']})"] = scores["baseline"]["test"]
    click.echo("".join([f"{'':<18}", *(f"{name:>{len(name) + 4}}" for name in columns)]), err=True)
    for score in ("micro_f1", "macro_f1", "samples_f1", "weighted_f1", "subset_accuracy"):
        values = (f"{part[score]:>{len(name) + 4}.4f}" for name, part in columns.items())
        click.echo("".join([f"{score:<18}", *values]), err=True)


def log_to_stderr() -> None:
    """Plain lines with the time, ours only."""
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", level=logging.WARNING)
    for package in ("trainer", "model"):
        logging.getLogger(package).setLevel(logging.INFO)


@click.group()
def main() -> None:
    """Labelled texts to a published version."""


main.add_command(train)
main.add_command(evaluate)
main.add_command(settings)

if __name__ == "__main__":
    main()
