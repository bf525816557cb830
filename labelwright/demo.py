"""Command `labelwright demo`: the whole path on one machine, from labelled texts to an answer over HTTP."""

from __future__ import annotations

import shlex
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import click

from model.ask import QuestionFailed
from model.ask import ask as send
from trainer.commands.evaluate import print_scores
from trainer.commands.exit_codes import failures
from trainer.config.loading import load
from trainer.run import logs

NAME = "docstrings"
TEXTS = (
    "Read a comma-separated file into a frame, parsing the given columns as dates.",
    "Draw a bar chart with error bars and a legend on the axes.",
    "Compute the shortest path between two nodes of a weighted graph.",
)
MAX_START_SECONDS = 60


@click.command()
@click.option(
    "--folder", default="demo", type=click.Path(path_type=Path), show_default=True, help="Folder for the dataset and the version."
)
@click.option("--port", default=8080, show_default=True, help="REST port of the server; any free port if it is taken.")
def demo(folder: Path, port: int) -> None:
    """Train on docstrings of installed libraries, publish a version, serve it and send it texts.

    On a terminal, the server runs until Ctrl-C. Otherwise it stops after its first response.
    """
    logs.configure("text")
    start = time.perf_counter()
    folder = folder.absolute()
    dataset = folder / "docstrings.parquet"
    say("1/3  Reading docstrings of installed libraries, each labelled with its library and area")
    from labelwright.demo_dataset import write_dataset

    say(f"     {write_dataset(dataset):,} texts in {relative(dataset)}")
    say("2/3  Training")
    uri = train(dataset, folder / "models")
    say("3/3  Serving the version with KServe, and sending it three texts")
    with serving(uri, free_port(port)) as server:
        send_texts(server)
        say(f"\nDone in {time.perf_counter() - start:.0f} s.")
        suggest(uri, server, keeps_running=sys.stdin.isatty())
        if sys.stdin.isatty():
            wait_for_ctrl_c()


def train(dataset: Path, models: Path) -> str:
    """Train on the dataset, publish a version and return its URI."""
    from trainer.attempt import Attempt
    from trainer.pipeline import run

    settings = {
        "name": NAME,
        "output_dir": models.as_uri(),
        "dataset.uri": dataset.as_uri(),
        "dataset.text_columns": ["text"],
        "dataset.label_columns": ["labels"],
    }
    with failures(), tempfile.TemporaryDirectory(prefix="labelwright-") as scratch:
        published = run(load(None, settings), Attempt(), scratch=Path(scratch), now=datetime.now(UTC))
    print_scores(published.manifest.scores.model_dump())
    return published.uri


@contextmanager
def serving(uri: str, port: int) -> Iterator[str]:
    """Serve the version at `uri` in a separate process, and yield the server's address once it is ready."""
    command = [sys.executable, "-m", "model.serving", uri, "--host", "127.0.0.1", "--port", str(port), "--grpc-port", "0"]
    process = subprocess.Popen(command)  # noqa: S603 - a list of our own words
    server = f"http://127.0.0.1:{port}"
    try:
        wait_until_ready(process, f"{server}/v2/models/{NAME}/ready")
        yield server
    finally:
        process.terminate()
        process.wait()


def wait_until_ready(process: subprocess.Popen[bytes], url: str) -> None:
    """Wait until the URL answers. Raises ClickException if the server exits, or takes longer than MAX_START_SECONDS."""
    deadline = time.monotonic() + MAX_START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise click.ClickException(f"the server exited with code {process.returncode}; its log is above")
        try:
            with urlopen(url, timeout=1):  # noqa: S310 - http, and ours
                return
        except (URLError, TimeoutError, ConnectionError):
            time.sleep(0.1)
    raise click.ClickException(f"{url} did not answer within {MAX_START_SECONDS} s")


def send_texts(server: str) -> None:
    """Send three texts over the open inference protocol and print the labels that come back."""
    try:
        answer = send(server, NAME, TEXTS)
    except QuestionFailed as error:
        raise click.ClickException(str(error)) from error
    say(f"     POST {server}/v2/models/{NAME}/infer  ->  model version {answer.version}")
    for text, labels in zip(TEXTS, answer.labels, strict=True):
        say(f"\n     {text}")
        for label, score in labels:
            say(f"       {score:.2f}  {label}")


def suggest(uri: str, server: str, *, keeps_running: bool) -> None:
    """Print commands and files to continue with."""
    version = relative(Path(uri.removeprefix("file://")))
    body = '{"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["Fit a random forest."]}]}'
    say("\nNext:")
    if not keeps_running:
        say(f"  serve it    labelwright serve {version} --name {NAME} --port {server.rpartition(':')[2]}")
    say(f"  query it    curl -s {server}/v2/models/{NAME}/infer -d {shlex.quote(body)}")
    say(f"  its report  {version}/report.html")
    say(f"  the version {version}/manifest.json")
    say("  your texts  labelwright train --dataset texts.csv --text-columns text --label-column label")


def free_port(wanted: int) -> int:
    """Return `wanted` if nothing listens there, else any free port."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            port_number: int = probe.getsockname()[1]
            return port_number
    raise click.ClickException("no port is free")


def relative(path: Path) -> str:
    """Return the path, relative to the working directory if it is below it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def wait_for_ctrl_c() -> None:
    """Return when the user presses Ctrl-C."""
    say("\nThe server runs until you press Ctrl-C.")
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        say("")


def say(line: str) -> None:
    """Print a line at once, so that it is in order with the log on standard error."""
    click.echo(line)
    sys.stdout.flush()
