"""Small datasets of any kind: read back as they were written, or refused in a sentence that names the row."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.reading import labels_of, read
from trainer.data.reading import DatasetRejected

LETTERS = "ab z;,|'\"()[]{}:.-_/\\0 1é日🍞\u2028"
CERTAIN = [("first", ["alpha"]), ("second", ["beta"]), ("third", ["alpha", "beta"])]
Labels = list[str] | None


def is_name(text: str) -> bool:
    return bool(text) and text == text.strip()


names = st.text(LETTERS, min_size=1, max_size=8).filter(is_name) | st.sampled_from(
    ["New York", "very good", "good", "nan", "None", "x (y)", "it's", 'the "best"', "a\\b", "0", "1"]
)
texts = st.text(LETTERS + "\n\t", min_size=1, max_size=30).map(str.strip).filter(bool)
labels = st.none() | st.lists(names, max_size=3, unique=True)
rows = st.lists(st.tuples(texts, labels), max_size=6).map(lambda made: [*CERTAIN, *made])


def numpy_written(found: list[str]) -> str:
    return str(np.array(found)) if found else "[]"


CELLS: dict[str, Callable[[list[str]], object]] = {
    "lists": list,
    "json": json.dumps,
    "python": repr,
    "numpy": numpy_written,
    "tuples": lambda found: repr(tuple(found)),
    "sets": lambda found: repr(set(found)),
}


@dataclass(frozen=True)
class Written:
    """A way to write a file."""

    ending: str
    separator: str = ","
    quoting: int = csv.QUOTE_MINIMAL
    end: str = "\n"
    encoding: str = "utf-8"


ways = st.one_of(
    st.builds(
        Written,
        ending=st.sampled_from(["csv", "tsv"]),
        separator=st.sampled_from(",;\t|"),
        quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
        end=st.sampled_from(["\n", "\r\n"]),
        encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    ),
    st.builds(
        Written, ending=st.just("jsonl"), end=st.sampled_from(["\n", "\r\n", "\r"]), encoding=st.sampled_from(["utf-8", "utf-16"])
    ),
    st.just(Written("parquet")),
)


def write(path: Path, columns: dict[str, list[Any]], way: Written) -> None:
    every = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    if way.ending == "parquet":
        pq.write_table(pa.table(columns), path)
        return
    if way.ending == "jsonl":
        content = "".join(json.dumps(row, ensure_ascii=False) + way.end for row in every)
    else:
        out = io.StringIO()
        writer = csv.writer(out, delimiter=way.separator, quoting=way.quoting, lineterminator=way.end)  # type: ignore[arg-type]
        writer.writerow(columns)
        writer.writerows(
            ["" if cell is None else cell if isinstance(cell, str | int) else json.dumps(cell) for cell in row.values()]
            for row in every
        )
        content = out.getvalue()
    path.write_bytes(content.encode(way.encoding))


def read_back(path: Path, columns: Sequence[str], **options: object) -> list[tuple[str, set[str]]] | str:
    """The rows that are left, or the sentence of the refusal."""
    try:
        found = read(path, text_columns=("text",), label_columns=tuple(columns), minimum_examples=1, **options)
    except DatasetRejected as refused:
        return str(refused)
    return list(zip(found.examples.texts(), labels_of(found), strict=True))


def check(found: list[tuple[str, set[str]]] | str, expected: list[tuple[str, set[str]]]) -> None:
    if isinstance(found, str):
        assert re.search(r"(line|row) \d", found), found
        assert found.isprintable()
    else:
        assert found == expected


generated = settings(
    max_examples=40, derandomize=True, database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("generated")


@generated
@given(made=rows, way=ways, shape=st.sampled_from(list(CELLS)))
def test_lists_are_read_back_however_they_are_written(
    made: list[tuple[str, Labels]], way: Written, shape: str, folder: Path
) -> None:
    cells = [None if found is None else CELLS[shape](found) for _, found in made]
    path = folder / f"rows.{way.ending}"
    write(path, {"id": list(range(len(made))), "text": [text for text, _ in made], "labels": cells}, way)

    found = read_back(path, ["labels"], label_separator="auto")

    check(found, [(text, set(given)) for text, given in made if given is not None])


@generated
@given(made=rows, way=ways, separator=st.sampled_from(["", ";", "|", " / "]))
def test_names_are_read_back_alone_and_joined(made: list[tuple[str, Labels]], way: Written, separator: str, folder: Path) -> None:
    wanted = [
        (text, [name for name in given or [] if not separator or separator.strip() not in name][: None if separator else 1])
        for text, given in made
    ]
    wanted = [
        (text, [name for name in given if name[0] not in "[({" and not name.endswith(("]", ")", "}"))]) for text, given in wanted
    ]
    path = folder / f"rows.{way.ending}"
    cells = [separator.join(given) or None for _, given in wanted]
    write(path, {"text": [text for text, _ in wanted], "labels": cells, "id": list(range(len(made)))}, way)

    found = read_back(path, ["labels"], label_separator=separator)

    check(found, [(text, set(given)) for text, given in wanted if given])


MARKS = {"integers": (0, 1), "floats": (0.0, 1.0), "booleans": (False, True), "strings": ("0", "1")}


@generated
@given(made=rows, way=ways, marks=st.sampled_from(list(MARKS)), shape=st.sampled_from(["columns", "dictionaries", "vectors"]))
def test_marks_are_read_back_by_name_and_vectors_are_refused(
    made: list[tuple[str, Labels]], way: Written, marks: str, shape: str, folder: Path
) -> None:
    known = [(text, given) for text, given in made if given is not None]
    every = sorted({name for _, given in known for name in given} - {"text", "labels"})
    table = [[MARKS[marks][name in given] for name in every] for _, given in known]
    path = folder / f"rows.{way.ending}"
    columns: dict[str, list[Any]] = {"text": [text for text, _ in known]}
    if shape == "columns":
        columns |= {name: [row[at] for row in table] for at, name in enumerate(every)}
    elif shape == "dictionaries":
        columns["labels"] = [dict(zip(every, row, strict=True)) for row in table]
    else:
        columns["labels"] = table
    write(path, columns, way)

    found = read_back(path, every if shape == "columns" else ["labels"], label_separator="auto")

    if shape == "vectors":
        assert isinstance(found, str)
        assert re.search(r"vectors of 0 and 1.*(line|row) \d", found)
    else:
        check(found, [(text, set(given)) for text, given in known])
