"""docs/gateway.md and docs/corrections.md: their requests, sent as they stand to `labelwright gateway`, get the answers shown."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway import LISTENING, READY, GatewayProcess
from tests.support.redis import PROGRAM
from tests.support.servers import RunningServer

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="neither valkey-server nor redis-server is installed")

DOCS = Path(__file__).parents[2] / "docs"
ANY = "…"
PLACE = "http://127.0.0.1:8000"
VARIABLES = {"task_id": "ID", "feedback_token": "TOKEN", "correction_id": "CORRECTION"}  # by the first member that has the value
PATIENCE_SECONDS = 60.0


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, papers_predictor: RunningServer) -> Iterator[str]:
    """`labelwright gateway` as the page starts it, on another port, with its own Redis; it must end cleanly."""
    folder = tmp_path_factory.mktemp("gateway")
    log = folder / "gateway.log"
    with log.open("wb") as stderr:
        command = [sys.executable, "-m", "labelwright", "gateway", "--predictor", papers_predictor.rest, "--port", "0"]
        process = GatewayProcess(subprocess.Popen(command, stderr=stderr, stdout=stderr, cwd=folder), log)
        try:
            address = process.wait_for(LISTENING)
            process.wait_for(READY)
            yield address
            assert process.stop() == 0
        finally:
            process.process.kill()
    assert children_of(process.process.pid) == []


def children_of(pid: int) -> list[str]:
    """Processes that the gateway started and left behind: its worker, its Redis."""
    listed = subprocess.run(["ps", "-eo", "sid,ppid,args"], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if line.split()[1] == str(pid)]


def requests(page: str) -> list[tuple[str, str]]:
    """Commands of the page, each with the response that it shows."""
    blocks = re.findall(r"^```console\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    parts = [part for block in blocks for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]]
    return [(command.strip(), shown.strip()) for command, _, shown in (part.partition("\n") for part in parts)]


@pytest.mark.parametrize("page", ["gateway.md", "corrections.md"])
def test_every_request_of_the_page_gets_the_answer_that_it_shows(gateway: str, page: str) -> None:
    examples = requests((DOCS / page).read_text())
    assert len(examples) >= 6
    known: dict[str, str] = {}
    for command, shown in examples:
        response = send(command.replace(PLACE, gateway), known)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while is_read(command) and differences(shown, response) and time.monotonic() < deadline:
            time.sleep(0.2)  # until what the page shows has come
            response = send(command.replace(PLACE, gateway), known)
        assert not differences(shown, response), (command, response)
        body = response.partition("\n\n")[2]
        document = json.loads(body) if body.startswith("{") else {}
        known = {name: document[member] for member, name in VARIABLES.items() if member in document} | known


def send(command: str, variables: dict[str, str]) -> str:
    """Run the command in a shell, and return the response with its head."""
    shell = ["bash", "-c", command.replace("curl ", "curl -si ", 1)]
    environment = {**os.environ, **variables}
    done = subprocess.run(shell, capture_output=True, text=True, check=True, timeout=60, env=environment)
    return done.stdout.replace("\r", "")


def is_read(command: str) -> bool:
    return " -X " not in command


def differences(shown: str, response: str) -> list[str]:
    """Parts of the shown response that the real one lacks: status, headers, body."""
    (status, *headers), body = split(shown)
    (real_status, *real_headers), real_body = split(response)
    found = [] if status == real_status else [f"{status} is {real_status}"]
    found += [header for header in headers if not any(matches(header, real) for real in real_headers)]
    if body.startswith("{"):
        return found if same(json.loads(body), json.loads(real_body)) else [*found, body]
    return found if matches(body, real_body) else [*found, body]


def split(response: str) -> tuple[list[str], str]:
    head, _, body = response.partition("\n\n")
    return head.splitlines(), body.strip()


def matches(shown: str, real: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, shown.split(ANY))), real, re.DOTALL) is not None


def same(shown: Any, real: Any) -> bool:
    """Whether the real value is the shown one; numbers to three places."""
    if isinstance(shown, dict):
        return isinstance(real, dict) and shown.keys() == real.keys() and all(same(shown[key], real[key]) for key in shown)
    if isinstance(shown, list):
        return isinstance(real, list) and len(shown) == len(real) and all(map(same, shown, real))
    if isinstance(shown, float):
        return bool(shown == round(real, 3))
    return bool(shown == real) or (isinstance(shown, str) and isinstance(real, str) and matches(shown, real))
