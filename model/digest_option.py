"""Option `--manifest-sha256` of commands, and their error for a version that is not the expected one."""

from __future__ import annotations

import re

import click


class VersionRejected(click.ClickException):
    """The version is incomplete, altered, or not the expected one."""

    exit_code = 65


def sha256(_: click.Context, option: click.Parameter, value: str | None) -> str | None:
    """Return the option's value in lower case. Raises click.BadParameter if it is no SHA-256."""
    if value is None:
        return None
    if not re.fullmatch(r"[0-9A-Fa-f]{64}", value):
        raise click.BadParameter(f"{value[:200]!r}: expected the 64 hexadecimal digits of a SHA-256", param=option)
    return value.lower()
