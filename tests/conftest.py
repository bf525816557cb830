"""Fixtures for all tests: a real S3 server and its buckets."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import boto3
import hypothesis
import pytest

from tests.support.ports import free_port

hypothesis.settings.register_profile("shared-machine", deadline=None)  # the duration of an example depends on other load
hypothesis.settings.load_profile("shared-machine")

KEY, SECRET, REGION = "labelwright", "labelwright-secret", "us-east-1"
# Folder of programs that the cluster tests have downloaded.
PROGRAMS = Path.home() / ".cache/cluster/bin"


@pytest.fixture(scope="session", autouse=True)
def _caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Use a temporary cache folder in place of the user's."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("caches")))
        yield


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the endpoint of a local S3 server: MinIO if it is installed, else moto."""
    minio = shutil.which("minio", path=f"{os.environ.get('PATH', '')}:{PROGRAMS}")
    if minio:
        yield from _minio(minio, tmp_path_factory.mktemp("minio"))
    else:
        yield from _moto()


@pytest.fixture
def s3_bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the URI of a new bucket, `s3://<bucket>/`, with the environment set so that the storage finds it."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
    name = f"test-{uuid.uuid4().hex[:12]}"
    boto3.client("s3", endpoint_url=s3_server).create_bucket(Bucket=name)
    return f"s3://{name}/"


def _minio(program: str, folder: Path) -> Iterator[str]:
    port = free_port()
    environment = {**os.environ, "MINIO_ROOT_USER": KEY, "MINIO_ROOT_PASSWORD": SECRET}
    command = [program, "server", "--quiet", "--address", f"127.0.0.1:{port}", str(folder)]
    server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(f"http://127.0.0.1:{port}/minio/health/live")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(10)


def _moto() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def _wait_for(address: str) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            urllib.request.urlopen(address, timeout=1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return
