"""Exit codes of the trainer's commands, and which error ends with which."""

from __future__ import annotations

import errno
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from model.artifact import ArtifactRejected
from model.escaping import PrintableErrors, printable
from model.storage import CANNOT_BE_WRITTEN, ObjectExists, ObjectMissing, StorageRejected, StorageUnavailable
from trainer.commands.result_file import ResultFile
from trainer.config.loading import environment
from trainer.config.settings import PREFIX
from trainer.errors import ConfigRejected, DatasetRejected, Terminated
from trainer.run import logs

log = logging.getLogger(__name__)

# Exit codes, after sysexits.h; a Job's podFailurePolicy depends on them.
CONFIG_WRONG = 64
DATASET_WRONG = 65
TEMPORARY = 75
INTERRUPTED = 130
TERMINATED = 143


@contextmanager
def failures() -> Iterator[None]:
    """Translate errors into exit codes."""
    try:
        yield
    except (ConfigRejected, StorageRejected, ArtifactRejected, ObjectExists) as error:
        raise _with_code(Failure(str(error)), CONFIG_WRONG) from error
    except (DatasetRejected, ObjectMissing) as error:
        raise _with_code(Failure(str(error)), DATASET_WRONG) from error
    except Terminated as error:
        message = "stopped by SIGTERM; the next attempt resumes from the last checkpoint, if there is one"
        raise _with_code(Failure(message), TERMINATED) from error
    except (StorageUnavailable, ConnectionError, TimeoutError) as error:
        raise _with_code(Failure(f"{error}; this may be temporary"), TEMPORARY) from error
    except OSError as error:
        if error.errno in CANNOT_BE_WRITTEN or "temporary directory" in str(error):
            named = f"{error.filename}: " if error.filename else ""
            raise _with_code(Failure(f"{named}{error.strerror}"), CONFIG_WRONG) from error
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        full = error.filename or tempfile.gettempdir()
        raise _with_code(Failure(f"the disk of {full} is full; free some space on it"), TEMPORARY) from error
    except KeyboardInterrupt:
        message = "stopped; the same command resumes from the last checkpoint, if there is one"
        raise _with_code(Failure(message), INTERRUPTED) from None


class Failure(click.ClickException):
    """Failure of a command: a sentence on standard error, or a line of JSON if the log is in JSON."""

    def format_message(self) -> str:
        """Return the message on one line, without control characters."""
        return printable(self.message)

    def show(self, file: Any = None) -> None:
        """Print the message in the format of the log."""
        if logs.in_json():
            log.error("%s", self.message, extra=logs.fields(exit_code=self.exit_code))
        else:
            super().show(file)


class CodedCommand(PrintableErrors):
    """Command that ends with `CONFIG_WRONG` if its arguments are wrong, so that no Job retries it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse as click does; write a result file and exit with `CONFIG_WRONG` if that fails."""
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            if environment().get(f"{PREFIX}PROGRESS__LOG_FORMAT") == "json":
                logs.configure("json")
            wrong = Failure(error.format_message()) if logs.in_json() else error
            with ResultFile(environment()):
                raise _with_code(wrong, CONFIG_WRONG) from None


def _with_code(error: click.ClickException, exit_code: int) -> click.ClickException:
    setattr(error, "exit_code", exit_code)  # noqa: B010 - click declares it for the class, and reads the instance's
    return error
