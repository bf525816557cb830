"""Every setting with its default and its description, as the YAML file that `train --config` reads."""

from __future__ import annotations

import json
from collections.abc import Iterator

from pydantic import BaseModel

from trainer.config.settings import Config


def as_yaml() -> str:
    """A configuration of all defaults, commented."""
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
