"""`make chart-docs`: the schema of the chart's values, and the table of them in its README, from the comments in values.yaml.

    described(text) -> list[Value]     every value with its comment, its default and its rules
    schema(values, removed) -> dict    values.schema.json; a typo in a value fails the installation with its name
    table(values) -> str               the rows of the README

A value is described by the comment above it. `# @schema {…}` adds rules of JSON Schema to those that follow from the default.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parent / "labelwright"
MARK = "# @schema "
BEGIN, END = "<!-- Made by `make chart-docs` from values.yaml. -->", "<!-- End of what `make chart-docs` makes. -->"
TYPES = {"bool": "boolean", "int": "integer", "float": "number", "str": "string"}
# Parents of a subchart set these.
OPEN: dict[str, Any] = {
    "global": {"type": "object", "description": "Values that a parent chart shares with all its subcharts. Not used."},
    "enabled": {"type": "boolean", "description": "Condition of a parent chart. Not used."},
}
Schema = dict[str, Any]


class Undescribed(Exception):
    """A value has no comment, or a rule that is not JSON; the message names it."""


@dataclass(frozen=True)
class Value:
    """A value: a leaf, which users set, or a group of others."""

    path: tuple[str, ...]
    description: str
    default: Any
    rules: Schema
    is_group: bool

    @property
    def name(self) -> str:
        return ".".join(self.path)


def described(text: str) -> list[Value]:
    """Return every value, groups before what they hold. Raises Undescribed."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)  # noqa: S101 - a chart's values
    return list(_described(root, yaml.safe_load(text), text.splitlines(), ()))


def _described(node: yaml.MappingNode, defaults: dict[str, Any], lines: list[str], above: tuple[str, ...]) -> Iterable[Value]:
    for key, value in node.value:
        path = (*above, key.value)
        description, rules = _comment(lines, key.start_mark.line, ".".join(path))
        is_group = isinstance(value, yaml.MappingNode) and not value.flow_style
        yield Value(path, description, defaults[key.value], rules, is_group)
        if is_group:
            yield from _described(value, defaults[key.value], lines, path)


def _comment(lines: list[str], line: int, name: str) -> tuple[str, Schema]:
    """Return the comment above a line, and the rules in it."""
    block: list[str] = []
    while line > 0 and lines[line - 1].strip().startswith("#"):
        line -= 1
        block.insert(0, lines[line].strip())
    rules: Schema = {}
    for each in block:
        if each.startswith(MARK):
            try:
                rules |= json.loads(each.removeprefix(MARK))
            except ValueError as error:
                raise Undescribed(f"{name}: {each}: {error}") from error
    words = [each.removeprefix("#").strip() for each in block if not each.startswith(MARK)]
    if not words:
        raise Undescribed(f"{name}: a comment is missing above it")
    return " ".join(words), rules


def schema(values: list[Value], removed: dict[str, str]) -> Schema:
    """Return the JSON Schema of the values. Values that were removed pass it: a template fails with what replaces them."""
    root: Schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "additionalProperties": False,
        "properties": dict(OPEN),
    }
    for value in values:
        _place(root, value.path)["properties"][value.path[-1]] = _of(value)
    for name, instead in removed.items():
        path = tuple(name.split("."))
        _place(root, path)["properties"][path[-1]] = {"description": f"Removed: {instead}."}
    return root


def _place(root: Schema, path: tuple[str, ...]) -> Schema:
    for name in path[:-1]:
        root = root["properties"].setdefault(name, {"type": "object", "additionalProperties": False, "properties": {}})
    return root


def _of(value: Value) -> Schema:
    found: Schema = {"description": value.description}
    if value.is_group:
        found |= {"type": "object", "additionalProperties": False, "properties": {}}
    elif isinstance(value.default, dict):
        found |= {"type": "object"}
    elif isinstance(value.default, list):
        found |= {"type": "array"}
    elif value.default is not None:
        found |= {"type": TYPES[type(value.default).__name__]}
    if isinstance(value.default, int | float) and not isinstance(value.default, bool) and value.rules.get("maximum") == 1:
        found |= {"type": "number"}
    return found | value.rules


def table(values: list[Value]) -> str:
    """Return a Markdown table of the values that users set."""
    rows = [f"| `{each.name}` | `{json.dumps(each.default)}` | {_cell(each)} |" for each in values if not each.is_group]
    return "\n".join(["| value | default | |", "|---|---|---|", *rows])


def _cell(value: Value) -> str:
    choices = f" One of {', '.join(f'`{each}`' for each in value.rules['enum'])}." if "enum" in value.rules else ""
    return value.description.replace("|", "\\|").replace("<", "&lt;") + choices


def files(chart: Path = CHART) -> dict[Path, str]:
    """Return the contents of the files that `make chart-docs` writes."""
    values = described((chart / "values.yaml").read_text())
    removed = yaml.safe_load((chart / "removed-values.yaml").read_text()) or {}
    readme = (chart / "README.md").read_text()
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    return {
        chart / "values.schema.json": json.dumps(schema(values, removed), indent=2, ensure_ascii=False) + "\n",
        chart / "README.md": f"{before}{BEGIN}\n\n{table(values)}\n\n{END}{after}",
    }


if __name__ == "__main__":
    for path, content in files().items():
        path.write_text(content)
