"""Result of an attempt, written to a file (on Kubernetes, the Pod's termination message) however the attempt ends."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import click

from model.run_result import RunResult, write
from trainer.config.settings import PREFIX
from trainer.errors import ConfigRejected

if TYPE_CHECKING:
    from trainer.publishing import Published

log = logging.getLogger(__name__)


class ResultFile:
    """Context manager around an attempt that writes its result."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Take the path from the environment until `write_to` is called, so that a wrong configuration has a result too."""
        said = environment.get(f"{PREFIX}RESULT_FILE")
        self._path = Path(said) if said else None
        self._result = RunResult(exit_code=0)
        self._started = time.monotonic()

    def write_to(self, path: Path | None) -> None:
        """Set the path; None: write nothing. Raises ConfigRejected if the file cannot be opened for writing."""
        self._path = None
        try:
            if path is not None:
                path.open("ab").close()
        except OSError as error:
            raise ConfigRejected(f"result_file is {str(path)!r}: it cannot be written: {error.strerror}") from error
        self._path = path

    def published(self, published: Published) -> None:
        """Set the result of a training: a published version."""
        manifest, gate = published.manifest, published.gate
        test, verdict = manifest.dataset.test, gate.verdict
        self._result = RunResult(
            exit_code=0,
            message="" if verdict.passed and gate.not_compared is None else verdict.message,
            classifier=manifest.classifier,
            version=manifest.version,
            artifact_uri=published.uri,
            manifest_sha256=published.manifest_sha256,
            dataset_sha256=manifest.dataset.own_sha256,
            test_sha256=test.sha256 if test else None,
            best_checkpoint=published.best_checkpoint,
            mlflow_run_id=published.mlflow_run_id,
            gate=gate,
        )

    def checked(self, *, dataset_sha256: str, test_sha256: str | None) -> None:
        """Set the result of a check of the dataset."""
        self._result = RunResult(exit_code=0, dataset_sha256=dataset_sha256, test_sha256=test_sha256)

    def pruned(self, classifier: str) -> None:
        """Set the result of a deletion of versions."""
        self._result = RunResult(exit_code=0, classifier=classifier)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._path is None:
            return
        result = self._result
        if isinstance(error, click.ClickException):
            result = RunResult(exit_code=error.exit_code, message=error.message)
        elif isinstance(error, SystemExit):
            result = RunResult(exit_code=error.code if isinstance(error.code, int) else 1)
        elif error is not None:
            result = RunResult(exit_code=1, message=f"{type(error).__name__}: {error}")
        try:
            write(result.model_copy(update={"seconds": round(time.monotonic() - self._started, 1)}), self._path)
        except OSError as failed:  # the error of the attempt itself matters more
            log.warning("result_file is %r: it could not be written: %s", str(self._path), failed.strerror)
