"""Read files into rows with labels, for every command that reads a dataset, and log how they were read."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from trainer.config.settings import DatasetConfig
from trainer.data.delimited.dialect import DelimitedOptions
from trainer.data.download import SourceFile, content_hash, unchanged
from trainer.data.labels.columns import Labelled, read_labels
from trainer.data.summary import ReadingSummary, summarize
from trainer.data.tables import Table, read_table

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class LabelledRows:
    """Rows with their labels. sha256: of the files. reading: how they were read.

    require_unchanged: raises StorageUnavailable if a file was written to since reading began.
    """

    table: Table
    labelled: Labelled
    sha256: str
    reading: ReadingSummary
    require_unchanged: Callable[[], None]


def read_rows(
    files: Sequence[SourceFile],
    config: DatasetConfig,
    *,
    scratch: Path,
    known: frozenset[str] = frozenset(),
    with_texts: bool = True,
    copied: bool = False,
    of: str = "",
) -> LabelledRows:
    """Read the files as configured, and log how they were read.

    known: expected labels, by which a separator is detected. with_texts: whether to read texts too. copied: whether rows
    without a label are copied, not set aside. of: name for the log, if it is not the dataset. Raises DatasetRejected for
    files that cannot be read, StorageUnavailable if one was written to meanwhile.
    """
    text = config.text_columns if with_texts else ()
    with unchanged(files) as require_unchanged, ThreadPoolExecutor(1) as pool:  # hashing releases the interpreter lock
        hashed = pool.submit(content_hash, files)
        table = read_table(files, text=text, labels=config.label_columns, scratch=scratch, options=DelimitedOptions.of(config))
        sha256 = hashed.result()
    labelled = read_labels(
        table.labels,
        listed=table.listed,
        marked=table.marked,
        separator=config.label_separator,
        aliases=config.aliases,
        known=known,
        where=table.places.where,
    )
    reading = summarize(table, labelled, text=text, labels=config.label_columns, copied=copied)
    for line in reading.lines():
        log.info("%s%s", f"{of}: " if of else "", line)
    return LabelledRows(table, labelled, sha256, reading, require_unchanged)
