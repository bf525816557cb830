"""Clients that people use, as they come, against a served version. `docs/protocol.md` has a table of what each does."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers import RunningServer, serving
from tests.versions import make_version

CLIENTS = Path(__file__).parent / "clients"
INFER = "/v2/models/papers/infer"
PATIENCE = 90.0  # seconds for one client to start and ask


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("served")
    with serving(make_version(folder / "v1"), folder / "log") as running:
        yield running


def printed(*command: str) -> str:
    """What the command writes to standard output; fails with what it writes to standard error."""
    finished = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def labels_of(body: str) -> list[str]:
    """The labels of a v2 answer over REST, padding included."""
    (labels,) = (each["data"] for each in json.loads(body)["outputs"] if each["name"] == "labels")
    found: list[str] = labels
    return found


def v2(*texts: str, **more: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "text", "shape": [len(texts)], "datatype": "BYTES", "data": list(texts)}], **more}


# --- Java -----------------------------------------------------------------------------------------------------------


def test_the_jdks_client_is_answered_though_it_offers_http_2_with_every_request(server: RunningServer) -> None:
    lines = printed("java", str(CLIENTS / "Client.java"), server.rest).splitlines()
    answers = {name: (int(status), body) for name, status, body in (line.split("\t") for line in lines)}

    assert answers.pop("ready")[0] == 200
    assert answers.pop("refused") == (400, '{"error":"the body is not JSON: Input data was truncated"}')
    assert {name: (status, labels_of(body)) for name, (status, body) in answers.items()} == dict.fromkeys(
        ["json", "again", "chunked", "expect-continue", "large", "async"], (200, ["cs.LG"])
    )
    assert "Unsupported upgrade" not in server.log.read_text()


# --- curl -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(["--http2"], id="offering-http2"),
        pytest.param(["--http1.0"], id="http-1.0"),
        pytest.param(["--header", "Transfer-Encoding: chunked"], id="chunked"),
        pytest.param(["--header", "Expect: 100-continue"], id="expecting-100-continue"),
        pytest.param(["--http2", "--header", "Expect: 100-continue"], id="offering-and-expecting"),
        pytest.param(["--compressed"], id="taking-compressed-answers"),
        pytest.param(["--request-target", f"http://elsewhere{INFER}"], id="absolute-target"),
    ],
)
def test_curl_is_answered(server: RunningServer, options: list[str]) -> None:
    body = printed("curl", "--silent", "--show-error", "--fail", *options, server.rest + INFER, "--data", json.dumps(v2("cs.LG")))

    assert labels_of(body) == ["cs.LG"]


def test_curl_is_answered_about_a_body_so_large_that_it_asks_before_it_sends_it(server: RunningServer, tmp_path: Path) -> None:
    (tmp_path / "body").write_text(json.dumps(v2("cs.LG", *["word " * 100_000] * 4)))
    options = ["--silent", "--show-error", "--fail", "--http2", "--data-binary", f"@{tmp_path / 'body'}"]

    assert labels_of(printed("curl", *options, server.rest + INFER))[0] == "cs.LG"
