"""Communication between the ranks of one training. With a single process, every function returns its own values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import distributed, serialization

# Until all ranks have joined: nodes may have to start first, and every rank reads the data. A rank that is silent for longer
# is considered lost.
JOIN_TIMEOUT = timedelta(minutes=30)
# The other ranks wait while rank 0 exports, scores and publishes.
PUBLISH_TIMEOUT = timedelta(days=2)
BEFORE_TORCH = 5  # priority of our function to restore tensors; torch's own start at 10
# Random states take 16 KB and some bytes for each GPU. Any process that reaches the port may announce any length.
MAX_FILE_BYTES = 2**20


class PeerLost(ConnectionError):
    """A rank of the training is lost: all have to restart from the last checkpoint."""


def world_size() -> int:
    """Return the number of processes of this training."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """Return the rank of this process; rank 0 saves and publishes."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def backend() -> str:
    """Return the backend that carries gradients: NCCL between GPUs, gloo between CPUs."""
    return "nccl" if torch.cuda.is_available() else "gloo"


def any_rank(*flags: bool) -> tuple[bool, ...]:
    """Return for each flag whether it is true on any rank: the same answer on all. Every rank has to call it."""
    if world_size() == 1:
        return flags
    raised = torch.tensor(flags, dtype=torch.uint8, device=_device())
    distributed.all_reduce(raised, op=distributed.ReduceOp.MAX)
    return tuple(bool(each) for each in raised.tolist())


def all_equal(number: int) -> bool:
    """Return whether the number is the same on all ranks. Every rank has to call it."""
    if world_size() == 1:
        return True
    named = torch.tensor([number, -number], device=_device())
    distributed.all_reduce(named, op=distributed.ReduceOp.MAX)
    return named.tolist() == [number, -number]


def gather_files(path_of: Callable[[int], Path]) -> None:
    """Copy the file of every rank, `path_of(rank)`, to rank 0. Every rank has to call it.

    Peers are not authenticated: files travel as bytes and are never unpickled, their names come from the rank alone, and their
    length is bounded. Raises PeerLost for a length out of bounds.
    """
    if world_size() == 1:
        return
    content = path_of(rank()).read_bytes()
    lengths = [torch.zeros(1, dtype=torch.int64, device=_device()) for _ in range(world_size())]
    distributed.all_gather(lengths, torch.tensor([len(content)], device=_device()))
    sizes = [int(each) for each in lengths]
    for peer, size in enumerate(sizes):
        if not 0 <= size <= MAX_FILE_BYTES:
            raise PeerLost(f"process {peer} of the training announces a file of {size} bytes: expected at most {MAX_FILE_BYTES}")
    sent = torch.zeros(max(sizes), dtype=torch.uint8)
    sent[: len(content)] = torch.frombuffer(bytearray(content), dtype=torch.uint8)
    sent = sent.to(_device())
    received = [torch.empty_like(sent) for _ in sizes] if rank() == 0 else None
    distributed.gather(sent, received)
    for peer, (data, size) in enumerate(zip(received or (), sizes, strict=False)):
        if peer != 0:
            path_of(peer).write_bytes(data[:size].cpu().numpy().tobytes())


@contextmanager
def process_group() -> Iterator[None]:
    """Join the ranks of the training, which torch's environment variables describe, and leave when rank 0 is done.

    A rank that has left could not rejoin if rank 0 fails and all have to restart. Raises PeerLost if not all ranks join.
    """
    with peer_errors():
        if torch.cuda.is_available():
            torch.cuda.set_device(distributed.get_node_local_rank(0))
        try:
            distributed.init_process_group(backend(), timeout=JOIN_TIMEOUT)
        except RuntimeError as error:
            raise PeerLost(f"the other processes of the training did not join: {str(error).splitlines()[0]}") from error
        end = distributed.new_group(backend="gloo", timeout=PUBLISH_TIMEOUT)  # all ranks have to be connected for this
        serialization.register_package(BEFORE_TORCH, lambda _: None, _numbered_cpu)
        yield
        distributed.barrier(end)
        distributed.destroy_process_group()


@contextmanager
def peer_errors() -> Iterator[None]:
    """Turn torch's error for a lost connection into PeerLost; torch raises RuntimeError for everything."""
    try:
        yield
    except RuntimeError as error:
        if world_size() > 1 and any(sign in str(error) for sign in PEER_LOST_SIGNS):
            raise PeerLost(f"another process of the training is lost: {str(error).splitlines()[0]}") from error
        raise


# Parts of messages of gloo, NCCL and torch's store.
PEER_LOST_SIGNS = (
    "Connection closed by peer",
    "Connection reset",
    "onnection refused",
    "imed out",
    "roken pipe",
    "NCCL",
    "TCPStore",
    "gloo",
)


def _numbered_cpu(storage: Any, location: str) -> Any:
    """Keep a storage in memory if the Trainer loads it to a device such as "cpu:1", which torch does not know."""
    return storage if location.startswith("cpu:") else None


def _device() -> str:
    """Return the device of tensors that are exchanged: the GPU of the process for NCCL, memory for gloo."""
    return "cuda" if backend() == "nccl" else "cpu"
