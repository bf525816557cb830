"""Read files of one format into one table of texts and labels: the texts in a Parquet file, the rest in memory.

Knows columns and their types. Labels are parsed by trainer.data.labels.columns.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from model.storage import StorageUnavailable
from trainer.data.broken_files import explain, first_line
from trainer.data.compression import NOT_COMPRESSED
from trainer.data.delimited.dialect import DelimitedOptions
from trainer.data.download import SourceFile
from trainer.data.examples import WINDOW_ROWS
from trainer.data.formats import AS_EVER, Format, Scan, format_of, scan
from trainer.data.labels.list_cells import ONES, ZEROS
from trainer.data.row_places import RowPlaces
from trainer.errors import DatasetRejected
from trainer.shown_values import MOST_CHARACTERS, escaped, shown, shown_names, shown_type

# Separator of the labels of a list: ASCII's unit separator, which labels do not contain.
UNIT = "\x1f"
NUMBERS_SAMPLE = 1_000
NUMBER = r"^[\d\s.,:eE+-]*\d[\d\s.,:eE+-]*$"


@dataclass(frozen=True)
class Table:
    """Texts and labels of a dataset, row by row.

    file: Parquet with the column `text`: the text columns joined, without surrounding blanks, "" if there is no text.
    sizes: bytes of each text [rows].
    labels: each row's labels as a string or null [rows].
    listed: whether labels in such a string are separated by `UNIT`, and "" is a row known to have none; otherwise it is as
    in the files. marked: whether the labels come from several columns of 0 and 1.
    columns: all columns of the files. places: of the rows in the files.
    """

    file: Path
    sizes: NDArray[np.uint32]
    labels: pl.Series
    listed: bool
    marked: bool
    columns: tuple[str, ...]
    places: RowPlaces
    notes: tuple[str, ...]


def read_table(
    files: Sequence[SourceFile],
    *,
    text: tuple[str, ...],
    labels: tuple[str, ...],
    scratch: Path,
    options: DelimitedOptions = AS_EVER,
) -> Table:
    """Return all rows of all files, in the order of the files' names.

    Raises DatasetRejected if the files have several formats or an unknown one, are broken, or lack a column.
    """
    kind, files, notes = _of_one_format(files)
    folder = Path(tempfile.mkdtemp(dir=scratch, prefix="texts-"))
    wanted = tuple(dict.fromkeys(text + labels))
    scans: list[Scan] = []
    try:
        scans.extend(scan(file, kind, wanted, scratch=folder, options=options) for file in files)
        columns = tuple(dict.fromkeys(name for each in scans for name in each.columns))
        _check_columns(scans, wanted, sparse=kind is Format.JSON_LINES)
        frames = [each.frame([name for name in wanted if name in each.columns]) for each in scans]
        notes += tuple(note for each in scans for note in each.notes)
        notes += _notes_on_numbers(files, frames, text)
        plans = [_plan(file.name, frame, text, labels) for file, frame in zip(files, frames, strict=True)]
        numbered = [plan.with_columns(file=pl.lit(number, pl.UInt32)) for number, (plan, _) in enumerate(plans)]
        pl.concat(numbered).sink_parquet(
            folder / "texts.parquet", compression="uncompressed", row_group_size=WINDOW_ROWS, statistics=False
        )
    except (*NOT_COMPRESSED, pl.exceptions.PolarsError, ValueError, OSError) as error:
        raise _translated(error, files, kind, scans, options, wanted) from error
    if len({listed for _, listed in plans}) > 1:
        raise DatasetRejected(f"label column {shown(labels[0])} holds lists in some files and single values in others")
    places = RowPlaces(tuple(scans), _rows_of_files(folder / "texts.parquet", len(files)))
    return _table(
        folder / "texts.parquet", listed=plans[0][1], marked=len(labels) > 1, columns=columns, places=places, notes=notes
    )


def counted(count: int, noun: str) -> str:
    """Return the count with its noun: "1 row", "2,000 rows"."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def _of_one_format(files: Sequence[SourceFile]) -> tuple[Format, list[SourceFile], tuple[str, ...]]:
    """Return the common format of the files, the files of it that are not empty, and notes on the others."""
    by_format: dict[Format | None, list[SourceFile]] = defaultdict(list)
    for file in files:
        by_format[format_of(file.name)].append(file)
    strange = [file.name for file in by_format.pop(None, [])]
    if not by_format:
        raise DatasetRejected(
            f"{_named(strange)}: expected a name in .parquet, .csv, .tsv or .jsonl, maybe with .gz, .zst, .bz2 or .xz"
        )
    if len(by_format) > 1:
        found = "; ".join(f"{kind}: {_named([file.name for file in those])}" for kind, those in by_format.items() if kind)
        raise DatasetRejected(f"the files are of several formats ({found}): name those of one with a glob, such as folder/*.csv")
    [(kind, ours)] = by_format.items()
    empty = [file.name for file in ours if file.path.stat().st_size == 0]
    full = [file for file in ours if file.name not in empty]
    if kind is None or not full:
        raise DatasetRejected(f"{_named(empty)} holds no bytes")
    notes = [f"left out, as no data: {counted(len(strange), 'file')}: {_named(strange)}"] if strange else []
    notes += [f"left out, as empty: {counted(len(empty), 'file')}: {_named(empty)}"] if empty else []
    return kind, full, tuple(notes)


