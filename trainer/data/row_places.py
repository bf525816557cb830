"""Places of a dataset's rows in its files, for messages."""

from __future__ import annotations

from dataclasses import dataclass

from trainer.data.formats import Scan


@dataclass(frozen=True)
class RowPlaces:
    """Files of a dataset in the order of their rows, and the number of rows of each."""

    scans: tuple[Scan, ...]
    rows: tuple[int, ...]

    def where(self, row: int) -> str:
        """Return the file and the place in it of a row of the dataset, counted from 0."""
        for scan, rows in zip(self.scans, self.rows, strict=True):
            if row < rows:
                return f"{scan.file.name} {scan.place_of(row)}"
            row -= rows
        raise IndexError(row)

    def within(self, row: int) -> str:
        """Return the place as `where` does, without the file's name if there is only one file."""
        return self.scans[0].place_of(row) if len(self.scans) == 1 else self.where(row)
