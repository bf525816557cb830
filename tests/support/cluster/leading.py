"""Replica with leader election: `python leading.py NAMESPACE HOLDER` prints when it leads; SIGTERM ends it cleanly."""

from __future__ import annotations

import os
import signal
import sys
import threading

from k8s.controller.clients.kubernetes import from_environment
from k8s.controller.runtime.leader import LeaderCandidate, Lease, lead


def main(namespace: str, holder: str) -> None:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())

    def work() -> None:
        say("works")
        stop.wait()
        say("ended")

    with from_environment() as cluster:
        lead(LeaderCandidate(cluster, Lease(namespace, "test", holder)), on_started=work, on_lost=lambda: os._exit(1), stop=stop)


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


main(*sys.argv[1:])
