"""Summary of how a dataset was read, for a person to check: shown in the log, in the report and on the page of an analysis."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.data.labels.columns import Labelled, SampleCell
from trainer.data.tables import Table, counted
from trainer.shown_values import MOST_NAMES, shown, shown_names

WAYS_SHOWN = 3


@dataclass(frozen=True)
class ReadingSummary:
    """Facts on how a dataset was read, each with a heading and a short text."""

    facts: tuple[tuple[str, str], ...]

    def lines(self) -> tuple[str, ...]:
        """Return the facts as lines of a log."""
        return tuple(f"read: {heading}: {text}" for heading, text in self.facts)


NOTHING_READ = ReadingSummary(())


def summarize(
    table: Table, labelled: Labelled, *, text: tuple[str, ...], labels: tuple[str, ...], copied: bool = False
) -> ReadingSummary:
    """Summarize how the dataset was read, with two cells as examples and the first rows without a text or a label.

    text, labels: the columns; text is empty if no texts were read. copied: whether rows without a label are copied, not set
    aside.
    """
    others = len(table.columns) - len({*text, *labels} & set(table.columns))
    return ReadingSummary(
        (
            ("format", _written(table)),
            ("rows", f"{len(table.sizes):,} in {counted(len(table.places.scans), 'file')}"),
            *([("text", f"{_named(text)} {shown_names(text)}")] if text else []),
            ("labels", f"{_named(labels)} {shown_names(labels)}, {labelled.written}{_samples(table, labelled)}"),
            ("other columns", f"{others:,}, not used" if others else "none"),
            ("copied as they are" if copied else "set aside", _set_aside(table, labelled, with_texts=bool(text))),
        )
    )


def _named(columns: tuple[str, ...]) -> str:
    return "column" if len(columns) == 1 else "columns"


def _written(table: Table) -> str:
    ways = Counter(each.written for each in table.places.scans)
    if len(ways) == 1:
        return next(iter(ways))
    shown_ways = [f"{counted(count, 'file')}: {written}" for written, count in ways.most_common(WAYS_SHOWN)]
    return "; ".join(shown_ways) + (f"; and {len(ways) - WAYS_SHOWN} other ways" if len(ways) > WAYS_SHOWN else "")


def _samples(table: Table, labelled: Labelled) -> str:
    samples = [_sample(table, each) for each in labelled.samples]
    return f", such as {' and '.join(samples)}" if samples else ""


def _sample(table: Table, sample: SampleCell) -> str:
    cell = f"{shown(sample.text)} in " if sample.text else ""
    return f"{cell}{table.places.within(sample.row)}, read as {shown_names(sample.labels, most=MOST_NAMES // 4)}"


def _set_aside(table: Table, labelled: Labelled, *, with_texts: bool) -> str:
    """Return the numbers of rows without a text or a label, with the place of the first."""
    textless, unlabelled = (table.sizes == 0) & with_texts, ~labelled.given
    parts = [
        _rows(table, rows, what)
        for rows, what in (
            (textless & ~unlabelled, "without a text"),
            (unlabelled & ~textless, "without a label"),
            (textless & unlabelled, "without either"),
        )
        if rows.any()
    ]
    return "; ".join(parts) or "no row"


def _rows(table: Table, rows: NDArray[np.bool_], what: str) -> str:
    count = int(rows.sum())
    first = table.places.within(int(rows.argmax()))
    return f"{counted(count, 'row')} {what}, {'in' if count == 1 else 'the first in'} {first}"
