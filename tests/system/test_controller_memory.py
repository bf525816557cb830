"""The controller's memory while a Pod answers with garbage; measured in a process that has loaded all of the controller."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.answers import answering

MEGABYTES = 160
PROBING = """
import pathlib, re, sys, threading
import k8s.controller.__main__
from k8s.controller.clients.probe import HttpProbe

probe, pod = HttpProbe(port=int(sys.argv[1])), {"status": {"podIP": "127.0.0.1"}}
answers = []
threads = [threading.Thread(target=lambda: answers.extend(probe.version(pod, "papers") for _ in range(5))) for _ in range(4)]
[each.start() for each in threads]
[each.join() for each in threads]
status = pathlib.Path("/proc/self/status").read_text()  # getrusage counts the parent, too, from before this program was its own
print(len(answers), set(answers), int(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1]) // 1024)
"""


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"versions": [' + b"{}," * 1_300_000 + b"{}]}", id="many-objects"),
        pytest.param(b'{"versions": [' + b"[" * 2_000_000, id="deep"),
        pytest.param(b"x" * 4_000_000, id="no-json"),
    ],
)
def test_a_pod_that_answers_with_garbage_costs_no_memory(body: bytes) -> None:
    with answering() as server:
        server.body = body
        done = subprocess.run([sys.executable, "-c", PROBING, str(server.port)], capture_output=True, text=True, check=True)

    asked, said, peak = done.stdout.split()
    assert (asked, said) == ("20", "{None}")
    assert int(peak) < MEGABYTES
