"""The command `labelwright settings`: print every setting with its default and description, as YAML for `train --config`."""

from __future__ import annotations

import json
from collections.abc import Iterator

import click
from pydantic import BaseModel

from trainer.config.settings import Config


@click.command(short_help="Print all settings as YAML, for train --config.")
def settings() -> None:
    """Print every setting of train with its description and default, as a YAML file for --config."""
    click.echo(as_yaml(), nl=False)


def as_yaml() -> str:
    """Return the default configuration as YAML, with the descriptions as comments."""
    return "\n".join(_lines(Config(), indent="")) + "\n"


def _lines(settings: BaseModel, indent: str) -> Iterator[str]:
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if field.description:
            yield f"{indent}# {field.description}"
        if isinstance(value, BaseModel):
            yield f"{indent}{name}:"
            yield from _lines(value, indent + "  ")
        else:
            yield f"{indent}{name}: {json.dumps(value, ensure_ascii=False)}"  # JSON is YAML, and stays on its line
