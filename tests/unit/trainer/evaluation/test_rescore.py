"""`labelwright evaluate`, as a user types it, of a version that needs no training."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner, Result

from tests.support.versions import make_version
from trainer.commands.evaluate import evaluate
from trainer.evaluation.error_analysis import compare, intervals

TEXTS, LABELS = ["cs.LG of it", "math.CO", "nothing"], ["cs.LG", "math.CO", "stat.ML"]


def run(folder: Path, rows: int, *options: str, expect: int = 0) -> Result:
    make_version(folder / "version")
    frame = pl.DataFrame({"text": (TEXTS * rows)[:rows], "labels": (LABELS * rows)[:rows]})
    frame.write_csv(folder / "rows.csv", separator=";")
    command = [
        "--model-path", str(folder / "version"), "--dataset", str(folder / "rows.csv"), "--text-columns", "text",
        "--label-column", "labels", "--output-dir", str(folder / "out"), *options,
    ]  # fmt: skip
    result = CliRunner().invoke(evaluate, command)
    assert result.exit_code == expect, result.output
    return result


def test_it_says_how_the_dataset_was_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    run(tmp_path, 30)

    said = [each.getMessage() for each in caplog.records]
    assert "read: format: CSV, separated by a semicolon, no double quotes, UTF-8" in said
    assert "read: rows: 30 in 1 file" in said
    assert any(each.startswith("read: labels: column 'labels', one label a cell") for each in said)


@pytest.mark.parametrize("rows", [3, 19])
def test_scores_of_few_texts_come_with_their_interval_and_a_warning(
    rows: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    printed = run(tmp_path, rows).stderr

    due = [[float(name == label) for name in ("cs.LG", "stat.ML", "math.CO")] for label in (LABELS * rows)[:rows]]
    given = [[float(name in text) for name in ("cs.LG", "stat.ML", "math.CO")] for text in (TEXTS * rows)[:rows]]
    given = [row if any(row) else [1.0, 0.0, 0.0] for row in given]  # a label is required, and the first is as probable as any
    decisions = compare(pl.DataFrame(due, orient="row").to_numpy(), pl.DataFrame(given, orient="row").to_numpy() > 0)
    interval = intervals(decisions, seed=1)[0]
    assert interval > 0.01
    assert f"on {rows} texts; 95 % interval of micro_f1: ±{interval:.4f}" in printed
    few = f"the dataset has {rows} texts: its scores are mostly chance; add texts"
    assert [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING] == [few]
    assert few in json.loads((tmp_path / "out" / "scores.json").read_text())["notes"]


def test_twenty_texts_are_scored_without_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    printed = run(tmp_path, 20).stderr

    assert "on 20 texts; 95 % interval of micro_f1:" in printed
    assert [each for each in caplog.records if each.levelno >= logging.WARNING] == []


def test_guesses_about_the_dataset_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    run(tmp_path, 20, "--set", "dataset.aliases={stat.ML: ''}")

    assert "6 rows without label were set aside" in caplog.messages