def _check_columns(scans: Sequence[Scan], wanted: tuple[str, ...], *, sparse: bool) -> None:
    """Raise DatasetRejected if a file lacks a wanted column. sparse: for JSON Lines, one file with the column is enough."""
    everywhere = tuple(dict.fromkeys(name for each in scans for name in each.columns))
    for each in scans:
        names = everywhere if sparse else each.columns
        missing = [name for name in wanted if name not in names]
        if missing:
            raise DatasetRejected(f"{each.file.name} has no column {shown_names(missing)}; found {shown_names(names) or 'none'}")


def _plan(name: str, frame: pl.LazyFrame, text: tuple[str, ...], labels: tuple[str, ...]) -> tuple[pl.LazyFrame, bool]:
    """Return the rows as `text`, `labels`, `size`, `odd` (a value other than 0 and 1) and `blank` (number of empty cells of
    the label columns), and whether labels are listed.
    """
    schema = frame.collect_schema()
    whole = _text(name, schema, text)
    if len(labels) > 1:
        marked, odd, blank = _marked(name, schema, labels)
        listed = True
    else:
        marked, listed = _labels(name, schema, labels[0])
        odd, blank = pl.lit(None, pl.String), pl.lit(0, pl.UInt32)
    plan = frame.select(text=whole, labels=marked, odd=odd, blank=blank).with_columns(size=pl.col("text").str.len_bytes())
    return plan, listed


def _text(name: str, schema: pl.Schema, columns: tuple[str, ...]) -> pl.Expr:
    stripped = [_plain(name, schema, column, "text").str.strip_chars() for column in columns if column in schema]
    if not stripped:
        return pl.lit("")
    if len(stripped) == 1:
        return stripped[0].fill_null("")
    filled = [pl.when(part != "").then(part) for part in stripped]
    return pl.concat_str(filled, separator="\n", ignore_nulls=True)


def _plain(name: str, schema: pl.Schema, column: str, meaning: str) -> pl.Expr:
    kind = schema[column]
    if kind.is_nested() or kind == pl.Object:
        raise DatasetRejected(f"{name}: {meaning} column {shown(column)} holds {shown_type(kind)}: expected text")
    values = pl.col(column)
    if kind.is_float():  # pandas' type for whole numbers with missing values
        return values.fill_nan(None).cast(pl.String).str.replace(r"\.0$", "")
    return values if kind == pl.String else values.cast(pl.String)


def _labels(name: str, schema: pl.Schema, column: str) -> tuple[pl.Expr, bool]:
    if column not in schema:
        return pl.lit(None, pl.String), False
    if type(schema[column]).__name__ == "Map":  # since polars 2.0; earlier releases read Arrow's maps as lists of pairs
        frame = pl.LazyFrame(schema=schema).select(pl.col(column).map.entries())
        return _labels_of(name, column, pl.col(column).map.entries(), frame.collect_schema()[column])
    return _labels_of(name, column, pl.col(column), schema[column])


def _labels_of(name: str, column: str, values: pl.Expr, kind: pl.DataType) -> tuple[pl.Expr, bool]:
    if kind.is_nested() and "Binary" in str(kind):  # strings, as Spark and Impala store them; polars writes no JSON of them
        kind = _of_strings(kind)
        values = values.cast(kind)
    if isinstance(kind, pl.Struct):  # as JSON Lines has it
        return pl.when(values.is_not_null()).then(values.struct.json_encode()), False
    if not isinstance(kind, pl.List | pl.Array):
        return _plain(name, pl.Schema({column: kind}), column, "label").str.strip_chars(), False
    lists = values.arr.to_list() if isinstance(kind, pl.Array) else values
    inner = pl.Schema({"": kind.inner})[""] if kind.inner is not None else pl.String()
    if isinstance(inner, pl.Struct) and {each.name for each in inner.fields} == {"key", "value"}:  # a map of Arrow's
        pairs = lists.list.eval(pl.element().struct.json_encode()).list.join(",")
        return pl.when(lists.is_not_null()).then(pl.format("[{}]", pairs)), False
    if inner.is_nested():
        raise DatasetRejected(f"{name}: label column {shown(column)} holds {shown_type(kind)}: expected lists of text")
    apart = pl.element().cast(pl.String).str.replace_all(UNIT, " ", literal=True)
    joined = lists.list.eval(apart).list.join(UNIT, ignore_nulls=True)
    # Only an empty list becomes "": a list of only null or "" is missing.
    return pl.when((lists.list.len() == 0) | (joined != "")).then(joined), True


def _of_strings(kind: pl.DataType) -> pl.DataType:
    """Return the type with strings in place of bytes."""
    if isinstance(kind, pl.Struct):
        return pl.Struct({each.name: _of_strings(pl.Schema({"": each.dtype})[""]) for each in kind.fields})
    if isinstance(kind, pl.List | pl.Array):
        inner = _of_strings(pl.Schema({"": kind.inner})[""])
        return pl.List(inner) if isinstance(kind, pl.List) else pl.Array(inner, kind.shape[0])
    return pl.String() if kind == pl.Binary else kind


