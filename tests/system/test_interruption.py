"""A training that is told to stop, and the one that goes on: the command as a Job runs it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import polars as pl
import pytest

from model.manifest import Manifest, Task
from model.run_result import RunResult
from tests.encoders import pet_examples, write_tiny_bert

ROOT = Path(__file__).parents[2]
PATIENCE = 240.0


class Attempt:
    """`labelwright train` on sentences about animals, in a folder with all that belongs to it."""

    def __init__(self, folder: Path, *, bert: Path, **settings: object) -> None:
        self.folder = folder
        self.result_file = folder / "termination-log"
        self.log_file = folder / f"log-{len(list(folder.glob('log-*')))}"
        settings_by_name = {
            "NAME": "pets",
            "VERSION": "v1",
            "OUTPUT_DIR": str(folder / "models"),
            "DATASET__URI": str(folder / "pets.parquet"),
            "DATASET__TEXT_COLUMNS": "[text]",
            "DATASET__LABEL_COLUMNS": "[label]",
            "TRAINING__ARCHITECTURE": "transformer",
            "TRAINING__BASE_MODEL": str(bert),
            "TRAINING__NUM_EPOCHS": 10,
            "TRAINING__PATIENCE": 1000,
            "TRAINING__BATCH_SIZE": 4,
            "TRAINING__MAX_LENGTH": 32,
            "TRAINING__EVALUATIONS_PER_EPOCH": 1,
            "CHECKPOINTS__EVERY_MINUTES": 0.02,
            "RESULT_FILE": str(self.result_file),
            "PROGRESS__LOG_FORMAT": "json",
        } | {name.upper(): value for name, value in settings.items()}
        environment = {f"LABELWRIGHT__{name}": str(value) for name, value in settings_by_name.items()}
        command = [sys.executable, "-m", "labelwright", "train"]
        variables = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
        with self.log_file.open("w") as log:
            self._process = subprocess.Popen(command, env=variables, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=log)

    def wait_until(self, true: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not true():
            assert time.monotonic() < deadline, f"never {what}: {self.log_file.read_text()[-3000:]}"
            assert self._process.poll() is None, self.log_file.read_text()[-3000:]
            time.sleep(0.05)

    def wait_for(self, said: str) -> None:
        self.wait_until(lambda: said in self.log_file.read_text(), said)

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def end(self) -> int:
        return self._process.wait(PATIENCE)

    def lines(self) -> list[dict[str, object]]:
        """Every line of the log is JSON."""
        return [json.loads(line) for line in self.log_file.read_text().splitlines()]

    def losses(self) -> dict[int, float]:
        """The loss by step."""
        return {int(str(line["step"])): float(str(line["loss"])) for line in self.lines() if "loss" in line}

    def result(self) -> RunResult:
        return RunResult.model_validate_json(self.result_file.read_bytes())

    def manifest(self) -> Manifest:
        return Manifest.model_validate_json((self.folder / "models/pets/v1/manifest.json").read_bytes())


def make_dataset(folder: Path) -> None:
    examples = pet_examples(folder, count=300, task=Task.SINGLE_LABEL)
    labels = [examples.labels[each] for each in examples.targets.argmax(axis=1).A1]
    pl.DataFrame({"text": [f"{text} {at}" for at, text in enumerate(examples.texts())], "label": labels}).write_parquet(
        folder / "pets.parquet"
    )


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bert(tmp_path_factory.mktemp("encoder") / "bert")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_dataset(tmp_path)
    return tmp_path


def test_a_training_that_is_stopped_twice_has_the_loss_curve_of_one_that_was_not(
    folder: Path, bert: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    whole = tmp_path_factory.mktemp("whole")
    make_dataset(whole)
    uninterrupted = Attempt(whole, bert=bert)
    assert uninterrupted.end() == 0

    first = Attempt(folder, bert=bert)
    first.wait_for("saved a checkpoint")
    first.signal(signal.SIGTERM)
    assert first.end() == 143
    assert first.result().exit_code == 143
    assert "saved a checkpoint" in str([each["message"] for each in first.lines()][-3:])

    second = Attempt(folder, bert=bert)
    second.wait_for("resuming at step")
    second.wait_for("saved a checkpoint")
    second.signal(signal.SIGKILL)
    assert second.end() == -signal.SIGKILL

    third = Attempt(folder, bert=bert)
    assert third.end() == 0
    expected, found = uninterrupted.losses(), {**first.losses(), **second.losses(), **third.losses()}
    assert set(found) == set(expected)
    assert found == pytest.approx(expected, rel=0.02, abs=0.002)
    assert third.manifest().scores.validation.micro_f1 == uninterrupted.manifest().scores.validation.micro_f1
    result = third.result()
    assert (result.exit_code, result.version, result.best_checkpoint) == (0, "v1", uninterrupted.result().best_checkpoint)
    assert not (folder / "models/checkpoints/pets/v1").exists() or not list((folder / "models/checkpoints/pets/v1").rglob("*.*"))


def test_an_evaluation_does_not_hold_up_the_end(folder: Path, bert: Path) -> None:
    attempt = Attempt(folder, bert=bert, checkpoints__every_minutes=60, training__evaluations_per_epoch=20)
    attempt.wait_for("validation micro-F1")
    attempt.signal(signal.SIGTERM)
    assert attempt.end() == 143
    again = Attempt(folder, bert=bert, checkpoints__every_minutes=60, training__evaluations_per_epoch=20)
    again.wait_for("resuming at step")
    again.signal(signal.SIGKILL)
    again.end()


def test_a_version_that_an_earlier_attempt_published_is_found_and_told_again(folder: Path, bert: Path) -> None:
    first = Attempt(folder, bert=bert, training__architecture="linear")
    assert first.end() == 0
    published = first.manifest()
    first.result_file.unlink()
    second = Attempt(folder, bert=bert, training__architecture="linear")
    assert second.end() == 0
    assert second.result().artifact_uri == f"file://{folder}/models/pets/v1/"
    assert second.manifest() == published
    other = Attempt(folder, bert=bert, training__architecture="linear", training__seed=7)
    assert other.end() == 64
    assert "of other settings" in other.result().message


def test_data_that_change_between_attempts_stop_the_run(folder: Path, bert: Path) -> None:
    first = Attempt(folder, bert=bert)
    first.wait_for("saved a checkpoint")
    first.signal(signal.SIGTERM)
    assert first.end() == 143
    rows = pl.read_parquet(folder / "pets.parquet")
    rows.head(290).write_parquet(folder / "pets.parquet")
    second = Attempt(folder, bert=bert)
    assert second.end() == 65
    assert "its content has changed since version 'v1' was begun" in second.result().message
    rows.write_parquet(folder / "pets.parquet")
    third = Attempt(folder, bert=bert, training__learning_rate=0.5)
    assert third.end() == 64
    assert "training.learning_rate was 0.0001, is 0.5" in third.result().message


def test_a_training_tells_prometheus_how_far_it_is(folder: Path, bert: Path) -> None:
    attempt = Attempt(folder, bert=bert, progress__metrics_port=0)
    attempt.wait_for("metrics are at")
    (address,) = re.findall(r"metrics are at (\S+/metrics)", attempt.log_file.read_text())
    attempt.wait_for("saved a checkpoint")
    attempt.wait_for('"loss"')
    page = httpx.get(address).text
    for series in ("step", "steps", "epoch", "loss", "texts_per_second", "last_checkpoint_age_seconds"):
        assert re.search(rf"^labelwright_training_{series} \d", page, re.MULTILINE), page
    assert 'labelwright_training_phase{phase="fitting"} 1.0' in page
    attempt.signal(signal.SIGTERM)
    assert attempt.end() == 143
