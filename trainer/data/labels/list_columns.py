"""Detect and parse a column whose cells are lists or dictionaries as text, and handle the few that are broken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from trainer.data.labels.list_cells import CLOSING, Cell, NoMark, Unreadable, read_cell
from trainer.errors import DatasetRejected
from trainer.shown_values import shown

# Shares of the rows with a cell: at most FEW_BROKEN may be broken; if NEARLY_ALL are in brackets, the column holds lists.
FEW_BROKEN = 0.05
NEARLY_ALL = 0.95
HALF = 0.5
MOST_BROKEN_NAMED = 3
EXPECTED = "expected a list such as \"['a', 'b']\""


@dataclass(frozen=True, eq=False)
class Cells:
    """Labels in the distinct strings of a label column.

    pairs: all labels of all strings, the index `string` and the `label`. empty: strings that are known to have no label.
    written: notation of labels, in words. listed: whether the notation allows several labels in a cell.
    """

    pairs: pl.DataFrame
    empty: NDArray[np.bool_]
    written: str
    listed: bool
    notes: tuple[str, ...] = ()


def read_cells(distinct: pl.Series, rows: NDArray[np.int64], where: Callable[[int], str]) -> Cells | None:
    """Return the labels in lists and dictionaries; None if the column holds plain names.

    rows: number of rows with each string. where: returns the place of a string's first row. Cells that cannot be read have
    no labels and are named in a note. Raises DatasetRejected if they are many, or if a dictionary has values other than 0
    and 1.
    """
    if not distinct.str.contains(r'^\s*(?:"?[\[({]|[\w.]+\()').any():
        return None
    read = [_attempt(text, number, where) for number, text in enumerate(distinct)]
    kinds = _Kinds(distinct, read, rows)
    if not kinds.are_lists():
        return None
    cells = kinds.settled()
    broken = {number: cell for number, cell in enumerate(cells) if isinstance(cell, str)}
    notes = _set_aside(broken, distinct, rows, where)
    return _together([None if isinstance(cell, str) else cell for cell in cells], rows, notes)


def _attempt(text: str, number: int, where: Callable[[int], str]) -> Cell | str | None:
    """Return the cell, None for a plain name, or the reason why a cell that looks like a list cannot be parsed."""
    try:
        return read_cell(text)
    except Unreadable as error:
        return str(error)
    except NoMark as error:
        raise DatasetRejected(
            f"labels are given as dictionaries, and {where(number)} holds {shown(error)}: expected 0 or 1 for each label"
        ) from error


class _Kinds:
    """Classification of the column's strings as lists, broken lists or plain names."""

    def __init__(self, distinct: pl.Series, read: Sequence[Cell | str | None], rows: NDArray[np.int64]) -> None:
        self._strings, self._read, self._rows = [text.strip() for text in distinct], read, rows
        self._filled = sum(count for text, count in zip(self._strings, rows.tolist(), strict=True) if text)
        self._names = frozenset(name for cell in read if isinstance(cell, Cell) for name in cell.labels)

    def _share(self, wanted: Callable[[Cell | str | None], bool]) -> float:
        counted: int = sum(count for cell, count in zip(self._read, self._rows.tolist(), strict=True) if wanted(cell))
        return counted / max(1, int(self._filled))

    def are_lists(self) -> bool:
        """Return whether the column holds lists.

        It does if a cell is certainly a list, if at least half of the rows have quotes in a cell that cannot be parsed, or if
        nearly all cells are in brackets and more of them can be parsed than not.
        """
        if any(isinstance(cell, Cell) and cell.certain for cell in self._read):
            return True
        readable = self._share(lambda cell: isinstance(cell, Cell))
        broken = self._share(lambda cell: isinstance(cell, str))
        if self._quoted_and_broken() >= HALF:  # such as lists of lists or of dictionaries
            return True
        return readable > broken and readable + broken >= NEARLY_ALL

    def _quoted_and_broken(self) -> float:
        each = zip(self._strings, self._read, self._rows.tolist(), strict=True)
        counted: int = sum(count for text, cell, count in each if isinstance(cell, str) and ('"' in text or "'" in text))
        return counted / max(1, int(self._filled))

    def settled(self) -> list[Cell | str | None]:
        """Return a cell for each string of a column of lists: None for "", the reason for one that cannot be parsed."""
        mostly = self._share(lambda cell: cell is not None) >= HALF
        return [self._settle(text, cell, mostly=mostly) for text, cell in zip(self._strings, self._read, strict=True)]

    def _settle(self, text: str, cell: Cell | str | None, *, mostly: bool) -> Cell | str | None:
        if not text:
            return None
        if isinstance(cell, Cell) and (cell.certain or mostly):
            return cell
        if isinstance(cell, str) and mostly:
            return cell
        if isinstance(cell, str) and any(mark in text for mark in "'\""):
            return cell
        if cell is None and self._is_half_a_list(text, mostly=mostly):
            return "not a list"
        return Cell((text,), given=True, written="plain names", certain=False)

    def _is_half_a_list(self, text: str, *, mostly: bool) -> bool:
        """Return whether a plain cell among lists is more likely a part of a list than a name."""
        if text in self._names:
            return False
        if text[-1] in CLOSING.values() and not any(opening in text for opening in CLOSING):
            return True
        parts = [part.strip(" '\"[](){}") for separator in ",;|" if separator in text for part in text.split(separator)]
        quoted = text[0] in "'\"" and bool(parts)
        return mostly and (quoted or any(part in self._names for part in parts))


def _set_aside(
    broken: dict[int, str], distinct: pl.Series, rows: NDArray[np.int64], where: Callable[[int], str]
) -> tuple[str, ...]:
    if not broken:
        return ()
    count, filled = int(rows[list(broken)].sum()), int(rows[(distinct.str.strip_chars() != "").to_numpy()].sum())
    first = next(iter(broken))
    if count > FEW_BROKEN * filled:
        raise DatasetRejected(
            f"labels are given as lists, but {count:,} of {filled:,} cells are not lists: {where(first)} holds "
            f"{shown(distinct[first])} ({broken[first]}); {EXPECTED}"
        )
    named = "; ".join(
        f"{where(number)} holds {shown(distinct[number])} ({broken[number]})" for number in list(broken)[:MOST_BROKEN_NAMED]
    )
    more = f" and {len(broken) - MOST_BROKEN_NAMED:,} more" if len(broken) > MOST_BROKEN_NAMED else ""
    cells = "1 cell that is not a list was" if count == 1 else f"{count:,} cells that are not lists were"
    return (f"labels are given as lists; {cells} read as missing: {named}{more}",)


def _together(cells: Sequence[Cell | None], rows: NDArray[np.int64], notes: tuple[str, ...]) -> Cells:
    labels = [(number, label) for number, cell in enumerate(cells) if cell for label in cell.labels]
    pairs = pl.DataFrame(labels, schema={"string": pl.Int64, "label": pl.String}, orient="row")
    empty = np.array([cell is not None and cell.given and not cell.labels for cell in cells], np.bool_)
    ways: Counter[str] = Counter()
    for cell, count in zip(cells, rows.tolist(), strict=True):
        if cell:
            ways[cell.written] += count if cell.labels else 0
    written = " and ".join(way for way, _ in ways.most_common(2)) or "lists"
    return Cells(pairs.with_columns(pl.col("label").str.strip_chars()), empty, written, listed=True, notes=notes)
