"""`labelwright train` as in a Job's Pod: settings from the environment, the result in a file, JSON in the log.

A process is forked from one that has imported torch and transformers, which takes 7 s of CPU, and nothing of ours.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import cache
from multiprocessing.context import ForkServerContext
from multiprocessing.forkserver import ensure_running
from pathlib import Path
from typing import Protocol

import polars as pl
import pytest

from model.manifest import Manifest, Task
from model.run_result import RunResult
from tests.support.encoders import pet_examples

ROOT = Path(__file__).parents[2]
TIMEOUT_SECONDS = 240.0
COMMAND = [sys.executable, "-m", "labelwright", "train"]
PRELOADED = ["torch", "transformers.trainer", "optimum.exporters.onnx"]


class _Process(Protocol):
    """Process of a training, started either way."""

    @property
    def pid(self) -> int | None: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float) -> int: ...


class _Forked:
    """Process that is forked from the one with the libraries."""

    def __init__(self, variables: Mapping[str, str], log_file: Path) -> None:
        self._process = _forkserver().Process(target=_train, args=(dict(variables), log_file))
        self._process.start()

    @property
    def pid(self) -> int | None:
        return self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float) -> int:
        self._process.join(timeout)
        code = self._process.exitcode
        assert code is not None, f"it has not ended after {timeout:g} s"
        return code


@cache
def _forkserver() -> ForkServerContext:
    """Start the process with the libraries. It computes with one thread, and its children do."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("OMP_NUM_THREADS", "1")
        ensure_running()
    return context


def _train(variables: dict[str, str], log_file: Path) -> None:
    """Become `labelwright train`."""
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(ROOT)
    for name, descriptor in ((os.devnull, 1), (log_file, 2)):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    sys.argv = ["labelwright", "train"]
    from labelwright.__main__ import main

    main()


class TrainingProcess:
    """Process of `labelwright train` on sentences about animals, in a folder with all its files.

    forked: False for a Python of its own, which reads all variables at its start.
    """

    def __init__(
        self, folder: Path, *, bert: Path, variables: Mapping[str, str] | None = None, forked: bool = True, **settings: object
    ) -> None:
        self.folder = folder
        self.result_file = Path(str(settings.get("result_file", folder / "termination-log")))
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
        variables = {**os.environ, "OMP_NUM_THREADS": "1", **environment, **(variables or {})}
        self.log_file.touch()
        self._process: _Process
        if forked:
            self._process = _Forked(variables, self.log_file)
            return
        with self.log_file.open("w") as log:
            self._process = subprocess.Popen(COMMAND, env=variables, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=log)

    def wait_until(self, true: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while not true():
            assert time.monotonic() < deadline, f"never {what}: {self.log_file.read_text()[-3000:]}"
            assert self._process.poll() is None, self.log_file.read_text()[-3000:]
            time.sleep(0.05)

    def wait_for(self, said: str) -> None:
        self.wait_until(lambda: said in self.log_file.read_text(), said)

    def signal(self, number: int) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def end(self) -> int:
        return self._process.wait(TIMEOUT_SECONDS)

    def lines(self) -> list[dict[str, object]]:
        """Return the lines of the log, all of which are JSON."""
        return [json.loads(line) for line in self.log_file.read_text().splitlines()]

    def losses(self) -> dict[int, float]:
        """Return the loss by step."""
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
