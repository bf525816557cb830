"""Rows that carry no label: which of them are known to, and what becomes of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from trainer.fetching import fetch
from trainer.labels import Labelled, read_labels
from trainer.tables import read_table

MARKS = ("toxic", "rude")


def labelled(path: Path, *columns: str) -> Labelled:
    files = fetch(path.as_uri(), scratch=path.parent, setting="dataset.uri")
    table = read_table(files, text=("text",), labels=columns, scratch=path.parent)
    return read_labels(table.labels, listed=table.listed, separator="auto", aliases={})


def rows_of_marks(folder: Path, suffix: str, toxic: Sequence[object], rude: Sequence[object]) -> Path:
    path = folder / f"rows{suffix}"
    frame = pl.DataFrame({"text": [f"text {at}" for at in range(len(toxic))], "toxic": toxic, "rude": rude}, strict=False)
    if suffix == ".csv":
        frame.write_csv(path)
    elif suffix == ".parquet":
        frame.write_parquet(path)
    else:
        frame.write_ndjson(path)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
@pytest.mark.parametrize(
    ("toxic", "rude"),
    [
        pytest.param([1, 0, None, 0, 1, None], [0, 0, 0, None, None, None], id="integers"),
        pytest.param([1.0, 0.0, None, 0.0, 1.0, None], [0.0, 0.0, 0.0, None, None, None], id="floats"),
        pytest.param(["1", "0", "", "0", "true", ""], ["0", "False", "0", " ", "", ""], id="strings"),
    ],
)
def test_only_a_row_of_zeros_is_known_to_carry_none_of_the_marks(
    suffix: str, toxic: list[object], rude: list[object], tmp_path: Path
) -> None:
    found = labelled(rows_of_marks(tmp_path, suffix, toxic, rude), *MARKS)

    assert found.given.tolist() == [True, True, False, False, True, False]
    assert np.diff(found.targets.indptr).tolist() == [1, 0, 0, 0, 1, 0]


def test_a_missing_number_is_no_zero(tmp_path: Path) -> None:
    path = rows_of_marks(tmp_path, ".parquet", [1.0, 0.0, float("nan")], [0.0, 0.0, 0.0])

    assert labelled(path, *MARKS).given.tolist() == [True, True, False]


LISTS: list[list[str | None] | None] = [["a", "b"], [], None, [None], [""], [" ", ""], ["b", None]]
GIVEN = [True, True, False, False, False, False, True]


def test_only_an_empty_list_is_known_to_hold_no_label(tmp_path: Path) -> None:
    frame = pl.DataFrame({"text": ["t"] * len(LISTS), "tags": pl.Series(LISTS, dtype=pl.List(pl.String))})
    frame.write_parquet(tmp_path / "rows.parquet")
    frame.write_ndjson(tmp_path / "rows.jsonl")
    strings = ["" if each is None else json.dumps(each) for each in LISTS]
    frame.with_columns(tags=pl.Series(strings)).write_csv(tmp_path / "rows.csv")

    for name in ("rows.parquet", "rows.jsonl", "rows.csv"):
        assert labelled(tmp_path / name, "tags").given.tolist() == GIVEN, name


def test_an_empty_string_says_nothing(tmp_path: Path) -> None:
    pl.DataFrame({"text": ["t"] * 5, "tags": ["a;b", "a", "b", "", None]}).write_csv(tmp_path / "rows.csv")

    assert labelled(tmp_path / "rows.csv", "tags").given.tolist() == [True, True, True, False, False]
