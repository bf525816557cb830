"""Training that gets SIGTERM, and the attempt that resumes it: the command as in a Job."""

from __future__ import annotations

import re
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path

import httpx
import polars as pl
import pytest

from tests.support.attempts import TrainingProcess, make_dataset
from tests.support.encoders import write_tiny_bert


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bert(tmp_path_factory.mktemp("encoder") / "bert")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_dataset(tmp_path)
    return tmp_path


@dataclass(frozen=True)
class Stopped:
    """First attempt of a training, which got SIGTERM after its first checkpoint. metrics: its /metrics before that."""

    attempt: TrainingProcess
    metrics: str

    def copy(self, to: Path) -> Path:
        """Return a folder with all that it has left, in which the next attempt may run."""
        return Path(shutil.copytree(self.attempt.folder, to / "stopped"))


@pytest.fixture(scope="module")
def stopped(bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Stopped:
    folder = tmp_path_factory.mktemp("stopped")
    make_dataset(folder)
    attempt = TrainingProcess(folder, bert=bert, progress__metrics_port=0)
    attempt.wait_for("metrics are at")
    (address,) = re.findall(r"metrics are at (\S+/metrics)", attempt.log_file.read_text())
    attempt.wait_for("saved a checkpoint")
    attempt.wait_for('"loss"')
    metrics = httpx.get(address).text
    attempt.signal(signal.SIGTERM)
    attempt.end()
    return Stopped(attempt, metrics)


def test_a_training_that_gets_sigterm_saves_a_checkpoint_and_ends_with_143(stopped: Stopped) -> None:
    assert stopped.attempt.end() == 143
    assert stopped.attempt.result().exit_code == 143
    assert "saved a checkpoint" in str([each["message"] for each in stopped.attempt.lines()][-3:])


def test_a_training_that_is_stopped_twice_has_the_loss_curve_of_one_that_was_not(
    stopped: Stopped, bert: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    whole = tmp_path_factory.mktemp("whole")
    make_dataset(whole)
    uninterrupted = TrainingProcess(whole, bert=bert)
    assert uninterrupted.end() == 0

    first, folder = stopped.attempt, stopped.copy(tmp_path)
    second = TrainingProcess(folder, bert=bert)
    second.wait_for("resuming at step")
    second.wait_for("saved a checkpoint")
    second.signal(signal.SIGKILL)
    assert second.end() == -signal.SIGKILL

    third = TrainingProcess(folder, bert=bert)
    assert third.end() == 0
    expected, found = uninterrupted.losses(), {**first.losses(), **second.losses(), **third.losses()}
    assert set(found) == set(expected)
    assert found == pytest.approx(expected, rel=0.02, abs=0.002)
    assert third.manifest().scores.validation.micro_f1 == uninterrupted.manifest().scores.validation.micro_f1
    result = third.result()
    assert (result.exit_code, result.version, result.best_checkpoint) == (0, "v1", uninterrupted.result().best_checkpoint)
    assert not (folder / "models/checkpoints/pets/v1").exists() or not list((folder / "models/checkpoints/pets/v1").rglob("*.*"))


def test_an_evaluation_does_not_hold_up_the_end(folder: Path, bert: Path) -> None:
    attempt = TrainingProcess(folder, bert=bert, checkpoints__every_minutes=60, training__evaluations_per_epoch=20)
    attempt.wait_for("validation micro-F1")
    attempt.signal(signal.SIGTERM)
    assert attempt.end() == 143
    assert "saved a checkpoint" in str([each["message"] for each in attempt.lines()][-3:])


def test_a_version_of_an_earlier_attempt_is_found_and_reported_again(folder: Path, bert: Path) -> None:
    first = TrainingProcess(folder, bert=bert, training__architecture="linear")
    assert first.end() == 0
    published = first.manifest()
    first.result_file.unlink()
    second = TrainingProcess(folder, bert=bert, training__architecture="linear")
    assert second.end() == 0
    assert second.result().artifact_uri == f"file://{folder}/models/pets/v1/"
    assert second.manifest() == published
    other = TrainingProcess(folder, bert=bert, training__architecture="linear", training__seed=7)
    assert other.end() == 64
    assert "with other settings" in other.result().message


def test_data_that_change_between_attempts_stop_the_run(stopped: Stopped, bert: Path, tmp_path: Path) -> None:
    folder = stopped.copy(tmp_path)
    rows = pl.read_parquet(folder / "pets.parquet")
    rows.head(290).write_parquet(folder / "pets.parquet")
    second = TrainingProcess(folder, bert=bert)
    assert second.end() == 65
    assert "its content has changed since version 'v1' was begun" in second.result().message
    rows.write_parquet(folder / "pets.parquet")
    third = TrainingProcess(folder, bert=bert, training__learning_rate=0.5)
    assert third.end() == 64
    assert "training.learning_rate was 0.0001, is 0.5" in third.result().message


def test_checkpoints_whose_run_is_not_written_down_are_not_continued_with_other_settings(
    stopped: Stopped, bert: Path, tmp_path: Path
) -> None:
    folder = stopped.copy(tmp_path)
    (folder / "models/checkpoints/pets/v1/run.json").write_text('{"of": "another release"}')
    second = TrainingProcess(folder, bert=bert, training__batch_size=8, training__num_epochs=1)
    assert second.end() in {0, 64}
    assert "resuming at step" not in second.log_file.read_text()


def test_a_training_tells_prometheus_how_far_it_is(stopped: Stopped) -> None:
    page = stopped.metrics
    for series in ("step", "steps", "epoch", "loss", "texts_per_second", "last_checkpoint_age_seconds"):
        assert re.search(rf"^labelwright_training_{series} \d", page, re.MULTILINE), page
    assert 'labelwright_training_phase{phase="fitting"} 1.0' in page
