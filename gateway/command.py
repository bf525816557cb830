"""Command `labelwright gateway`: the whole gateway on one machine, or one of its processes in production."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from gateway.config import SettingRejected, describe, read
from gateway.logs import configure
from model.escaping import PrintableErrors

F = TypeVar("F", bound=Callable[..., Any])
BOTH = (
    "redis",
    "discover_namespace",
    "webhook_hosts",
    "log_format",
    "retention_seconds",
    "lease_seconds",
    "request_seconds",
    "feedback_uri",
)
API = (
    "default_classifier",
    "host",
    "port",
    "id_secret_file",
    "tokens_file",
    "max_body_bytes",
    "max_texts",
    "max_characters",
    "max_request_characters",
    "max_open_tasks",
    "max_open_bytes",
    "max_wait_seconds",
    "grace_seconds",
    "max_held_corrections",
)
WORKER = (
    "concurrency",
    "metrics_port",
    "max_failures",
    "max_delay_seconds",
    "patience_seconds",
    "webhook_secret_file",
    "flush_seconds",
)


def settings(names: Iterable[str]) -> Callable[[F], F]:
    """Add an option for each setting. GatewayConfig checks the values."""

    def add(command: F) -> F:
        for name in reversed(tuple(names)):
            command = click.option(f"--{name.replace('_', '-')}", name, help=describe(name))(command)
        return command

    return add


predictor = click.option(
    "--predictor",
    "predictors",
    multiple=True,
    metavar="NAME=ADDRESS",
    help="Classifier and the address of its predictor. Repeat it for several classifiers.",
)
anonymous = click.option("--anonymous/--no-anonymous", default=None, help="Accept requests without a token.")
new_labels = click.option(
    "--allow-new-labels/--no-allow-new-labels",
    default=None,
    help="Accept corrections with labels that the classifier does not have.",
)


class Group(PrintableErrors, click.Group):
    """Group of commands whose errors are printable."""


@click.group(name="gateway", cls=Group, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@predictor
@click.option(
    "--folder",
    default="gateway-data",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Folder for the data of Redis, the secret that signs ids, and corrections, unless options name other places.",
)
@anonymous
@new_labels
@settings((*API, *WORKER, *BOTH))
@click.pass_context
def gateway(context: click.Context, /, *, predictors: tuple[str, ...], folder: Path, **options: Any) -> None:
    """Accept texts over HTTP and label them asynchronously. An accepted task is never lost.

    Without a command, runs the API and one worker on this machine, and a Redis unless --redis names one. A single predictor may
    be given without its name: --predictor ADDRESS.
    """
    if context.invoked_subcommand is not None:
        return
    from gateway.local import run

    options["log_format"] = options["log_format"] or "text"
    configure(options["log_format"])
    alone = predictors[0] if len(predictors) == 1 and "=" not in predictors[0].partition("://")[0] else None
    with _process():
        run(options if alone else options | {"predictors": _pairs(predictors)}, alone, folder)


@gateway.command(cls=PrintableErrors)
@predictor
@anonymous
@new_labels
@settings((*API, *BOTH))
def api(*, predictors: tuple[str, ...], **options: Any) -> None:
    """Run one API process. Each option may also be a variable, such as LABELWRIGHT_GATEWAY__REDIS."""
    from gateway.api.server import serve

    with _process():
        config = read(options | {"predictors": _pairs(predictors)}, os.environ)
        configure(config.log_format)
        serve(config)


@gateway.command(cls=PrintableErrors)
@predictor
@settings((*WORKER, *BOTH))
def worker(*, predictors: tuple[str, ...], **options: Any) -> None:
    """Run one worker process. Each option may also be a variable, such as LABELWRIGHT_GATEWAY__REDIS."""
    from gateway.work.start import run_worker

    with _process():
        config = read(options | {"predictors": _pairs(predictors)}, os.environ)
        configure(config.log_format)
        run_worker(config)


@gateway.command(cls=PrintableErrors)
@click.option("--name", required=True, help="Name of the program or person that uses the token.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    default=("predict",),
    show_default=True,
    help="Permission: predict, feedback, review or admin. Repeat it for several.",
)
@click.option("--rate", help="Highest rate of requests, such as 50/second. [default: no limit]")
def token(*, name: str, scopes: tuple[str, ...], rate: str | None) -> None:
    """Make a token. Print it, and its entry for the file of tokens, which has only the hash."""
    from pydantic import ValidationError

    from gateway.api.tokens import Token, digest, new_secret

    secret = new_secret()
    try:
        line = Token.model_validate({"name": name, "sha256": digest(secret), "scopes": scopes, "rate": rate})
    except ValidationError as error:
        first = error.errors()[0]
        raise click.UsageError(f"--{first['loc'][0]} is {first['input']!r}: {first['msg']}") from error
    click.echo(f"token  {secret}")
    click.echo(f"line   {line.model_dump_json(exclude_none=True)}")


def _pairs(predictors: tuple[str, ...]) -> str | None:
    return " ".join(predictors) or None


@contextmanager
def _process() -> Iterator[None]:
    """Report a rejected setting as an error of the command. On a signal, end what the command started, then exit with 0."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    try:
        yield
    except SettingRejected as error:
        raise click.ClickException(str(error)) from error
