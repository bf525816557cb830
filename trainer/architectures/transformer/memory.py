"""What happens when memory is short: an error that can be caught, rather than a kernel that kills the process."""

from __future__ import annotations

import ctypes
import gc
import math
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

# In the messages of torch's allocators and of oneDNN, which have no error of their own for it on a CPU.
SIGNS = ("can't allocate memory", "out of memory", "bad_alloc", "could not create a memory", "could not create a primitive")
M_MMAP_THRESHOLD = -3  # malloc.h
NEEDED_OF_FILES = 0.5  # of the libraries' pages that are in memory; the kernel takes the rest back when it has to
RESERVE = 0.1  # of the limit: for what the kernel counts besides, such as stacks and files that were just written


def is_short(error: BaseException) -> bool:
    """Whether this error says that memory is short."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(sign in str(error) for sign in SIGNS)


def release() -> None:
    """Give back what is no longer used, and what the allocators keep for later: others could not have it."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of the GNU C library
    if trim is not None:
        trim(0)


def give_back_at_once() -> None:
    """From now on, have every tensor of a megabyte and more mapped for itself and unmapped when it is gone.

    The GNU C library keeps freed memory for itself otherwise, where neither `bounded` nor the kernel can tell what is used
    of it. It costs time: new pages have to be cleared.
    """
    adjust = getattr(ctypes.CDLL(None), "mallopt", None)
    if adjust is not None:
        adjust(M_MMAP_THRESHOLD, 2**20)


@contextmanager
def bounded(limit: float) -> Iterator[None]:
    """Within, an allocation that would take the process beyond `limit` bytes of memory fails; infinite: nothing is changed.

    Otherwise it succeeds, and the kernel kills the process when the memory is used. Only without a GPU, whose driver maps
    far more addresses than it uses memory.
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
    """Bytes of data that this process may map, of which some are mapped and not used; None without a limit."""
    if math.isinf(limit):
        return None
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    mapped, used, files = (int(status[name].split()[0]) * 1024 for name in ("VmData", "RssAnon", "RssFile"))
    return max(mapped, mapped + int(limit * (1 - RESERVE) - files * NEEDED_OF_FILES) - used)
