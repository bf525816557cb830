"""`python -m model.ask`: one question to a served classifier, over the open inference protocol (v2).

    ask(server, name, texts) -> Answer      the version and, for each text, its labels with their scores

Needs no library, so it runs in every image.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import click

from model.escaping import PrintableErrors, printable
from model.open_inference import NO_ANSWER, question, read_answer

PAUSE_SECONDS = 2.0
REQUEST_SECONDS = 10


class QuestionFailed(Exception):
    """The server did not answer, or answered with an error; the message says which."""


@dataclass(frozen=True)
class Answer:
    """labels: those of each text with their scores, the most probable first."""

    version: str
    labels: tuple[tuple[tuple[str, float], ...], ...]


def ask(server: str, name: str, texts: tuple[str, ...]) -> Answer:
    """Send the texts to the classifier `name` at `server`, such as http://papers-predictor. Raises QuestionFailed."""
    url = f"{server.rstrip('/')}/v2/models/{name}/infer"
    request = Request(url, json.dumps(question(texts)).encode(), {"Content-Type": "application/json"})  # noqa: S310 - http
    try:
        with urlopen(request, timeout=REQUEST_SECONDS) as response:  # noqa: S310
            version, rows = read_answer(json.load(response), texts=len(texts))
    except HTTPError as error:
        raise QuestionFailed(f"{url}: {error.code} {printable(error.read(500).decode(errors='replace'))}") from error
    except (URLError, TimeoutError, ConnectionError) as error:
        raise QuestionFailed(f"{url}: {getattr(error, 'reason', error)}") from error
    except NO_ANSWER as error:
        raise QuestionFailed(f"{url}: this is no answer of a classifier") from error
    return Answer(version, tuple(map(tuple, rows)))


@click.command(cls=PrintableErrors, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--server", required=True, help="Address of the server, such as http://papers-predictor.")
@click.option("--name", required=True, help="Name of the classifier.")
@click.option("--text", required=True, help="Text to label.")
@click.option("--seconds", default=0.0, help="Time to wait for an answer; 0 asks once.")
def main(server: str, name: str, text: str, seconds: float) -> None:
    """Ask a served classifier for the labels of a text. Exit code 1 if it does not answer."""
    deadline, before = time.monotonic() + seconds, ""
    while True:
        try:
            answer = ask(server, name, (text,))
        except QuestionFailed as error:
            if time.monotonic() >= deadline:
                raise click.ClickException(str(error)) from error
            if (reason := str(error)) != before:
                click.echo(f"not yet: {reason}")
            before = reason
            time.sleep(PAUSE_SECONDS)
        else:
            break
    click.echo(f"{printable(name)} answers with version {printable(answer.version)}")
    for label, score in answer.labels[0]:
        click.echo(f"  {score:.2f}  {printable(label)}")


if __name__ == "__main__":
    main()
