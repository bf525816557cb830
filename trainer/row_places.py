"""Where a row of a dataset stands in its files, for messages."""

from __future__ import annotations

from dataclasses import dataclass

from trainer.fetching import SourceFile
from trainer.formats import Format


@dataclass(frozen=True)
class RowPlaces:
    """The files of a dataset in the order of their rows, and how many rows each has."""

    files: tuple[SourceFile, ...]
    kind: Format
    rows: tuple[int, ...]

    def where(self, row: int) -> str:
        """Return the file and the place in it of a row of the dataset, counted from 0."""
        for file, rows in zip(self.files, self.rows, strict=True):
            if row < rows:
                return f"{file.name} row {row + 1:,}"
            row -= rows
        raise IndexError(row)
