"""The trainer's commands that balance a file of labelled texts into another: undersample, oversample, mltl."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trainer.commands.exit_codes import CodedCommand, failures
from trainer.commands.options import CONFIG_FILE, LABEL_COLUMN, OVERRIDES, TEXT_COLUMNS, Command, configure, option
from trainer.run import logs

if TYPE_CHECKING:
    from trainer.balance.imbalance import Imbalance

log = logging.getLogger(__name__)
# Balancing strategy of each choice of --rule.
STRATEGIES = {"joint": "undersample", "any": "undersample-any"}
SEED = option("--seed", setting="training.seed", type=int, help="Same seed, same rows.  [default: 0]")
SHARE = option(
    "--share",
    setting="balance.oversample_share",
    type=float,
    help="Rows to add at most, as a share of the rows of IN.  [default: 0.25]",
)


def _in_and_out(command: Command) -> Command:
    """Add the arguments IN and OUT, and the options that every command here takes."""
    ends = (click.argument("target", metavar="OUT"), click.argument("source", metavar="IN"))
    for add in (CONFIG_FILE, OVERRIDES, SEED, LABEL_COLUMN, *ends):
        command = add(command)
    return command


@click.command(cls=CodedCommand, short_help="Drop rows of frequent labels.")
@option(
    "--threshold",
    setting="balance.threshold",
    type=int,
    help="Target number of rows of a label.  [default: the median over the labels]",
)
@click.option(
    "--rule",
    type=click.Choice(list(STRATEGIES)),
    default="joint",
    show_default=True,
    help="joint: bring each label's count near the threshold; any: keep a row if a random draw for any of its labels keeps it.",
)
@_in_and_out
def undersample(source: str, target: str, rule: str, overrides: tuple[str, ...], file: Path | None, **options: Any) -> None:
    """Write the rows of IN to OUT, without some of the rows whose labels are all frequent.

    IN is a dataset as for train. OUT is a file (a path, file:// or s3://) that ends in .jsonl, .csv, .tsv or .parquet; the
    text formats may be compressed (.gz, .zst). A row is kept if one of its labels has no more rows than the threshold. If
    a text may have no label, rows without a label are thinned out like those of a label. OUT's URI is the only line on
    standard output.
    """
    _run("undersample", source, target, overrides, file, {**options, "balance__sampling": STRATEGIES[rule]})


@click.command(cls=CodedCommand, short_help="Repeat rows of rare labels.")
@SHARE
@_in_and_out
def oversample(source: str, target: str, overrides: tuple[str, ...], file: Path | None, **options: Any) -> None:
    """Write the rows of IN to OUT, and repeat random rows of rare labels, each next to the row it repeats (ML-ROS).

    IN and OUT are as for undersample. A label is rare if its IRLbl is above the mean. Rows are added to it until its IRLbl
    has fallen to the mean. OUT's URI is the only line on standard output.
    """
    _run("oversample", source, target, overrides, file, {**options, "balance__sampling": "oversample"})


@click.command(cls=CodedCommand, short_help="Drop rows of frequent labels that differ from their neighbours.")
@TEXT_COLUMNS
@_in_and_out
def mltl(source: str, target: str, overrides: tuple[str, ...], file: Path | None, **options: Any) -> None:
    """Write the rows of IN to OUT without those in a multi-label Tomek link (MLTL).

    IN and OUT are as for undersample. A row is dropped if it has no rare label and the labels of its nearest text differ
    from its own. OUT's URI is the only line on standard output. Time grows with the square of the number of rows.
    """
    _run("mltl", source, target, overrides, file, {**options, "balance__sampling": "mltl"})


def _run(name: str, source: str, target: str, overrides: tuple[str, ...], file: Path | None, options: dict[str, Any]) -> None:
    with failures(), tempfile.TemporaryDirectory(prefix="labelwright-") as scratch:
        config = configure(file, overrides, {**options, "dataset__uri": source})
        logs.configure(config.progress.log_format)
        from trainer.balance.files import balance_file

        done = balance_file(config, target, with_texts=name == "mltl", scratch=Path(scratch))
        for note in done.notes:
            log.info("%s", note)
        print_imbalance(done.before, done.after)
    click.echo(done.uri)


def print_imbalance(before: Imbalance, after: Imbalance) -> None:
    """Print a table of both to standard error."""
    click.echo(f"{'':<16}{'before':>12}{'after':>12}", err=True)
    rows = {
        "rows": (f"{before.texts:,}", f"{after.texts:,}"),
        "without a label": (f"{before.without_label:,}", f"{after.without_label:,}"),
        "largest label": (f"{before.largest:,}", f"{after.largest:,}"),
        "median label": (f"{before.median:,.0f}", f"{after.median:,.0f}"),
        "smallest label": (f"{before.smallest:,}", f"{after.smallest:,}"),
        "IRLbl at most": (f"{before.worst_ratio:.2f}", f"{after.worst_ratio:.2f}"),
        "MeanIR": (f"{before.mean_ratio:.2f}", f"{after.mean_ratio:.2f}"),
    }
    if not before.without_label:
        del rows["without a label"]
    for name, (then, now) in rows.items():
        click.echo(f"{name:<16}{then:>12}{now:>12}", err=True)
