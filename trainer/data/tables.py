"""Files of one format to one table of texts and labels: the texts in a Parquet file, the rest in memory.

Knows columns and their types, not what a label is: that is trainer.data.labels.columns.
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
from trainer.data.labels.cells import ONES, ZEROS
from trainer.data.row_places import RowPlaces
from trainer.errors import DatasetRejected
from trainer.messages import MOST_CHARACTERS, escaped, shown, shown_names, shown_type

# Between the labels of a list. Made to separate units of text, so no label holds it.
UNIT = "\x1f"
NUMBERS_SAMPLE = 1_000
NUMBER = r"^[\d\s.,:eE+-]*\d[\d\s.,:eE+-]*$"


@dataclass(frozen=True)
class Table:
    """The texts and labels of a dataset, row by row, as its files hold them.

    file: Parquet with the column `text`: the text columns joined, without surrounding blanks, "" where there is none.
    sizes: bytes of each text [rows].
    labels: each row's labels as a string or null [rows].
    listed: several labels stand in such a string with `UNIT` between them, and "" is a row that is known to have none;
    otherwise as the files have it. marked: they come of several columns of 0 and 1.
    columns: every column found. places: where each row stands in the files.
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
    """All rows of all files, in the order of the files' names.

    Raises DatasetRejected if the files are of several formats or of none, broken, or lack a column.
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
    """The count with its noun: "1 row", "2,000 rows"."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def _of_one_format(files: Sequence[SourceFile]) -> tuple[Format, list[SourceFile], tuple[str, ...]]:
    """The format that the files share, those of it that hold anything, and notes on the others."""
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
    """Every column that is wanted is in every file; of JSON Lines, whose objects may leave keys out, in one of them."""
    everywhere = tuple(dict.fromkeys(name for each in scans for name in each.columns))
    for each in scans:
        names = everywhere if sparse else each.columns
        missing = [name for name in wanted if name not in names]
        if missing:
            raise DatasetRejected(f"{each.file.name} has no column {shown_names(missing)}; found {shown_names(names) or 'none'}")


def _plan(name: str, frame: pl.LazyFrame, text: tuple[str, ...], labels: tuple[str, ...]) -> tuple[pl.LazyFrame, bool]:
    """The rows as `text`, `labels`, `size`, `odd`, a value that is no mark, and `blank`, how many marks are none; and whether
    labels are listed.
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
    if kind.is_float():  # what pandas makes of whole numbers with gaps
        return values.fill_nan(None).cast(pl.String).str.replace(r"\.0$", "")
    return values if kind == pl.String else values.cast(pl.String)


def _labels(name: str, schema: pl.Schema, column: str) -> tuple[pl.Expr, bool]:
    if column not in schema:
        return pl.lit(None, pl.String), False
    if type(schema[column]).__name__ == "Map":  # polars has it since 2.0, and read Arrow's maps as lists of pairs before
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
    # Only an empty list is "": one that holds nothing but null or "" is missing.
    return pl.when((lists.list.len() == 0) | (joined != "")).then(joined), True


def _of_strings(kind: pl.DataType) -> pl.DataType:
    """The type with strings where it has bytes."""
    if isinstance(kind, pl.Struct):
        return pl.Struct({each.name: _of_strings(pl.Schema({"": each.dtype})[""]) for each in kind.fields})
    if isinstance(kind, pl.List | pl.Array):
        inner = _of_strings(pl.Schema({"": kind.inner})[""])
        return pl.List(inner) if isinstance(kind, pl.List) else pl.Array(inner, kind.shape[0])
    return pl.String() if kind == pl.Binary else kind


def _marked(name: str, schema: pl.Schema, columns: tuple[str, ...]) -> tuple[pl.Expr, pl.Expr, pl.Expr]:
    """The names of the columns that hold 1, the first value that is neither 1 nor 0 nor nothing, and how many are nothing."""
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
    # Only a row of zeros is "": with an empty cell and no 1, nobody has said that it carries none of the labels.
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
    notes += (f"taken for 0: {counted(blank, 'empty cell')} of the label columns",) if blank else ()
    rest = scan.select("labels", "size").collect()
    return Table(file, rest["size"].to_numpy(), rest["labels"], listed, marked, columns, places, notes)


def _notes_on_numbers(files: Sequence[SourceFile], frames: Sequence[pl.LazyFrame], columns: tuple[str, ...]) -> tuple[str, ...]:
    """A note if some text columns begin with nothing but numbers. Raises DatasetRejected if all that hold anything do."""
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
    return (f"{holds}, which are read as words; leave out of dataset.text_columns what says nothing",)


def _as_written(name: str, frame: pl.LazyFrame, columns: tuple[str, ...]) -> pl.LazyFrame:
    """The first rows' text columns as strings, null where the file has no such column."""
    schema = frame.collect_schema()
    found = {column: _plain(name, schema, column, "text").alias(column) for column in columns if column in schema}
    lacking = [pl.lit(None, pl.String).alias(column) for column in columns if column not in schema]
    return frame.head(NUMBERS_SAMPLE).select(*found.values()).with_columns(lacking).select(columns)


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
    """The first few names, and how many more there are."""
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(escaped(name, MOST_CHARACTERS) for name in names[:5]) + more
