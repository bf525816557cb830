"""Balance a file of labelled texts into another: read the labels, then copy, repeat or leave out rows."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.manifest import Task
from trainer.balance.imbalance import Imbalance, measure
from trainer.balance.strategies import positions
from trainer.config.settings import Config
from trainer.data.arxiv import with_preset
from trainer.data.download import fetch
from trainer.data.examples import Examples
from trainer.data.labels.columns import Labelled
from trainer.data.reading import as_mark, label_is_required
from trainer.data.rows import read_rows
from trainer.data.tables import Table
from trainer.data.writing import copy_rows, refuse_same, target_at
from trainer.errors import DatasetRejected
from trainer.shown_values import shown_names

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BalancedFile:
    """Result of balancing a file: its URI, the imbalance before and after, and notes on how the labels were read."""

    uri: str
    before: Imbalance
    after: Imbalance
    notes: tuple[str, ...]


def balance_file(config: Config, target: str, *, with_texts: bool, scratch: Path) -> BalancedFile:
    """Write the rows of `config.dataset.uri` to `target`, balanced as in `config.balance`. Rows are not changed.

    with_texts: whether the strategy uses the texts. Aliases are applied, as for training. All labels count, including rare
    ones, and rows whose label or text is missing are copied. Raises ConfigRejected, DatasetRejected, StorageError.
    """
    out = target_at(target, setting="OUT")
    dataset = with_preset(config.dataset, config.dataset.uri)
    log.info("reading %s", dataset.uri)
    files = fetch(dataset.uri, scratch=scratch, setting="IN")
    refuse_same(dataset.uri, files, out)
    read = read_rows(files, dataset, scratch=scratch, with_texts=with_texts, copied=True)
    table, labelled = read.table, read.labelled
    if dataset.label_required is False:
        labelled = as_mark(labelled, dataset)
    if not labelled.names:
        raise DatasetRejected(f"IN {dataset.uri!r}: no row has a label; found columns: {shown_names(table.columns)}")
    times = _times(table, labelled, config)
    log.info("writing %s", out.uri)
    copy_rows(table.places.scans, times, out, scratch=scratch, require_unchanged=read.require_unchanged)
    before, after = measure(labelled.targets), measure(labelled.targets[np.repeat(np.arange(len(times)), times)])
    return BalancedFile(out.uri, before, after, table.notes + labelled.notes)


def _times(table: Table, labelled: Labelled, config: Config) -> NDArray[np.int64]:
    """Return how often each row is written [rows]."""
    task = Task.MULTI_LABEL if labelled.several else Task.SINGLE_LABEL
    rows = np.arange(len(table.sizes))
    examples = Examples(table.file, rows, labelled.names, labelled.targets, task)
    if label_is_required(labelled, config.dataset):
        return np.bincount(positions(examples, config.balance, seed=config.training.seed), minlength=len(rows))
    known = np.flatnonzero(labelled.given)  # rows whose labels are missing do not count as texts without a label
    chosen = positions(replace(examples, label_required=False).select(known), config.balance, seed=config.training.seed)
    times = np.bincount(known[chosen], minlength=len(rows))
    times[~labelled.given] = 1
    return times
