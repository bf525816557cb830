"""The trainer's commands as one group."""

from __future__ import annotations

import click

from trainer.commands.analyze import analyze
from trainer.commands.balance import mltl, oversample, undersample
from trainer.commands.evaluate import evaluate
from trainer.commands.fingerprint import fingerprint
from trainer.commands.prune import prune
from trainer.commands.settings import settings
from trainer.commands.train import train


@click.group()
def main() -> None:
    """Train text classifiers, score them and delete them."""


for command in (train, settings, analyze, undersample, oversample, mltl, fingerprint, prune, evaluate):
    main.add_command(command)

if __name__ == "__main__":
    main()
