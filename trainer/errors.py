"""Errors of a training, sorted by what the caller must do."""

from __future__ import annotations


class ConfigRejected(Exception):
    """A setting is wrong; the message names it, its value and what was expected."""


class DatasetRejected(Exception):
    """No examples come of this dataset; the message is one sentence that says why."""


class Terminated(BaseException):
    """The process was asked to stop. Not an Exception, so that nothing takes it for a failure of its own and goes on."""
