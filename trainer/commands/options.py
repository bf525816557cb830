"""What the trainer's commands share: options, the configuration they make, and exit codes for what can go wrong."""

from __future__ import annotations

import errno
import logging
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from model.artifact import ArtifactRejected
from model.printable import PrintableErrors, printable
from model.storage import CANNOT_BE_WRITTEN, ObjectExists, ObjectMissing, StorageRejected, StorageUnavailable
from trainer.commands.result_file import ResultFile
from trainer.config.loading import environment, load, parse_override
from trainer.config.settings import PREFIX, Config
from trainer.errors import ConfigRejected, DatasetRejected, Terminated
from trainer.run import logs

log = logging.getLogger(__name__)

# Exit codes, after sysexits.h: what a Job's podFailurePolicy decides by.
CONFIG_WRONG = 64
DATASET_WRONG = 65
TRY_AGAIN = 75
INTERRUPTED = 130
TERMINATED = 143

Command = TypeVar("Command", bound=Callable[..., Any])


@contextmanager
def failures() -> Iterator[None]:
    """Translate what can go wrong into exit codes."""
    try:
        yield
    except (ConfigRejected, StorageRejected, ArtifactRejected, ObjectExists) as error:
        raise _with_code(Failure(str(error)), CONFIG_WRONG) from error
    except (DatasetRejected, ObjectMissing) as error:
        raise _with_code(Failure(str(error)), DATASET_WRONG) from error
    except Terminated as error:
        message = "stopped by SIGTERM; the same run goes on from its last checkpoint, if there is one"
        raise _with_code(Failure(message), TERMINATED) from error
    except (StorageUnavailable, ConnectionError, TimeoutError) as error:
        raise _with_code(Failure(f"{error}; trying again may help"), TRY_AGAIN) from error
    except OSError as error:
        if error.errno in CANNOT_BE_WRITTEN or "temporary directory" in str(error):
            named = f"{error.filename}: " if error.filename else ""
            raise _with_code(Failure(f"{named}{error.strerror}"), CONFIG_WRONG) from error
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        full = error.filename or tempfile.gettempdir()
        raise _with_code(Failure(f"the disk of {full} is full; trying again may help"), TRY_AGAIN) from error
    except KeyboardInterrupt:
        message = "stopped; the same command again goes on from the last checkpoint, if there is one"
        raise _with_code(Failure(message), INTERRUPTED) from None


class Failure(click.ClickException):
    """A sentence for people, or a line of JSON where the log is of such."""

    def format_message(self) -> str:
        """The sentence, on one line, without characters that a terminal obeys."""
        return printable(self.message)

    def show(self, file: Any = None) -> None:
        """As the log is written."""
        if logs.in_json():
            log.error("%s", self.message, extra=logs.fields(exit_code=self.exit_code))
        else:
            super().show(file)


class CodedCommand(PrintableErrors):
    """A command whose wrong use ends like a wrong configuration: no Job should try it again."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does, with our exit code, and an outcome for whoever started it."""
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


def option(*names: str, setting: str, help: str, **kind: Any) -> Callable[[Command], Command]:  # noqa: A002 - click's word
    """A command-line option for one setting, such as `dataset.uri`; unset, the file or the default decides."""
    return click.option(*names, setting.replace(".", "__"), default=None, help=help, **kind)


TEXT_COLUMNS = option(
    "--text-columns",
    setting="dataset.text_columns",
    help="Columns joined into the text, separated by commas.  [default: title,abstract]",
)
LABEL_COLUMN = option(
    "--label-column",
    setting="dataset.label_columns",
    help="Column of labels, or several 0/1 columns, separated by commas.  [default: categories]",
)
OVERRIDES = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Any setting that `labelwright settings` prints: --set training.batch_size=16.",
)
CONFIG_FILE = click.option(
    "--config", "file", type=click.Path(path_type=Path), help="A YAML file of settings; options win over it."
)


def configure(file: Path | None, overrides: tuple[str, ...], options: dict[str, Any]) -> Config:
    """The configuration of a file, the environment, `--set` and the command's own options, the later winning."""
    given = {name.replace("__", "."): value for name, value in options.items() if value is not None and value is not False}
    for setting in ("dataset.text_columns", "dataset.label_columns"):
        if setting in given:
            given[setting] = [each.strip() for each in given[setting].split(",")]
    return load(file, dict(map(parse_override, overrides)) | given, environment())
