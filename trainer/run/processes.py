"""Processes of a distributed training: read the rank of this one, and start those of a node.

Our Jobs and Kubeflow's Trainer set the environment that torchrun reads (PET_NNODES, PET_NPROC_PER_NODE, PET_NODE_RANK,
PET_MASTER_ADDR, PET_MASTER_PORT). torchrun itself is not used: it always exits with 1 if a process fails, while a Job
decides by exit codes, and it kills its processes 30 s after SIGTERM, while a checkpoint may take longer to save. Under
torchrun or any other launcher that sets RANK and WORLD_SIZE, each process uses these.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from trainer.errors import ConfigRejected

PORT = 29400
GRACE = 60.0  # seconds in which the processes of a node may end once one of them has failed
POLL = 0.2


@dataclass(frozen=True)
class Processes:
    """The processes of a training and the rank of this one; rank 0 saves and publishes.

    leads_its_node: whether it is the first process of its machine. node: environment variables of each process that has to
    be started on this machine; empty if there is only this process.
    """

    rank: int = 0
    world_size: int = 1
    leads_its_node: bool = True
    node: tuple[Mapping[str, str], ...] = ()

    @property
    def first(self) -> bool:
        """Return whether this is rank 0."""
        return self.rank == 0


def read_processes(environment: Mapping[str, str], *, gpus: Callable[[], int]) -> Processes:
    """Return the processes that the environment describes. gpus: counts this machine's GPUs. Raises ConfigRejected."""
    if "RANK" in environment and "WORLD_SIZE" in environment:
        leads = _number(environment, "LOCAL_RANK", 0) == 0
        return Processes(_number(environment, "RANK"), _number(environment, "WORLD_SIZE"), leads_its_node=leads)
    nodes, here = _number(environment, "PET_NNODES", 1), _per_node(environment, gpus)
    if nodes * here == 1:
        return Processes()
    first = _number(environment, "PET_NODE_RANK", 0) * here
    address = environment.get("PET_MASTER_ADDR", "127.0.0.1" if nodes == 1 else "")
    if not address:
        raise ConfigRejected(f"PET_NNODES is {nodes} and PET_MASTER_ADDR is not set: expected the first node's address")
    common = {
        "WORLD_SIZE": str(nodes * here),
        "LOCAL_WORLD_SIZE": str(here),
        "MASTER_ADDR": address,
        "MASTER_PORT": environment.get("PET_MASTER_PORT", str(PORT)),
        "TORCH_CPP_LOG_LEVEL": environment.get("TORCH_CPP_LOG_LEVEL", "ERROR"),  # its warnings are not JSON
    }
    node = tuple({**common, "RANK": str(first + local), "LOCAL_RANK": str(local)} for local in range(here))
    return Processes(first, nodes * here, node=node)


def run_all(processes: Sequence[Mapping[str, str]], environment: Mapping[str, str]) -> int:
    """Run this command once for each of `processes`, with its variables. Return the exit code of the first failure, or 0.

    SIGTERM is passed on to all. When one fails, the others get SIGTERM, and SIGKILL after GRACE seconds.
    """
    started = [subprocess.Popen(sys.orig_argv, env={**environment, **each}) for each in processes]  # noqa: S603 - our own

    def pass_on(*_: object) -> None:
        for each in started:
            each.terminate()

    before = signal.signal(signal.SIGTERM, pass_on)
    try:
        failed = _first_failure(started)
        pass_on()
        deadline = time.monotonic() + GRACE
        while any(each.poll() is None for each in started):
            if time.monotonic() > deadline:
                for each in started:
                    each.kill()
            time.sleep(POLL)
    finally:
        signal.signal(signal.SIGTERM, before)
    return failed


def _first_failure(started: Sequence[subprocess.Popen[bytes]]) -> int:
    """Wait until one fails or all have ended. Return the exit code, which is 128 + N if signal N killed the process."""
    while True:
        codes = [each.poll() for each in started]
        for code in codes:
            if code:
                return code if code > 0 else 128 - code
        if None not in codes:
            return 0
        time.sleep(POLL)


def _per_node(environment: Mapping[str, str], gpus: Callable[[], int]) -> int:
    """Return the number of processes per node. For "auto", "gpu" and "cpu": one per GPU, or one that uses all cores."""
    said = environment.get("PET_NPROC_PER_NODE", "1")
    return max(1, gpus()) if said in ("auto", "gpu", "cpu") else _number(environment, "PET_NPROC_PER_NODE", 1)


def _number(environment: Mapping[str, str], name: str, default: int | None = None) -> int:
    text = environment.get(name, "" if default is None else str(default))
    low, _, high = text.partition(":")  # torchrun takes MIN:MAX
    if not low.isdecimal() or (high and high != low):
        raise ConfigRejected(f"{name} is {text!r}: expected a number")
    return int(low)
