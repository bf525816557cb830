"""The command `labelwright serve`, which is `python -m model.serving` too: from a version's address to a server."""

from __future__ import annotations

import gc
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import click
from pydantic import ValidationError

from model.artifact import ArtifactRejected, fetch, read_manifest
from model.manifest import Architecture, Manifest
from model.serving.config import ServingConfig
from model.storage import StorageError

# Second spellings are those that KServe's own runtimes pass.


@click.command(name="serve")
@click.argument("version", required=False)
@click.option("--model_dir", hidden=True, help="VERSION, as KServe's runtimes spell it.")
@click.option("--name", "--model_name", "name", help="Name to serve under. [default: the classifier's]")
@click.option("--host", help="Address to listen on. [default: all]")
@click.option("--port", "--http_port", "port", type=int, help="REST port; 0 takes a free one. [default: 8080]")
@click.option("--grpc-port", "--grpc_port", "grpc_port", type=int, help="gRPC port; 0 takes a free one. [default: 8081]")
@click.option("--threads", type=int, help="Threads that compute. [default: the cores, or the container's CPU limit]")
@click.option("--queue-texts", type=int, help="Texts that may wait; beyond, requests get 429. [default: 2048]")
@click.option("--max-texts", type=int, help="Texts in one request. [default: 1024]")
@click.option("--max-characters", type=int, help="Characters in one text. [default: 1000000]")
@click.option("--max-body-bytes", type=int, help="Bytes of one request. [default: 16777216]")
@click.option("--grace-seconds", type=float, help="For what is asked already, when stopping. [default: 20]")
def command(version: str | None, model_dir: str | None, **options: str | float | None) -> None:
    """Answer with the published version at VERSION, a path or an address (file://, s3://).

    Stops on SIGTERM once the requests in flight are answered.
    """
    if (version is None) == (model_dir is None):
        raise click.UsageError("Expected one VERSION: a path, file:// or s3://.")
    config = _config({"version": version or model_dir} | {key: value for key, value in options.items() if value is not None})
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    for chatty in ("uvicorn", "botocore"):  # say in many lines what one of ours says
        logging.getLogger(chatty).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message="ORJSONResponse is deprecated")  # the SDK's use of it, not ours
    _serve(config)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command with these arguments, the process's own by default."""
    command.main(args=None if argv is None else list(argv), prog_name="python -m model.serving")


def _config(options: dict[str, object]) -> ServingConfig:
    try:
        return ServingConfig.model_validate(options)
    except ValidationError as error:
        first = error.errors()[0]
        message = f"--{first['loc'][0]} is {first['input']!r}: {first['msg']}".replace("_", "-")
        raise click.UsageError(message) from error


def _serve(config: ServingConfig) -> None:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # the batcher's threads are all that there are cores for
    # Both take long to import; a version that is refused is refused before the second.
    from model.classifier import Classifier

    with tempfile.TemporaryDirectory(prefix="labelwright-") as scratch:
        try:
            folder = fetch(config.version, Path(scratch))
            manifest: Manifest = read_manifest(folder)
            # A transformer's long text takes milliseconds that several cores can share; for a linear one they never pay.
            alone = config.threads if manifest.training.architecture is Architecture.TRANSFORMER else 1
            classifier = Classifier.assemble(folder, manifest, threads_alone=alone)
        except (ArtifactRejected, StorageError) as error:
            raise click.ClickException(str(error)) from error

    classifier.warm_up()
    gc.collect()
    gc.freeze()  # what is loaded stays, and need not be searched for garbage while serving
    from model.serving.server import CannotListen, serve

    try:
        serve(classifier, manifest, config)
    except CannotListen as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
