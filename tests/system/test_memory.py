"""Memory that is short, told by an error. A training within a container's limit: test_training_faults.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from trainer.architectures.transformer import memory

MEGABYTE = 2**20


def within(megabytes: int) -> float:
    """The limit that leaves this process so much room."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    own, files = (int(status[name].split()[0]) * 1024 for name in ("RssAnon", "RssFile"))
    return (own + files * memory.NEEDED_OF_FILES + megabytes * MEGABYTE) / (1 - memory.RESERVE)


def test_an_allocation_beyond_the_limit_fails_rather_than_the_process() -> None:
    with memory.bounded(within(200)), pytest.raises(MemoryError) as failed:
        np.ones(1000 * MEGABYTE, np.uint8)
    assert memory.is_short(failed.value)
    with memory.bounded(within(200)), pytest.raises(RuntimeError) as short:
        torch.ones(1000 * MEGABYTE, dtype=torch.uint8)
    assert memory.is_short(short.value)
    np.ones(500 * MEGABYTE, np.uint8)


def test_what_fits_is_had() -> None:
    with memory.bounded(within(400)):
        assert np.ones(100 * MEGABYTE, np.uint8).sum() == 100 * MEGABYTE


def test_other_errors_do_not_say_that_memory_is_short() -> None:
    assert not memory.is_short(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
