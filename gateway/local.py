"""`labelwright gateway` without a command: the API, one worker and, unless one is named, a Redis."""

from __future__ import annotations

import logging
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from ipaddress import ip_address
from pathlib import Path
from threading import Thread
from typing import Any

import httpx

from gateway.api.server import serve
from gateway.config import GatewayConfig, SettingRejected, read
from gateway.redis_server import redis_in

PREDICTOR_SECONDS = 30.0
WORKER_STOP_SECONDS = 50  # a request to a predictor may still run

logger = logging.getLogger(__name__)


def run(options: Mapping[str, Any], predictor: str | None, folder: Path) -> None:
    """Run until SIGTERM or Ctrl-C. predictor: address of one whose classifier is not named. Raises SettingRejected."""
    with ExitStack() as stack:
        given = dict(options)
        if predictor is not None:
            given["predictors"] = {name_of(predictor): predictor}
        if given.get("tokens_file") is None and given.get("anonymous") is None:
            given["anonymous"] = _is_loopback(given.get("host") or "127.0.0.1")
        given["id_secret_file"] = given.get("id_secret_file") or _secret_in(folder)
        given["feedback_uri"] = given.get("feedback_uri") or folder.absolute().as_uri() + "/"
        if given.get("redis") is None:
            given["redis"] = stack.enter_context(redis_in(folder))
        config = read(given, os.environ)
        stack.enter_context(_worker(config))
        serve(config)


def name_of(predictor: str) -> str:
    """Return the name of the classifier that is served at this address. Waits for the predictor. Raises SettingRejected."""
    url, deadline = f"{predictor.rstrip('/')}/v2/models", time.monotonic() + PREDICTOR_SECONDS
    while True:
        try:
            names = httpx.get(url, timeout=2, trust_env=False).json()["models"]
        except httpx.HTTPError as error:
            if time.monotonic() > deadline:
                hint = "start the predictor, or name its classifier: --predictor NAME=ADDRESS"
                raise SettingRejected(f"{url} does not answer: {hint}") from error
            time.sleep(0.2)
        except (ValueError, KeyError, TypeError) as error:
            raise SettingRejected(f"{url} does not list models: expected the address of a predictor") from error
        else:
            return str(names[0])


@contextmanager
def _worker(config: GatewayConfig) -> Iterator[None]:
    command = [sys.executable, "-m", "gateway", "worker"]
    # A session of its own: Ctrl-C reaches only this process, which first stops the API, then the worker, then Redis.
    process = subprocess.Popen(command, env={**os.environ, **config.environment()}, start_new_session=True)  # noqa: S603
    watcher = Thread(target=_report_end, args=[process], daemon=True)
    watcher.start()
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(WORKER_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _report_end(process: subprocess.Popen[bytes]) -> None:
    code = process.wait()
    if code not in (0, -15):
        logger.error("the worker ended with code %d: tasks wait until the gateway is started again", code)


def _secret_in(folder: Path) -> Path:
    """Return the file with the secret that signs ids. It is made once, so that ids stay valid."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / "id-secret"
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_hex(32))
    return path


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
