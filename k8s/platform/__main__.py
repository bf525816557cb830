"""`python -m k8s.platform`: what the chart's Jobs do with the Kubernetes API. Each command can be repeated."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import click
from pydantic import ValidationError

from k8s.controller.clients.kubernetes import Cluster, ClusterError, Unavailable, WriteConflict, from_environment
from k8s.platform.classifier import apply_classifier, wait_until_ready
from k8s.platform.credentials import CredentialsPlan, make
from model.escaping import PrintableErrors

PATIENCE_SECONDS = 120.0


class _Group(PrintableErrors, click.Group):
    """Group whose errors are one printable line."""


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Prepare a release: its Secrets, and the demo."""


@main.command()
@click.option("--namespace", required=True, help="Namespace of the Secrets.")
@click.option("--plan", required=True, help="Secrets to make, as JSON.")
def credentials(namespace: str, plan: str) -> None:
    """Create the Secrets that are absent. Prints names of Secrets and keys, never values."""
    try:
        wanted = CredentialsPlan.model_validate_json(plan)
    except ValidationError as error:
        raise click.UsageError(f"--plan: {error.errors()[0]['loc']}: {error.errors()[0]['msg']}") from error
    try:
        for line in _patiently(lambda cluster: make(cluster, wanted, namespace)):
            click.echo(line)
    except ClusterError as error:
        raise click.ClickException(str(error)) from error


@main.command()
@click.option("--file", required=True, type=click.Path(path_type=Path, dir_okay=False), help="TextClassifier to apply, as JSON.")
@click.option("--owner", required=True, help="ConfigMap that owns it.")
@click.option("--seconds", default=300.0, show_default=True, help="Time to wait until it is accepted.")
def classifier(file: Path, owner: str, seconds: float) -> None:
    """Apply a TextClassifier as soon as its CRD is served."""
    try:
        applied = apply_classifier(from_environment(), json.loads(file.read_text()), owner=owner, seconds=seconds)
    except ClusterError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"TextClassifier {applied['metadata']['name']}: applied")


@main.command()
@click.option("--namespace", required=True, help="Namespace of the TextClassifier.")
@click.option("--name", required=True, help="Name of the TextClassifier.")
@click.option("--seconds", default=900.0, show_default=True, help="Time to wait until it is Ready.")
def ready(namespace: str, name: str, seconds: float) -> None:
    """Wait until a TextClassifier is Ready: every Pod answers with the version that passed the gate."""
    try:
        found = wait_until_ready(from_environment(), namespace, name, seconds=seconds)
    except ClusterError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"TextClassifier {name}: {found['status']['message']}")


def _patiently(step: Callable[[Cluster], list[str]]) -> list[str]:
    """Repeat the step while the API server does not answer: a NetworkPolicy takes effect some seconds after a Pod started."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return step(from_environment())
        except (Unavailable, WriteConflict):
            if time.monotonic() >= deadline:
                raise
        time.sleep(2)


if __name__ == "__main__":
    main()
