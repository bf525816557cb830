"""Files and names in the documents exist."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest
from prometheus_client import CollectorRegistry

from labelwright.__main__ import COMMANDS, main
from model.serving.metrics import Metrics
from tests.support.versions import make_manifest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_the_metrics_in_the_documents_are_those_of_the_code(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    Metrics(make_manifest(tmp_path), registry)
    declared = {f"{each.name}_total" if each.type == "counter" else each.name for each in registry.collect()}
    documented = set(re.findall(r"^\| `(labelwright_\w+)` \|", (ROOT / "docs" / "protocol.md").read_text(), re.MULTILINE))
    assert documented == declared


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_there_and_explains_itself(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    assert command.name == name
    assert len(command.get_help(click.Context(command)).splitlines()) > 5


def test_the_options_in_the_readme_are_those_of_the_commands() -> None:
    for name, line in re.findall(r"^labelwright (\w+) ((?:.*\\\n)*.*)$", README, re.MULTILINE):
        command = main.get_command(click.Context(main), name)
        assert command is not None, name
        known = {option for parameter in command.params for option in parameter.opts}
        assert set(re.findall(r"--[\w-]+", line)) <= known, name


def test_the_folders_in_the_readme_are_there() -> None:
    for folder in re.findall(r"^(\w+)/ {2,}", README, re.MULTILINE):
        assert (ROOT / folder).is_dir(), folder


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))], ids=lambda path: path.name)
def test_links_between_documents_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target
