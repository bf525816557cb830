"""The MLflow server of the chart, with the arguments that the chart gives it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from tests.support.chart import rendered
from tests.support.ports import free_port

SECONDS_TO_START = 180


def status(address: str, host: str) -> int:
    request = urllib.request.Request(f"{address}/api/2.0/mlflow/experiments/search?max_results=1", headers={"Host": host})
    try:
        return int(urllib.request.urlopen(request, timeout=10).status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


@pytest.fixture(scope="module")
def bucket(s3_server: str) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as environment:
        for name, value in {
            "AWS_ENDPOINT_URL": s3_server,
            "AWS_ACCESS_KEY_ID": "labelwright",
            "AWS_SECRET_ACCESS_KEY": "labelwright-secret",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            environment.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="mlflow-of-the-chart")
        yield "mlflow-of-the-chart"


@pytest.fixture(scope="module")
def server(bucket: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server with the chart's arguments, but for its port and the place of its database."""
    folder, port = tmp_path_factory.mktemp("mlflow"), free_port()
    container = rendered(**{"mlflow.kind": "managed", "storage.buckets.mlflow": bucket}).container("mlflow")
    places = {"--port=5000": f"--port={port}", "sqlite:////data": f"sqlite:///{folder}", "--host=0.0.0.0": "--host=127.0.0.1"}
    arguments = list(container["args"])
    for ours, test in places.items():
        arguments = [each.replace(ours, test) for each in arguments]
    environment = {**os.environ, **{each["name"]: each["value"] for each in container["env"]}, "HOME": str(folder)}
    command = [str(Path(sys.executable).parent / "mlflow"), "server", *arguments]
    process = subprocess.Popen(command, env=environment, cwd=folder)
    try:
        deadline = time.monotonic() + SECONDS_TO_START
        while status(f"http://127.0.0.1:{port}", "localhost") != 200:
            assert process.poll() is None, "the server ended"
            assert time.monotonic() < deadline, "the server did not answer"
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def test_it_answers_under_the_names_of_its_service_and_under_no_other(server: str) -> None:
    names = ("lw-labelwright-mlflow.home.svc:5000", "lw-labelwright-mlflow:5000", "localhost")

    assert [status(server, each) for each in names] == [200, 200, 200]
    assert status(server, "attacker.example") == 403


def test_files_that_a_client_sends_it_are_in_the_bucket(server: str, bucket: str, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    (tmp_path / "report.html").write_text("<p>")
    client = MlflowClient(tracking_uri=server)
    run = client.create_run(client.create_experiment("papers"))
    client.log_artifact(run.info.run_id, str(tmp_path / "report.html"))

    keys = [each["Key"] for each in boto3.client("s3").list_objects_v2(Bucket=bucket).get("Contents", ())]
    assert [each for each in keys if each.endswith("/report.html")]
