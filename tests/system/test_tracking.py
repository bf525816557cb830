"""Runs that are written down in a real MLflow server, and what its absence costs."""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import Run

from model.artifact import REPORT, parse_manifest
from model.manifest import Dataset, Manifest
from tests.support.versions import make_manifest
from trainer.config.settings import Config, GateConfig, TrackingConfig
from trainer.errors import ConfigRejected, Terminated
from trainer.evaluation.gate_measurement import measure
from trainer.tracking.tracker import MlflowTracker, Status, Tracker, open_tracker, tracked

PATIENCE = 180.0  # seconds; the server imports for long on a busy machine
DATASET = Dataset(uri="s3://texts/papers/", sha256="5e" * 32, rows=1234, columns=("text", "labels"))
URI = "s3://models/papers/v1/"


class MlflowProcess:
    """`mlflow server` on SQLite; what it holds survives its end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            self._port = int(listener.getsockname()[1])
        self.uri = f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host=127.0.0.1", f"--port={self._port}", "--workers=1"]
        command += [f"--backend-store-uri=sqlite:///{self._folder}/mlflow.db", f"--artifacts-destination={self._folder}/files"]
        environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        with (self._folder / "log").open("ab") as output:
            self._process = subprocess.Popen(
                command, cwd=self._folder, env=environment, stdout=output, stderr=output, start_new_session=True
            )
        self._wait()

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)  # its session: the workers, too
        self._process.wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                urllib.request.urlopen(f"{self.uri}/health", timeout=1).close()
            except OSError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise AssertionError((self._folder / "log").read_text()) from None
                time.sleep(0.1)
            else:
                return


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowProcess]:
    process = MlflowProcess(tmp_path_factory.mktemp("mlflow"))
    process.start()
    try:
        yield process
    finally:
        process.kill()


@pytest.fixture(autouse=True)
def told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="trainer")


def config_of(uri: str, *, name: str, version: str = "v1", from_scratch: bool = False) -> Config:
    return Config.model_validate(
        {
            "name": name,
            "version": version,
            "tracking": {"uri": uri},
            "training": {"seed": 7, "from_scratch": from_scratch},
            "dataset": {"aliases": {"old": "new"}},
        }
    )


def manifest_of(config: Config, folder: Path) -> Manifest:
    manifest = make_manifest(folder, classifier=config.name, version=config.version or "")
    return manifest.model_copy(update={"dataset": DATASET})


def publish(tracker: Tracker, config: Config, folder: Path) -> Manifest:
    folder.mkdir(exist_ok=True)
    (folder / REPORT).write_text("<html>the report</html>")
    manifest = manifest_of(config, folder)
    tracker.published(manifest, folder / REPORT, uri=URI, gate=measure(GateConfig(minimum=0.5), manifest.scores, manifest.task))
    return manifest


def broken_off(config: Config, error: BaseException, *, steps: tuple[int, ...] = ()) -> Tracker:
    """A tracker whose run has ended by the error."""
    trackers = []
    with suppress(type(error)), tracked(config.tracking) as tracker:
        trackers.append(tracker)
        tracker.begin(config, DATASET)
        for step in steps:
            tracker.measured(step, {"loss": 1 / step})
        raise error
    return trackers[0]


def run_of(server: MlflowProcess, run_id: str | None) -> Run:
    assert run_id is not None
    return MlflowClient(server.uri, server.uri).get_run(run_id)


def history(server: MlflowProcess, run_id: str | None, series: str) -> list[tuple[int, float]]:
    assert run_id is not None
    found = MlflowClient(server.uri, server.uri).get_metric_history(run_id, series)
    return sorted((each.step, each.value) for each in found)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]


def test_a_run_is_written_down_whole(server: MlflowProcess, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = config_of(server.uri, name="whole")

    with tracked(config.tracking) as tracker:
        tracker.begin(config, DATASET)
        for step in (10, 20, 30):
            tracker.measured(step, {"loss": 1 / step, "learning_rate": 1e-4})
        tracker.measured(30, {"validation_micro_f1": 0.5})
        manifest = publish(tracker, config, tmp_path / "version")

    run = run_of(server, tracker.run_id)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "v1")
    assert run.data.params["training.seed"] == "7"
    assert run.data.params["dataset.aliases"] == '{"old": "new"}'
    assert run.data.params["dataset.sha256"] == DATASET.sha256
    assert not [name for name in run.data.params if name.startswith("tracking")]
    assert history(server, tracker.run_id, "loss") == [(10, 0.1), (20, 0.05), (30, 1 / 30)]
    assert history(server, tracker.run_id, "validation_micro_f1") == [(30, 0.5)]
    assert run.data.metrics["test/micro_f1"] == manifest.scores.test.micro_f1
    assert run.data.tags["labelwright.gate"] == "passed"
    (dataset,) = run.inputs.dataset_inputs
    assert (dataset.dataset.source, dataset.dataset.digest) == (DATASET.uri, DATASET.sha256[:36])
    assert warnings(caplog) == []


def test_report_and_manifest_can_be_fetched(server: MlflowProcess, tmp_path: Path) -> None:
    config = config_of(server.uri, name="files")

    with tracked(config.tracking) as tracker:
        tracker.begin(config, DATASET)
        manifest = publish(tracker, config, tmp_path / "version")

    def fetched(name: str) -> bytes:
        path = download_artifacts(run_id=tracker.run_id, artifact_path=name, tracking_uri=server.uri, dst_path=str(tmp_path))
        return Path(path).read_bytes()

    assert fetched("report.html") == b"<html>the report</html>"
    assert parse_manifest(fetched("manifest.json"), where="MLflow") == manifest


def test_the_published_version_is_a_model_version_at_its_prefix(server: MlflowProcess, tmp_path: Path) -> None:
    config = config_of(server.uri, name="registered")

    with tracked(config.tracking) as tracker:
        tracker.begin(config, DATASET)
        publish(tracker, config, tmp_path / "version")

    (found,) = MlflowClient(server.uri, server.uri).search_model_versions("name = 'registered'")
    assert (found.source, found.run_id) == (URI, tracker.run_id)
    assert found.tags == {
        "labelwright.gate": "passed",
        "labelwright.version": "v1",
        "labelwright.dataset_sha256": DATASET.sha256,
    }


@pytest.mark.parametrize("kept", [pytest.param(True, id="id-was-kept"), pytest.param(False, id="id-was-lost")])
def test_an_interrupted_run_goes_on_under_its_id(kept: bool, server: MlflowProcess, tmp_path: Path) -> None:
    config = config_of(server.uri, name=f"resumed-{kept}".lower())
    first = broken_off(config, Terminated(), steps=(1, 2, 3))
    stopped = run_of(server, first.run_id)

    changed = config.model_copy(update={"training": config.training.model_copy(update={"selection_tolerance": 0.5})})
    with tracked(config.tracking) as second:
        second.begin(changed, DATASET, run_id=first.run_id if kept else None)
        going_on = run_of(server, second.run_id)
        for step in (3, 4):  # the third was made again: its checkpoint was not saved
            second.measured(step, {"loss": 1 / step})
        publish(second, config, tmp_path / "version")

    assert stopped.info.status == "KILLED"
    assert going_on.info.status == "RUNNING"
    assert second.run_id == first.run_id
    assert run_of(server, second.run_id).info.status == "FINISHED"
    assert history(server, second.run_id, "loss") == [(1, 1.0), (2, 0.5), (3, 1 / 3), (4, 0.25)]


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"version": "v2"}, id="another-version"),
        pytest.param({"from_scratch": True}, id="from-scratch"),
    ],
)
def test_another_training_is_another_run(other: dict[str, str], server: MlflowProcess) -> None:
    config = config_of(server.uri, name="others")
    first = broken_off(config, ValueError("broken"))

    with tracked(config.tracking) as second:
        second.begin(config_of(server.uri, name="others", **other), DATASET)  # type: ignore[arg-type]

    assert run_of(server, first.run_id).info.status == "FAILED"
    assert second.run_id != first.run_id


def test_a_version_that_is_reported_twice_is_registered_once(server: MlflowProcess, tmp_path: Path) -> None:
    config = config_of(server.uri, name="twice")
    tracker = MlflowTracker(server.uri)
    tracker.begin(config, DATASET)
    publish(tracker, config, tmp_path / "version")
    tracker.end(Status.KILLED)

    with tracked(config.tracking) as second:
        second.begin(config, DATASET)
        publish(second, config, tmp_path / "version")

    assert second.run_id == tracker.run_id
    assert len(MlflowClient(server.uri, server.uri).search_model_versions("name = 'twice'")) == 1


def test_a_version_that_was_published_before_an_interruption_is_reported_after_it(server: MlflowProcess, tmp_path: Path) -> None:
    config = config_of(server.uri, name="late", from_scratch=True)
    first = broken_off(config, Terminated())

    for _ in range(2):  # the second time, there is nothing left to tell
        with tracked(config.tracking) as tracker:
            tracker.begin(config, DATASET, only_interrupted=True)
            publish(tracker, config, tmp_path / "version")

    client = MlflowClient(server.uri, server.uri)
    (run,) = client.search_runs([run_of(server, first.run_id).info.experiment_id])
    (version,) = client.search_model_versions("name = 'late'")
    assert (run.info.run_id, run.info.status) == (first.run_id, "FINISHED")
    assert version.run_id == first.run_id
    assert tracker.run_id is None


def test_values_that_mlflow_missed_are_sent_later(
    server: MlflowProcess, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = config_of(server.uri, name="away")
    with tracked(config.tracking) as tracker:
        tracker.begin(config, DATASET)
        server.kill()
        try:
            for step in range(1, 1501):  # more than MLflow takes at once
                tracker.measured(step, {"loss": 1 / step})
            deadline = time.monotonic() + 120
            while not (noticed := warnings(caplog)) and time.monotonic() < deadline:
                time.sleep(0.1)  # until a delivery is tried, and fails
        finally:
            server.start()
        publish(tracker, config, tmp_path / "version")

    run = run_of(server, tracker.run_id)
    assert run.info.status == "FINISHED"
    assert len(history(server, tracker.run_id, "loss")) == 1500
    assert len(noticed) == 1
    assert "connection refused" in noticed[0]
    assert warnings(caplog) == noticed
    assert "is available again" in caplog.text


def test_a_server_that_does_not_come_back_costs_a_bounded_wait(
    server: MlflowProcess, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = config_of(server.uri, name="gone")
    tracker = MlflowTracker(server.uri, end_seconds=3)
    tracker.begin(config, DATASET)
    server.kill()
    try:
        publish(tracker, config, tmp_path / "version")
        began = time.monotonic()
        tracker.end(Status.FINISHED)
        waited = time.monotonic() - began
    finally:
        server.start()

    away, missing = warnings(caplog)
    assert 2.5 < waited < 6
    assert "connection refused" in away
    assert missing.endswith(
        "lacks data of this run: measurements, the gate's result, report.html, manifest.json, the model version, the end"
    )


def test_a_server_that_was_never_there_costs_one_attempt(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as taken:  # bound, but not listening
        taken.bind(("127.0.0.1", 0))
        config = config_of(f"http://somebody:secret@127.0.0.1:{taken.getsockname()[1]}", name="never")
        MlflowTracker("http://127.0.0.1:1").begin(config, DATASET)  # the import is not what is measured
        caplog.clear()
        began = time.monotonic()
        with tracked(config.tracking) as tracker:
            assert tracker.begin(config, DATASET) is None
            tracker.measured(1, {"loss": 1.0})
            publish(tracker, config, tmp_path / "version")

    assert time.monotonic() - began < 5
    assert len(warnings(caplog)) == 2  # it is away; what it has missed
    assert "secret" not in caplog.text
    assert "somebody" not in caplog.text


@contextmanager
def answering(answer: bytes | None) -> Iterator[str]:
    """A socket that accepts, and answers every request with these bytes, or never."""
    code = (
        "import socket, sys, threading\n"
        "held = []\n"
        "def serve(client):\n"
        "    while client.recv(65536):\n"
        f"        {f'client.sendall({answer!r})' if answer else 'held.append(client)'}\n"
        "with socket.create_server(('127.0.0.1', 0)) as listener:\n"
        "    print(listener.getsockname()[1], flush=True)\n"
        "    while True:\n"
        "        threading.Thread(target=serve, args=[listener.accept()[0]], daemon=True).start()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield f"http://somebody:secret@127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.communicate()


def response(status: str, body: str) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return (head + body).encode()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param(None, "timeout", id="hangs"),
        pytest.param(response("500 Internal Server Error", "{}"), "status 500", id="is-broken"),
        pytest.param(response("401 Unauthorized", "who?"), "status 401: the credentials are wrong", id="wants-credentials"),
        pytest.param(response("200 OK", "<html>hello</html>"), "hello", id="is-no-mlflow"),
        pytest.param(b"\x00nonsense\r\n\r\n", "the connection was lost", id="is-no-http"),
    ],
)
def test_a_server_that_is_of_no_use_costs_seconds_and_a_warning(
    answer: bytes | None, reason: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with answering(answer) as uri:
        config = config_of(uri, name="useless")
        began = time.monotonic()
        with tracked(config.tracking) as tracker:
            tracker.begin(config, DATASET)
            publish(tracker, config, tmp_path / "version")
        waited = time.monotonic() - began

    away, missing = warnings(caplog)
    assert waited < 20
    assert reason in away
    assert "lacks data of this run: the run" in missing
    assert "secret" not in caplog.text


def test_telling_never_waits_for_a_server_that_hangs(caplog: pytest.LogCaptureFixture) -> None:
    with answering(None) as uri:
        tracker = MlflowTracker(uri, end_seconds=1)
        tracker.begin(config_of(uri, name="hangs"), DATASET)
        began = time.monotonic()
        for step in range(100_000):
            tracker.measured(step, {"loss": 1.0})
        waited = time.monotonic() - began
        tracker.end(Status.KILLED)

    assert waited < 3


def test_an_experiment_that_is_deleted_is_named_once(
    server: MlflowProcess, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    client = MlflowClient(server.uri, server.uri)
    client.delete_experiment(client.create_experiment("deleted"))
    config = config_of(server.uri, name="deleted")

    with tracked(config.tracking) as tracker:
        assert tracker.begin(config, DATASET) is None
        publish(tracker, config, tmp_path / "version")

    (refused,) = warnings(caplog)
    assert "its experiment 'deleted' is deleted; restore it, or set tracking.experiment" in refused


def test_values_that_the_registry_refuses_are_named_and_the_others_are_sent(
    server: MlflowProcess, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = config_of(server.uri, name="local")

    with tracked(config.tracking) as tracker:
        tracker.begin(config, DATASET)
        (tmp_path / REPORT).write_text("report")
        manifest = manifest_of(config, tmp_path)
        gate = measure(GateConfig(), manifest.scores, manifest.task)
        tracker.published(manifest, tmp_path / REPORT, uri="file:///models/v1/", gate=gate)

    (refused,) = warnings(caplog)
    assert "rejects the model version: a model at a local address cannot be registered" in refused
    assert run_of(server, tracker.run_id).info.status == "FINISHED"


@pytest.mark.parametrize("uri", ["mlflow:5000", "sqlite:///mlflow.db", "http://", "databricks", "ftp://me:secret@host/"])
def test_an_address_that_is_no_servers_is_a_wrong_setting(uri: str) -> None:
    with pytest.raises(ConfigRejected, match=re.escape("expected http:// or https:// of an MLflow server")) as rejected:
        open_tracker(TrackingConfig(uri=uri))
    assert "secret" not in str(rejected.value)


def test_mlflow_is_imported_only_where_it_is_configured_and_stays_quiet(server: MlflowProcess) -> None:
    code = (
        "import logging, sys, threading\n"
        "from trainer.tracking import tracker as tracking\n"
        "from trainer.run import logs\n"
        "from trainer.config.settings import TrackingConfig\n"
        "from tests.system import test_tracking as t\n"
    )
    unconfigured = "import sys\nfrom trainer.tracking import tracker as tracking\nassert 'mlflow' not in sys.modules\n"
    configured = (
        f"{code}"
        "logs.configure('json')\n"
        "before = logging.getLogger().handlers[:]\n"
        f"config = t.config_of({server.uri!r}, name='quiet')\n"
        "with tracking.tracked(config.tracking) as tracker:\n"
        "    tracker.begin(config, t.DATASET)\n"
        "assert logging.getLogger().handlers == before\n"
        "assert not logging.getLogger('mlflow').handlers\n"
        "from mlflow.telemetry import get_telemetry_client\n"
        "assert get_telemetry_client() is None\n"
    )
    for program in (unconfigured, configured):
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert all(line.startswith('{"time"') for line in done.stderr.splitlines()), done.stderr
