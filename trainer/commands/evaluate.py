"""The command `labelwright evaluate`: score a published version on any dataset."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import click

from model.storage import open_store
from trainer.commands.exit_codes import CodedCommand, failures
from trainer.commands.options import CONFIG_FILE, LABEL_COLUMN, OVERRIDES, TEXT_COLUMNS, configure, option
from trainer.run import logs


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


def print_scores(scores: dict[str, Any], *, baseline: bool = True, interval: float | None = None) -> None:
    """Print the scores as a table to standard error.

    baseline: whether the baseline was scored on the same texts. interval: half of the 95 % interval of the test's micro-F1.
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
        texts += f"; 95 % interval of micro_f1: ±{interval:.4f}"
    click.echo(texts, err=True)
    if test.get("without_label") is not None:
        shares = f"{100 * test['without_label']:.1f} % have no label, {100 * test['predicted_without_label']:.1f} %"
        click.echo(f"of these {shares} are predicted to have none", err=True)
