"""Options and configuration that the trainer's commands share."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from trainer.config.loading import environment, load, parse_override
from trainer.config.settings import Config

log = logging.getLogger(__name__)

Command = TypeVar("Command", bound=Callable[..., Any])


def option(*names: str, setting: str, help: str, **kind: Any) -> Callable[[Command], Command]:  # noqa: A002 - click's word
    """Return a command-line option for one setting, such as `dataset.uri`. If it is not given, the file or the default holds."""
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
    help="Set any setting that `labelwright settings` lists, such as training.batch_size=16. May be repeated.",
)
CONFIG_FILE = click.option(
    "--config", "file", type=click.Path(path_type=Path), help="A YAML file of settings. Options override it."
)


def configure(file: Path | None, overrides: tuple[str, ...], options: dict[str, Any]) -> Config:
    """Return the configuration from a file, the environment, `--set` and the command's options; later ones override."""
    given = {name.replace("__", "."): value for name, value in options.items() if value is not None and value is not False}
    for setting in ("dataset.text_columns", "dataset.label_columns"):
        if setting in given:
            given[setting] = [each.strip() for each in given[setting].split(",")]
    return load(file, dict(map(parse_override, overrides)) | given, environment())
