"""What an MLflow server that somebody else has named gets to see, and where it can have files written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from trainer.tracking.mlflow_server import MlflowServer, may_write_to
from trainer.tracking.outbox import Refused

TOKEN = "the-secret-token"
CREDENTIALS = {"MLFLOW_TRACKING_TOKEN": TOKEN}
PASSWORD = {"MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_PASSWORD": "the-password"}


class Server(ThreadingHTTPServer):
    """Keeps each request's method, path and credentials. artifact_uri: that of every run. redirect: where it sends everybody."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[tuple[str, str, str | None]] = []
        self.artifact_uri = "mlflow-artifacts:/1/r/artifacts"
        self.redirect = ""

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def authorizations(self) -> set[str | None]:
        return {each[2] for each in self.seen}


class Handler(BaseHTTPRequestHandler):
    server: Server

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.seen.append((self.command, self.path, self.headers.get("Authorization")))
        if self.server.redirect:
            self.send_response(307)
            self.send_header("Location", f"{self.server.redirect}{self.path}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        info = {
            "run_id": "r",
            "run_uuid": "r",
            "experiment_id": "1",
            "status": "RUNNING",
            "artifact_uri": self.server.artifact_uri,
        }
        body = json.dumps({"run": {"info": info, "data": {}}, "run_info": info}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = answer  # noqa: N815 - the standard library's names

    def log_message(self, *_: object) -> None: ...


@contextmanager
def listening() -> Iterator[Server]:
    server = Server()
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def named() -> Iterator[Server]:
    """The server that the settings name."""
    with listening() as server:
        yield server


@pytest.fixture
def other() -> Iterator[Server]:
    with listening() as server:
        yield server


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_TRACKING_URI", *CREDENTIALS, *PASSWORD):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.mark.parametrize("credentials", [pytest.param(CREDENTIALS, id="token"), pytest.param(PASSWORD, id="password")])
@pytest.mark.parametrize("theirs", [pytest.param(True, id="of-another-server"), pytest.param(False, id="of-no-server")])
def test_a_server_gets_no_credentials_that_are_not_for_it(
    credentials: dict[str, str], theirs: bool, named: Server, environment: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name, value in credentials.items():
        environment.setenv(name, value)
    if theirs:
        environment.setenv("MLFLOW_TRACKING_URI", "https://mlflow.example.com")

    MlflowServer(named.uri).end("r", "FINISHED")

    assert named.authorizations == {None}
    assert "no credentials are sent to MLflow at " + named.uri in caplog.text
    assert not [value for value in credentials.values() if value in caplog.text]


def test_the_server_named_beside_the_credentials_gets_them(
    named: Server, environment: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    environment.setenv("MLFLOW_TRACKING_TOKEN", TOKEN)
    environment.setenv("MLFLOW_TRACKING_URI", f"{named.uri}/")

    MlflowServer(named.uri).end("r", "FINISHED")

    assert named.authorizations == {f"Bearer {TOKEN}"}
    assert caplog.text == ""


@pytest.mark.parametrize(
    "beside",
    [
        pytest.param("https://127.0.0.1:{port}", id="another-scheme"),
        pytest.param("http://127.0.0.1", id="another-port"),
        pytest.param("http://127.0.0.1.example.com:{port}", id="a-longer-name"),
        pytest.param("http://mlflow:{port}@example.com", id="a-name-before-an-at"),
        pytest.param("http://127.0.0.1:port", id="no-port"),
    ],
)
def test_the_same_server_is_the_same_scheme_host_and_port(beside: str, named: Server, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("MLFLOW_TRACKING_TOKEN", TOKEN)
    environment.setenv("MLFLOW_TRACKING_URI", beside.format(port=named.server_port))

    MlflowServer(named.uri).end("r", "FINISHED")

    assert named.authorizations == {None}


def test_a_redirect_carries_no_credentials_to_another_server(
    named: Server, other: Server, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("MLFLOW_TRACKING_TOKEN", TOKEN)
    environment.setenv("MLFLOW_TRACKING_URI", named.uri)
    named.redirect = other.uri

    MlflowServer(named.uri).end("r", "FINISHED")

    assert named.authorizations == {f"Bearer {TOKEN}"}
    assert other.authorizations <= {None}


def test_files_go_through_the_server(named: Server, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("MLFLOW_TRACKING_TOKEN", TOKEN)
    environment.setenv("MLFLOW_TRACKING_URI", named.uri)

    MlflowServer(named.uri).add_text("r", "manifest.json", "{}")

    assert ("PUT", "/api/2.0/mlflow-artifacts/artifacts/1/r/artifacts/manifest.json", f"Bearer {TOKEN}") in named.seen


@pytest.mark.parametrize(
    "place",
    [
        pytest.param("http://127.0.0.1:{port}/api/2.0/mlflow-artifacts/artifacts", id="another-server"),
        pytest.param("mlflow-artifacts://127.0.0.1:{port}/1", id="another-server-by-the-same-protocol"),
        pytest.param("{folder}", id="a-folder"),
        pytest.param("file://{folder}", id="the-address-of-a-folder"),
        pytest.param("s3://models/papers/v1", id="a-published-version"),
    ],
)
def test_files_go_nowhere_else_that_the_server_names(
    place: str, named: Server, other: Server, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment.setenv("MLFLOW_TRACKING_TOKEN", TOKEN)
    environment.setenv("MLFLOW_TRACKING_URI", named.uri)
    environment.setenv("AWS_ENDPOINT_URL", other.uri)
    folder = tmp_path / "there"
    folder.mkdir()
    named.artifact_uri = place.format(port=other.server_port, folder=folder)
    report = tmp_path / "report.html"
    report.write_text("<html>")
    server = MlflowServer(named.uri)

    for write in (lambda: server.add_file("r", report), lambda: server.add_text("r", "manifest.json", "{}")):
        with pytest.raises(Refused, match="expected mlflow-artifacts:/"):
            write()

    assert other.seen == []
    assert list(folder.iterdir()) == []


def test_files_go_where_the_settings_let_them(named: Server, tmp_path: Path) -> None:
    named.artifact_uri = f"file://{tmp_path}/artifacts/1/r"

    MlflowServer(named.uri, artifacts=f"file://{tmp_path}/artifacts").add_text("r", "manifest.json", "{}")

    assert (tmp_path / "artifacts/1/r/manifest.json").read_text() == "{}"


@pytest.mark.parametrize(
    ("where", "may"),
    [
        pytest.param("s3://mlflow/1/r/artifacts", True, id="below"),
        pytest.param("s3://mlflow-of-others/1", False, id="begins-alike"),
        pytest.param("s3://mlflow/../models/papers/v1", False, id="climbs"),
        pytest.param("s3://mlflow/%2e%2e/models/papers/v1", False, id="climbs-in-disguise"),
        pytest.param("s3://mlflow/1\\..\\..", False, id="climbs-by-backslashes"),
        pytest.param("mlflow-artifacts:/1", True, id="through-the-server"),
        pytest.param("mlflow-artifacts://mlflow:5000/1", True, id="through-the-server-by-name"),
        pytest.param("mlflow-artifacts://mlflow:5001/1", False, id="through-another"),
        pytest.param("", False, id="nowhere"),
    ],
)
def test_an_address_below_the_settings_is_one_that_cannot_leave_it(where: str, may: bool) -> None:
    assert may_write_to(where, server="http://me:secret@mlflow:5000", own="s3://mlflow") is may


def test_credentials_in_the_address_itself_are_sent(named: Server) -> None:
    with suppress(Refused):
        MlflowServer(named.uri.replace("http://", "http://me:pw@")).end("r", "FINISHED")
    assert {str(each).partition(" ")[0] for each in named.authorizations} == {"Basic"}
