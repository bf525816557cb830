"""Errors of a training, by what the caller must do."""

from __future__ import annotations


class ConfigRejected(Exception):
    """A setting is wrong; the message names it, its value and what was expected."""


class DatasetRejected(Exception):
    """The dataset cannot be used; the message says why in one sentence."""


class Terminated(BaseException):
    """The process was asked to stop. Not an Exception, so that no handler of failures catches it and continues."""
