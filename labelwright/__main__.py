"""The command `labelwright`: mounts each package's commands, imports a package only when its command runs."""

from __future__ import annotations

import importlib

import click

from model.printable import PrintableErrors

# Command -> where it is. The listing below is read without importing any of them.
COMMANDS = {
    "demo": ("labelwright.demo:demo", "See it work: train on docstrings, serve, ask. A minute."),
    "demo-dataset": ("labelwright.demo_dataset:demo_dataset", "Write the labelled texts of the demo to a storage."),
    "train": ("trainer.commands.train:train", "Train a classifier and publish it as a version."),
    "settings": ("trainer.commands.settings:settings", "Print every setting, to be edited and given to train --config."),
    "analyze": ("trainer.commands.analyze:analyze", "Write a page on what a dataset is like, before training."),
    "undersample": ("trainer.commands.balance:undersample", "Drop rows of frequent labels."),
    "oversample": ("trainer.commands.balance:oversample", "Repeat rows of rare labels."),
    "mltl": ("trainer.commands.balance:mltl", "Drop rows of frequent labels that contradict their neighbours."),
    "fingerprint": ("trainer.commands.fingerprint:fingerprint", "Print the SHA-256 of what a dataset holds."),
    "prune": ("trainer.commands.prune:prune", "Delete published versions and their checkpoints."),
    "verify": ("model.verification:verify", "Say file by file whether a version is as it was published."),
    "evaluate": ("trainer.commands.evaluate:evaluate", "Score a version on a dataset."),
    "predict": ("model.__main__:predict", "Label texts with a version."),
    "serve": ("model.serving.__main__:command", "Answer with a version over KServe's protocols."),
}


class LazyGroup(PrintableErrors, click.Group):
    """A group that imports a command when it is called or asked for help, not when it is listed."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click gives it
        """In the order in which someone new needs them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import the command's package."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The listing, without an import."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, about) for name, (_, about) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="labelwright", message="labelwright %(version)s")
def main() -> None:
    """Train text classifiers from labelled texts and serve them on Kubernetes."""


if __name__ == "__main__":
    main()
