"""`labelwright train` as in a Job's Pod: settings from the environment, the result in a file, JSON in the log."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import polars as pl

from model.manifest import Manifest, Task
from model.run_result import RunResult
from tests.support.encoders import pet_examples

ROOT = Path(__file__).parents[2]
TIMEOUT_SECONDS = 240.0


class TrainingProcess:
    """Process of `labelwright train` on sentences about animals, in a folder with all its files."""

    def __init__(self, folder: Path, *, bert: Path, variables: Mapping[str, str] | None = None, **settings: object) -> None:
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
        command = [sys.executable, "-m", "labelwright", "train"]
        variables = {**os.environ, "OMP_NUM_THREADS": "1", **environment, **(variables or {})}
        with self.log_file.open("w") as log:
            self._process = subprocess.Popen(command, env=variables, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=log)

    def wait_until(self, true: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while not true():
            assert time.monotonic() < deadline, f"never {what}: {self.log_file.read_text()[-3000:]}"
            assert self._process.poll() is None, self.log_file.read_text()[-3000:]
            time.sleep(0.05)

    def wait_for(self, said: str) -> None:
        self.wait_until(lambda: said in self.log_file.read_text(), said)

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

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
