"""The commands of the chart's Jobs take the options that the chart gives them."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from k8s.platform.__main__ import main


@pytest.mark.parametrize(
    ("command", "options"),
    [
        pytest.param("credentials", {"--namespace", "--plan"}, id="credentials"),
        pytest.param("ready", {"--namespace", "--name", "--seconds"}, id="ready"),
        pytest.param("classifier", {"--file", "--owner", "--seconds"}, id="classifier"),
    ],
)
def test_a_command_explains_its_options(command: str, options: set[str]) -> None:
    said = CliRunner().invoke(main, [command, "--help"])

    assert said.exit_code == 0, said.output
    assert {each for each in options if each in said.output} == options


def test_a_plan_that_is_wrong_is_refused_by_its_field() -> None:
    said = CliRunner().invoke(main, ["credentials", "--namespace=home", f"--plan={json.dumps({'labels': {}})}"])

    assert said.exit_code == 2
    assert "--plan: ('secrets',)" in said.output
