"""Ask a published version without a server."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import click

BATCH_TEXTS = 256


@click.command(short_help="Label texts with a version.")
@click.argument("version")
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@click.option("--top-k", type=click.IntRange(min=1), help="Give at most so many labels, the most probable first.")
@click.option("--threshold", type=click.FloatRange(0, 1), help="Give labels from this probability on.")
def predict(version: str, texts: tuple[str, ...], top_k: int | None, threshold: float | None) -> None:
    """Label texts, or the lines of standard input, with the version at VERSION (a folder, file:// or s3://).

    Prints a line of JSON for each text: {"text": …, "labels": […], "scores": […]}.
    """
    from model.artifact import ArtifactRejected, fetch
    from model.classifier import Classifier
    from model.storage import StorageError

    if not texts and sys.stdin.isatty():
        click.echo("Reading texts from standard input, one a line; end with Ctrl-D.", err=True)
    with tempfile.TemporaryDirectory(prefix="labelwright-") as scratch:
        try:
            classifier = Classifier.load(fetch(version, Path(scratch)))
        except (ArtifactRejected, StorageError) as error:
            raise click.ClickException(str(error)) from error
        for batch in _batches(texts or (line.rstrip("\r\n") for line in sys.stdin)):
            for text, found in zip(batch, classifier.predict(batch, top_k=top_k, threshold=threshold), strict=True):
                answer = {"text": text, "labels": found.labels, "scores": [round(each, 6) for each in found.scores]}
                click.echo(json.dumps(answer, ensure_ascii=False))


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    remaining = iter(texts)
    while batch := list(islice(remaining, BATCH_TEXTS)):
        yield batch


if __name__ == "__main__":
    predict()
