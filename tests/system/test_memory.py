"""A training for which memory is short."""

from __future__ import annotations

import logging
import math
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from model.manifest import Task
from tests.encoders import pet_examples, training, write_tiny_bert
from trainer.architectures import memory, transformer
from trainer.attempt import Attempt
from trainer.examples import Examples

ROOT = Path(__file__).parents[2]
MEGABYTE = 2**20


# In a process of its own: what an earlier training has given back is still mapped, and would be used again.
TRAIN = """
import sys
from pathlib import Path
from tests.system.test_memory import train
train(Path(sys.argv[1]), int(sys.argv[2]))
"""


def used() -> int:
    """Bytes of memory that this process holds."""
    (line,) = (each for each in Path("/proc/self/status").read_text().splitlines() if each.startswith("RssAnon"))
    return int(line.split()[1]) * 1024


def within(megabytes: int) -> float:
    """The limit that leaves so much room."""
    return (used() + megabytes * MEGABYTE) / (1 - memory.RESERVE)


def long_examples(folder: Path, count: int) -> Examples:
    """Of 200 tokens and more."""
    examples = pet_examples(folder / "texts", count=count, task=Task.SINGLE_LABEL)
    file = folder / "long.parquet"
    pl.DataFrame({"text": [text + " cat" * 200 for text in examples.texts()]}).write_parquet(file)
    return replace(examples, file=file)


def train(folder: Path, megabytes: int) -> None:
    """Two steps on as many texts as there are, with so much room for them; 0: any."""
    logging.basicConfig(level=logging.INFO)
    torch.set_num_threads(1)
    examples = long_examples(folder, 192)
    settings = {"num_epochs": 2, "batch_size": 192, "max_length": 256, "dropout": 0, "warmup_share": 0}
    config = training(write_tiny_bert(folder / "bert", positions=256), **settings)
    few = examples.select(np.arange(16))
    with memory.bounded(within(megabytes) if megabytes else math.inf):
        transformer.fit(examples, few, config, folder=folder / "fitted", attempt=Attempt())


def said_by_training(folder: Path, megabytes: int) -> str:
    command = [sys.executable, "-c", TRAIN, str(folder), str(megabytes)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, cwd=ROOT).stderr


def losses(said: str) -> list[float]:
    return [float(each) for each in re.findall(r"loss ([0-9.]+),", said)]


def test_an_allocation_beyond_the_limit_fails_rather_than_the_process() -> None:
    with memory.bounded(within(200)), pytest.raises(MemoryError) as failed:
        np.ones(1000 * MEGABYTE, np.uint8)
    assert memory.is_short(failed.value)
    with memory.bounded(within(200)), pytest.raises(RuntimeError) as short:
        torch.ones(1000 * MEGABYTE, dtype=torch.uint8)
    assert memory.is_short(short.value)
    np.ones(500 * MEGABYTE, np.uint8)


def test_other_errors_do_not_say_that_memory_is_short() -> None:
    assert not memory.is_short(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_a_batch_that_does_not_fit_is_taken_in_pieces_and_teaches_the_same(tmp_path: Path) -> None:
    expected = said_by_training(tmp_path, 0)
    found = said_by_training(tmp_path, 250)
    assert "out of memory" not in expected
    assert "out of memory with 192 texts at once: from now on a step takes them in 2 pieces" in found
    assert len(losses(found)) == 2
    assert losses(found) == pytest.approx(losses(expected), abs=0.002)