def _marked(name: str, schema: pl.Schema, columns: tuple[str, ...]) -> tuple[pl.Expr, pl.Expr, pl.Expr]:
    """Return the names of the columns that are 1, the first value that is not 1, 0 or empty, and the number of empty cells."""
    values = {
        column: _plain(name, schema, column, "label").str.strip_chars().str.to_lowercase().fill_null("")
        for column in columns
        if column in schema
    }
    lacking = len(columns) - len(values)
    names = [pl.when(value.is_in(ONES)).then(pl.lit(column)) for column, value in values.items()]
    odd = [
        pl.when(~value.is_in([*ONES, *ZEROS, ""])).then(pl.lit(f"{column}: ") + pl.col(column).cast(pl.String))
        for column, value in values.items()
    ]
    blank = pl.sum_horizontal([(value == "").cast(pl.UInt32) for value in values.values()]) + lacking
    marked = pl.concat_str(names, separator=UNIT, ignore_nulls=True)
    # Only a row of zeros becomes "": with an empty cell and no 1, it is not known to have no label.
    return pl.when((blank == 0) | (marked != "")).then(marked), pl.coalesce(odd), blank.cast(pl.UInt32)


def _rows_of_files(texts: Path, files: int) -> tuple[int, ...]:
    counts = dict(pl.scan_parquet(texts).group_by("file").len().collect().iter_rows())
    return tuple(int(counts.get(number, 0)) for number in range(files))


def _table(
    file: Path, *, listed: bool, marked: bool, columns: tuple[str, ...], places: RowPlaces, notes: tuple[str, ...]
) -> Table:
    scan = pl.scan_parquet(file)
    odd = scan.select(pl.col("odd").drop_nulls().head(1)).collect()["odd"]
    if len(odd):
        column, _, value = odd[0].partition(": ")
        raise DatasetRejected(f"label column {shown(column)} holds {shown(value)}: several label columns hold 0 or 1 each")
    blank = scan.filter(pl.col("labels").is_not_null()).select(pl.col("blank").cast(pl.Int64).sum()).collect().item()
    notes += (f"read as 0: {counted(blank, 'empty cell')} of the label columns",) if blank else ()
    rest = scan.select("labels", "size").collect()
    return Table(file, rest["size"].to_numpy(), rest["labels"], listed, marked, columns, places, notes)


def _notes_on_numbers(files: Sequence[SourceFile], frames: Sequence[pl.LazyFrame], columns: tuple[str, ...]) -> tuple[str, ...]:
    """Return a note if the first values of some text columns are only numbers. Raises DatasetRejected if those of all are."""
    heads = [_as_written(file.name, frame, columns) for file, frame in zip(files, frames, strict=True)]
    sample = pl.concat(heads).head(NUMBERS_SAMPLE).collect()
    values = {column: sample[column].drop_nulls().str.strip_chars() for column in columns}
    filled = {column: written.filter(written != "") for column, written in values.items()}
    numbers = {column: written[0] for column, written in filled.items() if len(written) and written.str.contains(NUMBER).all()}
    if not numbers:
        return ()
    named = " and ".join(f"{shown(column)} (such as {shown(value)})" for column, value in numbers.items())
    holds = f"text column{' ' if len(numbers) == 1 else 's '}{named} hold{'s' if len(numbers) == 1 else ''} only numbers"
    if all(column in numbers for column, written in filled.items() if len(written)):
        raise DatasetRejected(f"{holds}: expected text; dataset.text_columns names the columns of the texts")
    return (f"{holds}, which are read as words; remove columns without meaning from dataset.text_columns",)


def _as_written(name: str, frame: pl.LazyFrame, columns: tuple[str, ...]) -> pl.LazyFrame:
    """Return the text columns of the first rows as strings; null for columns that the file does not have."""
    schema = frame.collect_schema()
    present = [_plain(name, schema, column, "text").alias(column) for column in columns if column in schema]
    lacking = [pl.lit(None, pl.String).alias(column) for column in columns if column not in schema]
    return frame.head(NUMBERS_SAMPLE).select(*present).with_columns(lacking).select(columns)


def _translated(
    error: Exception,
    files: Sequence[SourceFile],
    kind: Format,
    scans: Sequence[Scan],
    options: DelimitedOptions,
    wanted: tuple[str, ...],
) -> Exception:
    faults = (f"{each.file.name} {fault}" for each in scans if each.delimited and (fault := each.delimited.fault()))
    fault = next(faults, None) or explain(files, kind, encoding=options.encoding, columns=wanted)
    if fault:
        return DatasetRejected(fault)
    message = f"cannot read {_named([file.name for file in files])}: {first_line(error)}"
    return StorageUnavailable(message) if isinstance(error, OSError) else DatasetRejected(message)


def _named(names: Sequence[str]) -> str:
    """Return the first few names, and the number of the others."""
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(escaped(name, MOST_CHARACTERS) for name in names[:5]) + more
