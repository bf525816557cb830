"""How a command ends when the disk does not let it."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from trainer.commands.exit_codes import failures


def below_a_file(folder: Path) -> None:
    (folder / "file").touch()
    (folder / "file" / "models").mkdir()


def a_long_name(folder: Path) -> None:
    (folder / ("x" * 300)).touch()


def a_circle(folder: Path) -> None:
    (folder / "circle").symlink_to(folder / "circle")
    (folder / "circle").read_bytes()


def read_only(folder: Path) -> None:
    raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(folder))


def of_somebody_else(folder: Path) -> None:
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))


def full(folder: Path) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


@pytest.mark.parametrize(
    ("does", "code"),
    [
        pytest.param(below_a_file, 64, id="below-a-file"),
        pytest.param(a_long_name, 64, id="long-name"),
        pytest.param(a_circle, 64, id="circle"),
        pytest.param(read_only, 64, id="read-only"),
        pytest.param(of_somebody_else, 64, id="of-somebody-else"),
        pytest.param(full, 75, id="full"),
    ],
)
def test_only_a_disk_that_may_have_room_later_is_tried_again(does: Callable[[Path], None], code: int, tmp_path: Path) -> None:
    with pytest.raises(click.ClickException) as failed, failures():
        does(tmp_path)

    assert failed.value.exit_code == code
    assert str(tmp_path) in failed.value.format_message()


def test_without_a_folder_for_temporary_files_a_setting_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [str(tmp_path / "nothing")])

    with pytest.raises(click.ClickException, match="No usable temporary directory found") as failed, failures():
        tempfile.TemporaryDirectory()

    assert failed.value.exit_code == 64


def test_an_error_is_shown_on_one_line_and_acts_on_no_terminal() -> None:
    from trainer.errors import ConfigRejected

    with pytest.raises(click.ClickException) as failed, failures():
        raise ConfigRejected("the label \x1b[2Jnothing\nError: the version was published")

    assert failed.value.format_message() == "the label \\x1b[2Jnothing\\nError: the version was published"
