"""Start the server: check the options, load the version, serve it."""

from __future__ import annotations

import gc
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click
from pydantic import ValidationError

from model.artifact import ArtifactRejected, fetch, read_manifest
from model.log_format import TextLines
from model.manifest import Manifest
from model.serving.config import ServingConfig
from model.serving.signals import end_at_once
from model.storage import StorageError

if TYPE_CHECKING:
    from model.classifier import Classifier

LIBRARY_LOG_LEVELS = {
    "botocore": logging.WARNING,
    "uvicorn": logging.ERROR,  # it logs a warning for each invalid request, without a limit; the client gets an error anyway
}


def start(options: Mapping[str, str | float | None]) -> None:
    """Serve until SIGTERM or SIGINT. options: as `config_of` takes them. Raises click's exceptions."""
    config = config_of(options)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(TextLines("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for name, level in LIBRARY_LOG_LEVELS.items():
        logging.getLogger(name).setLevel(level)
    warnings.filterwarnings("ignore", message="ORJSONResponse is deprecated")  # used by the SDK
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # the batcher's threads use all cores
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # gRPC would also write its exceptions to standard error
    classifier, manifest = _load(config)
    classifier.warm_up()
    gc.collect()
    gc.freeze()  # loaded objects stay for good: the garbage collector need not search them while serving
    from model.serving.server import CannotListen, serve  # slow to import, so after the version was accepted

    try:
        serve(classifier, manifest, config)
    except CannotListen as error:
        raise click.ClickException(str(error)) from error


def config_of(options: Mapping[str, str | float | None]) -> ServingConfig:
    """Return the settings. options: the command's parameters by name, None if not given. Raises click.UsageError."""
    given = {key: value for key, value in options.items() if value is not None}
    versions = [given.pop(key) for key in ("version", "model_dir") if key in given]
    if len(versions) != 1:
        raise click.UsageError("Expected one VERSION: a path, file:// or s3://.")
    try:
        return ServingConfig.model_validate(given | {"version": versions[0]})
    except ValidationError as error:
        first = error.errors()[0]
        option = str(first["loc"][0]).replace("_", "-")
        raise click.UsageError(f"--{option} is {first['input']!r}: {first['msg'].removeprefix('Value error, ')}") from error


def _load(config: ServingConfig) -> tuple[Classifier, Manifest]:
    from model.classifier import Classifier  # slow to import, so after the options were accepted

    # Cleanup errors are ignored, because a signal may arrive while a file is written into the folder.
    scratch = tempfile.TemporaryDirectory(prefix="labelwright-", ignore_cleanup_errors=True)
    end_at_once(scratch.cleanup)
    with scratch:
        try:
            folder = fetch(config.version, Path(scratch.name), manifest_sha256=config.manifest_sha256)
            manifest = read_manifest(folder, sha256=config.manifest_sha256)
            return Classifier.assemble(folder, manifest, threads_alone=config.threads), manifest
        except (ArtifactRejected, StorageError) as error:
            raise click.ClickException(str(error)) from error
