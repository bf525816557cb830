"""What is said of how a dataset was read."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner

from model.storage import StorageUnavailable
from tests.support.reading import read
from trainer.commands.balance import mltl, oversample, undersample
from trainer.config.settings import DatasetConfig
from trainer.data.download import SourceFile, fetch, unchanged
from trainer.data.formats import Format, scan
from trainer.data.reading import read_examples, read_test_examples
from trainer.data.writing import copy_rows, target_at

COLUMNS = {"text_columns": ("text",), "label_columns": ("labels",), "minimum_examples": 1, "label_separator": "auto"}


def facts(path: Path, **settings: object) -> dict[str, str]:
    return dict(read(path, **(COLUMNS | settings)).reading.facts)


def test_a_file_of_lists_is_described(tmp_path: Path) -> None:
    rows = ["id;text;labels", "1;a;\"['x']\"", "2;;['y']", "3;c;\"['x', 'y']\"", "4;d;", "5;;"]
    (tmp_path / "d.csv").write_bytes("\n".join(rows).encode("utf-16"))

    assert facts(tmp_path / "d.csv") == {
        "format": "CSV, separated by a semicolon, fields in double quotes, UTF-16-LE",
        "rows": "5 in 1 file",
        "text": "column 'text'",
        "labels": "column 'labels', lists written as Python, such as \"['x']\" in line 2, read as 'x' "
        "and \"['x', 'y']\" in line 4, read as 'x', 'y'",
        "other columns": "1, not used",
        "set aside": "1 row without a text, in line 3; 1 row without a label, in line 5; 1 row without either, in line 6",
    }


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_what_was_set_aside_is_named_by_file_and_place(ending: str, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for name, missing in (("a", False), ("b", True)):
        rows = [
            {"text": "first\nsecond", "labels": "x"},
            {"text": "t", "labels": "y"},
            {"text": "t", "labels": None if missing else "x"},
        ]
        frame, path = pl.DataFrame(rows), folder / f"{name}.{ending}"
        if ending == "jsonl":
            path.write_text("\n\n".join(map(json.dumps, rows)))
        else:
            frame.write_csv(path) if ending == "csv" else frame.write_parquet(path)

    place = {"csv": "line 5", "jsonl": "line 5", "parquet": "row 3"}[ending]
    assert facts(folder)["set aside"] == f"1 row without a label, in b.{ending} {place}"
    assert facts(folder)["rows"] == "6 in 2 files"


@pytest.mark.parametrize(
    ("cells", "written"),
    [
        pytest.param(["x y", "y", "x"], "joined by ' ', such as 'x y' in line 2, read as 'x', 'y'", id="joined"),
        pytest.param(["x", "y", "z"], "one label a cell, such as 'x' in line 2, read as 'x'", id="single"),
        pytest.param(['{"x": 1, "y": 0}', '{"x": 0, "y": 1}'], "dictionaries of 0 and 1, such as", id="dictionaries"),
        pytest.param(["['x' 'y']", "['y']"], "arrays written by NumPy", id="numpy"),
    ],
)
def test_the_format_of_labels_is_reported(cells: list[str], written: str, tmp_path: Path) -> None:
    pl.DataFrame({"text": ["t"] * len(cells), "labels": cells}).write_csv(tmp_path / "d.csv")

    assert written in facts(tmp_path / "d.csv")["labels"]


def test_a_cell_that_is_shown_is_short_and_holds_no_control_characters(tmp_path: Path) -> None:
    cells = ["\x1b[31m" + "x" * 9_000, "y\u202e", "z"] * 3
    pl.DataFrame({"text": ["t"] * 9, "labels": cells}).write_parquet(tmp_path / "d.parquet")

    for heading, text in facts(tmp_path / "d.parquet").items():
        assert text.isprintable(), heading
        assert len(text) < 400, heading


@contextmanager
def growing(path: Path, written: str) -> Iterator[None]:
    """A file that somebody writes to all the time."""
    row = json.dumps({"text": "t " * 500, "labels": "x"}) + "\n"
    path.write_text(row * 2_000)
    stop = threading.Event()

    def grow() -> None:
        with path.open("a") as file:
            while not stop.wait(0.001):
                file.write(written or row)
                file.flush()

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        yield
    finally:
        stop.set()
        writer.join()


PARTS = pytest.mark.parametrize("written", ["", '{"text": "half a li'], ids=["whole-rows", "parts-of-rows"])


@PARTS
def test_a_dataset_that_grows_while_it_is_read_is_refused_for_now(written: str, tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"

    with growing(path, written), pytest.raises(StorageUnavailable, match="was written to while it was read"):
        read(path, **COLUMNS)


@PARTS
@pytest.mark.parametrize("command", [undersample, oversample, mltl], ids=lambda command: command.name)
def test_a_dataset_that_grows_is_not_balanced(command: click.Command, written: str, tmp_path: Path) -> None:
    path, out = tmp_path / "d.jsonl", tmp_path / "out.jsonl"
    out.write_text("as it was")
    columns = ["--label-column", "labels", *(["--text-columns", "text"] if command is mltl else [])]

    with growing(path, written):
        result = CliRunner().invoke(command, [str(path), str(out), *columns])

    assert "was written to while it was read; this may be temporary" in result.stderr
    assert result.exit_code == 75
    assert out.read_text() == "as it was"


def test_a_file_that_changes_between_reading_and_copying_is_not_copied(tmp_path: Path) -> None:
    path, out = tmp_path / "d.jsonl", tmp_path / "out.jsonl"
    path.write_text('{"labels": "x"}\n' * 3)
    with unchanged([SourceFile("d.jsonl", path)]) as require_unchanged:
        rows = [scan(SourceFile("d.jsonl", path), Format.JSON_LINES, ("labels",), scratch=tmp_path)]
    for content in ('{"labels": "y"}\n' * 3, '{"labels": "x"}\n' * 4):
        path.write_text(content)

        with pytest.raises(StorageUnavailable, match="was written to"):
            copy_rows(rows, np.ones(3, np.int64), target_at(str(out), setting="OUT"), scratch=tmp_path,
                      require_unchanged=require_unchanged)  # fmt: skip
        assert not out.exists()


@pytest.mark.parametrize("command", [undersample, oversample, mltl], ids=lambda command: command.name)
def test_balancing_says_how_the_rows_were_read(command: click.Command, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    path = tmp_path / "d.csv"
    path.write_text("text;labels\n" + "one two;x\nthree four;y\n;\n" * 4)
    columns = ["--label-column", "labels", *(["--text-columns", "text"] if command is mltl else [])]

    result = CliRunner().invoke(command, [str(path), str(tmp_path / "out.csv"), *columns])

    assert result.exit_code == 0, result.output
    said = dict(line.removeprefix("read: ").split(": ", 1) for line in caplog.messages if line.startswith("read: "))
    assert said["format"] == "CSV, separated by a semicolon, no double quotes, UTF-8"
    assert said["labels"].startswith("column 'labels', one label a cell, such as 'x' in line 2, read as 'x'")
    missing = "4 rows without either" if command is mltl else "4 rows without a label"
    assert said["copied as they are"] == f"{missing}, the first in line 4"
    assert ("text" in said) == (command is mltl)


def test_a_test_set_is_described_beside_the_dataset(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    (tmp_path / "train.csv").write_text("text,labels\n" + "one,x\ntwo,y\n" * 3)
    (tmp_path / "test.csv").write_text("text;labels\none;x\n")
    config = DatasetConfig(
        uri=str(tmp_path / "train.csv"), test_uri=str(tmp_path / "test.csv"), text_columns=("text",), label_columns=("labels",)
    )

    read_test_examples(config, like=read_examples(config, scratch=tmp_path, seed=0).examples, scratch=tmp_path)

    assert "read: format: CSV, separated by a comma, no double quotes, UTF-8" in caplog.messages
    assert "test set: read: format: CSV, separated by a semicolon, no double quotes, UTF-8" in caplog.messages


def test_a_file_that_is_replaced_by_one_of_its_size_counts_as_written_to(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("a")
    (tmp_path / "other").write_text("b")
    stamp = (tmp_path / "d.csv").stat()
    os.utime(tmp_path / "other", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))

    with pytest.raises(StorageUnavailable), unchanged(fetch(str(tmp_path / "d.csv"), scratch=tmp_path)):
        (tmp_path / "other").replace(tmp_path / "d.csv")
    with unchanged([SourceFile("d.csv", tmp_path / "d.csv")]):
        pass
