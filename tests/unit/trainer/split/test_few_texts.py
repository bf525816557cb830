"""The warning where the texts that are scored are so few that their scores are mostly chance."""

from __future__ import annotations

import logging
from pathlib import Path

import polars as pl
import pytest

from trainer.attempt import Attempt
from trainer.config.loading import load
from trainer.config.settings import Config
from trainer.preparation import prepare

WARNING = "its scores are mostly chance; add texts, or give a test set"


def write(folder: Path, rows: int, name: str = "rows.csv") -> str:
    texts = [f"text number {at} on subject {at % 2}" for at in range(rows)]
    pl.DataFrame({"text": texts, "labels": ["x", "y"] * (rows // 2) + ["x"] * (rows % 2)}).write_csv(folder / name)
    return str(folder / name)


def warned(folder: Path, caplog: pytest.LogCaptureFixture, rows: int, **dataset: str) -> tuple[list[str], list[str]]:
    """What is warned of on the log, and what the manifest and the report are told."""
    columns = {"dataset.text_columns": ["text"], "dataset.label_columns": ["labels"], "dataset.uri": write(folder, rows)}
    given = {f"dataset.{name}": value for name, value in dataset.items()}
    config: Config = load(None, {**columns, **given, "split.near_duplicates": 1})
    (folder / "scratch").mkdir()

    data = prepare(config, Attempt(), folder / "scratch")

    log = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    return log, [note for note in data.facts.notes if "mostly chance" in note]


@pytest.mark.parametrize(("rows", "tested"), [(10, "2 texts"), (40, "4 texts"), (190, "19 texts")])
def test_a_test_part_of_few_texts_is_warned_of_on_the_log_and_in_the_manifest(
    rows: int, tested: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log, notes = warned(tmp_path, caplog, rows)

    assert log == notes == [f"the test part has {tested}: {WARNING}"]


def test_a_test_part_of_twenty_texts_is_not_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert warned(tmp_path, caplog, 200) == ([], [])


def test_a_test_set_of_few_texts_is_warned_of_however_many_there_are_to_train_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log, notes = warned(tmp_path, caplog, 300, test_uri=write(tmp_path, 19, "test.csv"))

    assert log == notes == [f"the test part has 19 texts: {WARNING}"]
