"""From the command's options to a server that answers with a version."""

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
from model.manifest import ArchitectureName, Manifest
from model.serving.config import ServingConfig
from model.serving.signals import end_at_once
from model.storage import StorageError

if TYPE_CHECKING:
    from model.classifier import Classifier

QUIETER = {  # than others, for they say in many lines what one of ours says
    "botocore": logging.WARNING,
    "uvicorn": logging.ERROR,  # it warns of all that is sent and is no HTTP, without a bound; the sender is told
}


def start(options: Mapping[str, str | float | None]) -> None:
    """Serve as the options say, until SIGTERM or SIGINT. Raises click's exceptions, of which each is one sentence."""
    config = config_of(options)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(TextLines("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for name, level in QUIETER.items():
        logging.getLogger(name).setLevel(level)
    warnings.filterwarnings("ignore", message="ORJSONResponse is deprecated")  # the SDK's use of it, not ours
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # the batcher's threads are all that there are cores for
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its core writes to standard error what it also raises
    classifier, manifest = _load(config)
    classifier.warm_up()
    gc.collect()
    gc.freeze()  # what is loaded stays, and need not be searched for garbage while serving
    from model.serving.server import CannotListen, serve  # takes long: a version that is refused is refused before

    try:
        serve(classifier, manifest, config)
    except CannotListen as error:
        raise click.ClickException(str(error)) from error


def config_of(options: Mapping[str, str | float | None]) -> ServingConfig:
    """The options by the names of the command's parameters, None where one is not given. Raises click.UsageError."""
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
    from model.classifier import Classifier  # takes long: an option that is refused is refused before

    # A signal may come while a file is written into it.
    scratch = tempfile.TemporaryDirectory(prefix="labelwright-", ignore_cleanup_errors=True)
    end_at_once(scratch.cleanup)
    with scratch:
        try:
            folder = fetch(config.version, Path(scratch.name), manifest_sha256=config.manifest_sha256)
            manifest = read_manifest(folder, sha256=config.manifest_sha256)
            # A transformer's long text takes milliseconds that several cores can share; for a linear one they never pay.
            alone = config.threads if manifest.training.architecture is ArchitectureName.TRANSFORMER else 1
            return Classifier.assemble(folder, manifest, threads_alone=alone), manifest
        except (ArtifactRejected, StorageError) as error:
            raise click.ClickException(str(error)) from error
