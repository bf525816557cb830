"""The command in the ServingRuntime is valid for the server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import yaml

from model.serving.__main__ import command
from model.serving.start import config_of

ROOT = Path(__file__).parents[2]


def container() -> dict[str, Any]:
    runtime = yaml.safe_load((ROOT / "k8s" / "manifests" / "01-serving-runtime.yaml").read_text())
    (found,) = runtime["spec"]["containers"]
    return dict(found)


def test_the_runtimes_arguments_are_options_of_the_command() -> None:
    arguments = [each.replace("{{.Name}}", "papers") for each in container()["args"]]
    config = config_of(command.make_context("serve", arguments).params)

    assert (config.version, config.name) == ("/mnt/models", "papers")
    assert [config.port, config.grpc_port] == [each["containerPort"] for each in container()["ports"]]


def test_the_runtimes_pods_outlive_the_servers_grace_period() -> None:
    config = config_of({"version": "/mnt/models"})
    kubernetes_default = 30.0  # terminationGracePeriodSeconds

    assert container()["lifecycle"]["preStop"]["sleep"]["seconds"] + config.grace_seconds < kubernetes_default


def test_the_commands_help_names_every_spelling_that_the_runtime_uses() -> None:
    shown = command.get_help(click.Context(command))

    for each in container()["args"]:
        assert each.partition("=")[0] in shown
