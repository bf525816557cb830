"""Command `labelwright predict`: label texts with a published version, without a server."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import click

from model.escaping import PrintableErrors, printable_json

BATCH_TEXTS = 256


@click.command(cls=PrintableErrors, short_help="Label texts with a version.")
@click.argument("version")
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@click.option("--top-k", type=click.IntRange(min=1), help="Give at most this many labels per text, the most probable first.")
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1),
    help="Give labels of at least this probability, instead of by each label's own threshold.",
)
def predict(version: str, texts: tuple[str, ...], top_k: int | None, threshold: float | None) -> None:
    """Label texts, or the lines of standard input, with the version at VERSION (a folder, file:// or s3://).

    Prints one line of JSON per text: {"text": …, "labels": […], "scores": […]}.
    """
    from model.artifact import ArtifactRejected, fetch, read_manifest
    from model.classifier import Classifier, Selection
    from model.storage import StorageError

    if not texts and sys.stdin.isatty():
        click.echo("Reading texts from standard input, one per line. End with Ctrl-D.", err=True)
    with tempfile.TemporaryDirectory(prefix="labelwright-") as scratch:
        try:
            folder = fetch(version, Path(scratch))
            classifier = Classifier.assemble(folder, read_manifest(folder))
        except (ArtifactRejected, StorageError) as error:
            raise click.ClickException(str(error)) from error
        selection = Selection(top_k, threshold)
        size = 1 if sys.stdin.isatty() else BATCH_TEXTS  # a line typed at a terminal is answered at once
        for batch in _batches(texts or _lines(sys.stdin.buffer), size):
            for text, prediction in zip(batch, classifier.predict(batch, selection), strict=True):
                answer = {"text": text, "labels": prediction.labels, "scores": [round(each, 6) for each in prediction.scores]}
                click.echo(printable_json(json.dumps(answer, ensure_ascii=False)))


def _lines(stream: BinaryIO) -> Iterator[str]:
    for number, line in enumerate(stream, start=1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise click.ClickException(f"line {number} of standard input is not UTF-8: {error.reason}") from error


def _batches(texts: Iterable[str], size: int) -> Iterator[list[str]]:
    """Yield batches of up to `size` texts. If a text cannot be read, the ones before it are yielded first."""
    batch: list[str] = []
    try:
        for text in texts:
            batch.append(text)
            if len(batch) == size:
                yield batch
                batch = []
    except click.ClickException:
        yield batch
        raise
    if batch:
        yield batch
