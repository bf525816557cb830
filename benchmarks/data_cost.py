"""Measure the cost of a side's steps in a fresh process."""

from __future__ import annotations

import multiprocessing
import os
import resource
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

Side = Callable[[Path, Path], Iterator[str]]
SAMPLE_SECONDS = 0.05
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Laps:
    """Wall seconds by step, CPU seconds of all steps, peak memory (RSS, MB) of the process and its children together."""

    seconds: dict[str, float]
    cpu: float
    peak: float


def measure(side: Side, file: Path) -> Laps:
    """Run `side` on the file, with a temporary folder."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    with tempfile.TemporaryDirectory() as folder:
        process = context.Process(target=_run, args=(side, file, Path(folder), sender))
        process.start()
        sender.close()
        laps: Laps = receiver.recv()
        process.join()
    return laps


def _run(side: Side, file: Path, folder: Path, sender: Connection) -> None:
    peak = _Peak()
    peak.start()
    seconds, last = {}, time.perf_counter()
    for step in side(file, folder):
        now = time.perf_counter()
        seconds[step], last = now - last, now
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    sender.send(
        Laps(seconds, sum(each.ru_utime + each.ru_stime for each in usage), max(peak.megabytes, usage[0].ru_maxrss / 1024))
    )


class _Peak(threading.Thread):
    """Thread that samples the memory of this process and its children."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.megabytes = 0.0

    def run(self) -> None:
        while True:
            self.megabytes = max(self.megabytes, _resident(os.getpid()) / 1e6)
            time.sleep(SAMPLE_SECONDS)


def _resident(process: int) -> int:
    """Return the resident bytes of the process and its descendants; shared pages count for each process."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
        tasks = list(Path(f"/proc/{process}/task").iterdir())
        children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
        return 0
    return pages * PAGE_BYTES + sum(map(_resident, children))
