from __future__ import annotations

import logging
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from prometheus_client import CollectorRegistry
from tokenizers import Tokenizer

from model.artifact import GRAPH, TOKENIZER
from model.classifier import Floats, OnnxModel, TextTokenizer
from model.manifest import Task
from model.storage import FileStore, StorageUnavailable
from tests.support.encoders import pet_examples, training, write_tiny_bert
from trainer.architectures.base import Exported
from trainer.architectures.transformer import fit as transformer
from trainer.attempt import Attempt
from trainer.config.settings import Config
from trainer.data.examples import Examples
from trainer.errors import Terminated
from trainer.run.checkpoint_store import Checkpoints
from trainer.run.interruption import Interruption
from trainer.tracking.training_metrics import TrainingMetrics

ROOT = Path(__file__).parents[2]
TEXTS, EPOCHS = 96, 4  # six steps an epoch, and a checkpoint after each

KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from model.storage import FileStore
from tests.system.test_transformer_resume import fit, store_of
from trainer.run.checkpoint_store import Checkpoints

class Killed(Checkpoints):
    def save(self, folder, *, step, best_step):
        if step == 12:
            self._store.upload(folder / "model.safetensors", f"{step:09d}/model.safetensors")
            os.kill(os.getpid(), signal.SIGKILL)
        super().save(folder, step=step, best_step=best_step)

torch.set_num_threads(1)
fit(Path(sys.argv[1]), Killed(store_of(Path(sys.argv[1]))))
"""


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


class Stopped(Exception):
    pass


class StoppedAfter(Checkpoints):
    """Stops the training once the checkpoint of a step is saved."""

    stop_at = 12

    def save(self, folder: Path, *, step: int, best_step: int) -> None:
        super().save(folder, step=step, best_step=best_step)
        if step == self.stop_at:
            raise Stopped


def store_of(folder: Path) -> FileStore:
    return FileStore(folder / "checkpoints")


def examples_in(folder: Path) -> Examples:
    return pet_examples(folder / "texts", count=TEXTS, task=Task.SINGLE_LABEL)


def config_in(folder: Path, **settings: object) -> Config:
    bert = folder / "bert"
    return training(bert if bert.exists() else write_tiny_bert(bert), num_epochs=EPOCHS, patience=EPOCHS, **settings)


def fit(folder: Path, checkpoints: Checkpoints | None, **settings: object) -> Exported:
    return fit_attempt(folder, Attempt(checkpoints), **settings)


def fit_attempt(folder: Path, attempt: Attempt, **settings: object) -> Exported:
    examples = examples_in(folder)
    config = config_in(folder, **settings)
    return transformer.fit(examples, examples, config, folder=folder / "fitted", attempt=attempt)


def logits_of(exported: Exported, examples: Examples) -> Floats:
    tokenizer = TextTokenizer(Tokenizer.from_file(str(exported.folder / TOKENIZER)), exported.max_length)
    return OnnxModel(exported.folder / GRAPH).logits(tokenizer.encode(examples.texts()))


def test_a_training_that_was_killed_goes_on_from_its_last_whole_checkpoint(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    died = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], cwd=ROOT, check=False, timeout=120)
    assert died.returncode == -9
    exported = fit(tmp_path, Checkpoints(store_of(tmp_path)))
    assert "resuming at step 6" in caplog.text
    assert exported.epochs == EPOCHS


def test_a_resumed_training_ends_as_one_that_was_never_stopped(tmp_path: Path) -> None:
    examples = examples_in(tmp_path)
    expected = logits_of(fit(tmp_path, None), examples)
    with pytest.raises(Stopped):
        fit(tmp_path, StoppedAfter(store_of(tmp_path)))
    resumed = fit(tmp_path, Checkpoints(store_of(tmp_path)))
    np.testing.assert_allclose(logits_of(resumed, examples), expected, atol=1e-3)


def test_an_evaluation_that_was_abandoned_is_done_for_its_own_step_by_the_attempt_that_resumes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = evaluations_of(tmp_path / "whole", Attempt(Checkpoints(store_of(tmp_path / "whole"))), caplog)

    interruption = Interruption()
    stopped = Attempt(Checkpoints(store_of(tmp_path)), interruption, metrics=AsksToStopAtLoss(interruption))
    with pytest.raises(Terminated):
        evaluations_of(tmp_path, stopped, caplog)
    assert not evaluations_in(caplog)
    resumed = evaluations_of(tmp_path, Attempt(Checkpoints(store_of(tmp_path))), caplog)

    assert [step for step, _ in resumed] == [step for step, _ in whole] == [6, 12, 18, 24]
    np.testing.assert_allclose([score for _, score in resumed], [score for _, score in whole], atol=1e-3)


class AsksToStopAtLoss(TrainingMetrics):
    """Asks the process to stop when the loss of the first epoch's last step is reported, right before the evaluation."""

    def __init__(self, interruption: Interruption) -> None:
        super().__init__(CollectorRegistry())
        self._interruption = interruption
        self._losses = 0

    def measured(self, **values: float) -> None:
        super().measured(**values)
        self._losses += 1
        if self._losses == TEXTS / 16:
            self._interruption.ask()


def evaluations_of(folder: Path, attempt: Attempt, caplog: pytest.LogCaptureFixture) -> list[tuple[int, float]]:
    """Train, and return each evaluation's step and micro-F1."""
    folder.mkdir(exist_ok=True)
    caplog.clear()
    fit_attempt(folder, attempt)
    return evaluations_in(caplog)


def evaluations_in(caplog: pytest.LogCaptureFixture) -> list[tuple[int, float]]:
    found = re.findall(r"step (\d+): validation micro-F1 ([\d.]+)", caplog.text)
    return [(int(step), float(score)) for step, score in found]


def test_a_finished_training_is_only_exported_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    checkpoints = Checkpoints(store_of(tmp_path))
    examples = examples_in(tmp_path)
    first = logits_of(fit(tmp_path, checkpoints), examples)
    second = logits_of(fit(tmp_path, checkpoints), examples)
    assert f"resuming at step {6 * EPOCHS}" in caplog.text
    np.testing.assert_allclose(second, first, atol=1e-3)


def test_storage_that_does_not_answer_does_not_stop_a_training(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Away(FileStore):
        def upload(self, path: Path, key: str) -> None:
            raise StorageUnavailable(f"{key}: no route")

    exported = fit(tmp_path, Checkpoints(Away(tmp_path / "checkpoints")))
    assert exported.epochs == EPOCHS
    assert "no route" in caplog.text
