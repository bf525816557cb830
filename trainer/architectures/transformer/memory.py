"""Handling of short memory: raise an error that can be caught, instead of being killed by the kernel."""

from __future__ import annotations

import ctypes
import gc
import math
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

# Messages of torch's allocators and of oneDNN, which raise plain RuntimeErrors on a CPU.
SIGNS = ("can't allocate memory", "out of memory", "bad_alloc", "could not create a memory", "could not create a primitive")
M_MMAP_THRESHOLD = -3  # malloc.h
NEEDED_OF_FILES = 0.5  # share of the libraries' resident pages that is needed; the kernel can reclaim the rest
RESERVE = 0.1  # share of the limit for other memory that the kernel counts, such as stacks and files that were just written


def is_short(error: BaseException) -> bool:
    """Return whether this error means that memory is short."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(sign in str(error) for sign in SIGNS)


def release() -> None:
    """Return unused memory to the system, including what the allocators keep for later."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of the GNU C library
    if trim is not None:
        trim(0)


def give_back_at_once() -> None:
    """Map each later tensor of 1 MiB or more separately, and unmap it when it is freed.

    Otherwise the GNU C library keeps freed memory, which `bounded` and the kernel cannot distinguish from used memory.
    This costs time, since new pages have to be cleared.
    """
    adjust = getattr(ctypes.CDLL(None), "mallopt", None)
    if adjust is not None:
        adjust(M_MMAP_THRESHOLD, 2**20)


@contextmanager
def bounded(limit: float) -> Iterator[None]:
    """Let allocations fail that would take the process beyond `limit` bytes of memory; infinite: change nothing.

    Without the bound they succeed, and the kernel kills the process when the memory is used. With a GPU nothing is changed:
    its driver maps far more addresses than it uses memory.
    """
    room = _room(limit)
    before = resource.getrlimit(resource.RLIMIT_DATA)
    if room is not None and not torch.cuda.is_available():
        resource.setrlimit(resource.RLIMIT_DATA, (room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def _room(limit: float) -> int | None:
    """Return the bytes of data that this process may map, including those that are mapped and unused; None without a limit."""
    if math.isinf(limit):
        return None
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    mapped, used, files = (int(status[name].split()[0]) * 1024 for name in ("VmData", "RssAnon", "RssFile"))
    return max(mapped, mapped + int(limit * (1 - RESERVE) - files * NEEDED_OF_FILES) - used)
