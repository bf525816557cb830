"""What several processes of one training tell one another; where there is one process, each answer is its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import distributed, serialization

# Until the others have come: their nodes may have to be started first, and they read the data, too. Also how long one may
# be silent before the others take it for dead.
START = timedelta(minutes=30)
# While the first process exports, scores and publishes, the others wait.
END = timedelta(days=2)
BEFORE_TORCH = 5  # its own ways to restore data are asked from 10 on
# Random states take 16 KB and some bytes for each GPU. Whoever reaches the port may announce any length.
MAX_FILE_BYTES = 2**20


class PeerLost(ConnectionError):
    """Another process of the training has gone: all have to begin again, from the last checkpoint."""


def count() -> int:
    """The processes of this training."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def place() -> int:
    """Which of them this one is; the first, 0, saves and publishes."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def backend() -> str:
    """What carries gradients: NCCL between GPUs, gloo between CPUs."""
    return "nccl" if torch.cuda.is_available() else "gloo"


def agree(*flags: bool) -> tuple[bool, ...]:
    """For each flag whether any process has raised it: the same answer everywhere. All processes have to ask."""
    if count() == 1:
        return flags
    raised = torch.tensor(flags, dtype=torch.uint8, device=_device())
    distributed.all_reduce(raised, op=distributed.ReduceOp.MAX)
    return tuple(bool(each) for each in raised.tolist())


def same(number: int) -> bool:
    """Whether all processes name the same number. All processes have to ask."""
    if count() == 1:
        return True
    named = torch.tensor([number, -number], device=_device())
    distributed.all_reduce(named, op=distributed.ReduceOp.MAX)
    return named.tolist() == [number, -number]


def bring_to_first(path_of: Callable[[int], Path]) -> None:
    """Copy the file of every rank, `path_of(rank)`, to the first process. All processes have to call it.

    Peers are not authenticated. So files travel as bytes and are never unpickled, their names come from the rank alone, and
    their length is bounded. Raises PeerLost for a length out of bounds.
    """
    if count() == 1:
        return
    content = path_of(place()).read_bytes()
    lengths = [torch.zeros(1, dtype=torch.int64, device=_device()) for _ in range(count())]
    distributed.all_gather(lengths, torch.tensor([len(content)], device=_device()))
    sizes = [int(each) for each in lengths]
    for rank, size in enumerate(sizes):
        if not 0 <= size <= MAX_FILE_BYTES:
            raise PeerLost(f"process {rank} of the training announces a file of {size} bytes: expected at most {MAX_FILE_BYTES}")
    sent = torch.zeros(max(sizes), dtype=torch.uint8)
    sent[: len(content)] = torch.frombuffer(bytearray(content), dtype=torch.uint8)
    sent = sent.to(_device())
    received = [torch.empty_like(sent) for _ in sizes] if place() == 0 else None
    distributed.gather(sent, received)
    for rank, (data, size) in enumerate(zip(received or (), sizes, strict=False)):
        if rank != 0:
            path_of(rank).write_bytes(data[:size].cpu().numpy().tobytes())


@contextmanager
def until_published() -> Iterator[None]:
    """Around all that a process does in a training of several; each ends when the first has ended what is within.

    A process that ended earlier could not come back when the first one fails and everybody has to begin again. Begins when
    all have come, by the environment that torch reads; raises PeerLost where they do not.
    """
    with peers():
        if torch.cuda.is_available():
            torch.cuda.set_device(distributed.get_node_local_rank(0))
        try:
            distributed.init_process_group(backend(), timeout=START)
        except RuntimeError as error:
            raise PeerLost(f"the other processes of the training did not come: {str(error).splitlines()[0]}") from error
        end = distributed.new_group(backend="gloo", timeout=END)  # while all are there: it could wait for one that has gone
        serialization.register_package(BEFORE_TORCH, lambda _: None, _numbered_cpu)
        yield
        distributed.barrier(end)
        distributed.destroy_process_group()


@contextmanager
def peers() -> Iterator[None]:
    """Within, a connection that is lost is PeerLost; torch has one kind of error for everything."""
    try:
        yield
    except RuntimeError as error:
        if count() > 1 and any(sign in str(error) for sign in SIGNS):
            raise PeerLost(f"another process of the training has gone: {str(error).splitlines()[0]}") from error
        raise


# In the messages of gloo, NCCL and torch's store.
SIGNS = (
    "Connection closed by peer",
    "Connection reset",
    "onnection refused",
    "imed out",
    "roken pipe",
    "NCCL",
    "TCPStore",
    "gloo",
)


def _numbered_cpu(storage: Any, place: str) -> Any:
    """The Trainer loads the optimizer's state to a device of the process's own, such as "cpu:1", which torch cannot find."""
    return storage if place.startswith("cpu:") else None


def _device() -> str:
    """Where NCCL finds its tensors is the GPU of the process; gloo's are in memory."""
    return "cuda" if backend() == "nccl" else "cpu"
