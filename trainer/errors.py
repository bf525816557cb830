"""Why a dataset is refused. A setting's own is trainer.config.ConfigRejected."""

from __future__ import annotations


class DatasetRejected(Exception):
    """No examples come of this dataset; the message is one sentence that says why."""
