"""Command `labelwright`: the commands of every package. A package is imported only when its command runs."""

from __future__ import annotations

import importlib

import click

from model.escaping import PrintableErrors

# Location and one-line help of each command; `--help` lists them without importing any.
COMMANDS = {
    "demo": ("labelwright.demo:demo", "Try it in a minute: train on docstrings, serve, send requests."),
    "demo-dataset": ("labelwright.demo_dataset:demo_dataset", "Write the labelled texts of the demo to a storage."),
    "train": ("trainer.commands.train:train", "Train a classifier and publish it as a version."),
    "settings": ("trainer.commands.settings:settings", "Print all settings as YAML, for train --config."),
    "analyze": ("trainer.commands.analyze:analyze", "Write a report about a dataset, to read before training."),
    "undersample": ("trainer.commands.balance:undersample", "Drop rows of frequent labels."),
    "oversample": ("trainer.commands.balance:oversample", "Repeat rows of rare labels."),
    "mltl": ("trainer.commands.balance:mltl", "Drop rows of frequent labels that differ from their neighbours."),
    "fingerprint": ("trainer.commands.fingerprint:fingerprint", "Print the SHA-256 of a dataset's content."),
    "prune": ("trainer.commands.prune:prune", "Delete published versions and their checkpoints."),
    "verify": ("model.verification:verify", "Check that the files of a version are unaltered."),
    "evaluate": ("trainer.commands.evaluate:evaluate", "Score a version on a dataset."),
    "predict": ("model.predict:predict", "Label texts with a version."),
    "serve": ("model.serving.__main__:command", "Serve a version over REST and gRPC (KServe's protocols)."),
    "gateway": ("gateway.command:gateway", "Label texts asynchronously over HTTP, with predictors behind."),
}


class LazyGroup(PrintableErrors, click.Group):
    """Command group that imports a command when it runs or shows its help, not when it is listed."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click gives it
        """Return the names of the commands, in the order in which a new user needs them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import and return a command; None for an unknown name."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the list of commands, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, about) for name, (_, about) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="labelwright", message="labelwright %(version)s")
def main() -> None:
    """Train text classifiers from labelled texts and serve them on Kubernetes."""


if __name__ == "__main__":
    main()
