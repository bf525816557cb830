"""Redis for `labelwright gateway` without a command: a redis-server or valkey-server that only this machine can reach."""

from __future__ import annotations

import fcntl
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from gateway.config import SettingRejected

PROGRAMS = ("valkey-server", "redis-server")
START_SECONDS = 30
STOP_SECONDS = 10
# A task is accepted only after it is on the disk, and Redis must not evict any.
SETTINGS = """
bind 127.0.0.1
port {port}
dir {folder}
requirepass {password}
appendonly yes
appendfsync always
save ""
maxmemory 1gb
maxmemory-policy noeviction
logfile {folder}/redis.log
"""


@contextmanager
def redis_in(folder: Path) -> Iterator[str]:
    """Run Redis with its data in the folder, and yield its address. Raises SettingRejected."""
    program = next((found for each in PROGRAMS if (found := shutil.which(each))), None)
    if program is None:
        raise SettingRejected(
            "neither valkey-server nor redis-server is on the PATH: install one (Debian: apt install redis-server), "
            "or name a running Redis with --redis"
        )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    port, password = _free_port(), secrets.token_urlsafe(24)
    with (folder / "lock").open("w") as lock:
        # Redis inherits the lock, so the folder stays locked while Redis runs, even if this process is killed.
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise SettingRejected(f"folder {str(folder)!r} is in use: another gateway, or its Redis, runs there") from error
        settings = SETTINGS.format(port=port, folder=folder.absolute(), password=password)
        process = subprocess.Popen(  # noqa: S603 - a program found by its name
            [program, "-"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, pass_fds=[lock.fileno()], start_new_session=True
        )
        try:
            address = f"redis://:{password}@127.0.0.1:{port}/0"
            # By standard input, so that neither a file nor the list of processes shows the password.
            _configure(process, settings)
            _wait_until_ready(process, address, folder)
            yield address
        finally:
            process.terminate()
            process.wait(STOP_SECONDS)


def _configure(process: subprocess.Popen[bytes], settings: str) -> None:
    if process.stdin is not None:
        process.stdin.write(settings.encode())
        process.stdin.close()


def _wait_until_ready(process: subprocess.Popen[bytes], address: str, folder: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    with redis.from_url(address) as client:
        while process.poll() is None and time.monotonic() < deadline:
            try:
                client.ping()
            except (redis.ConnectionError, redis.exceptions.BusyLoadingError):
                time.sleep(0.05)
            else:
                return
    raise SettingRejected(f"Redis did not start in folder {str(folder)!r}: {str(folder / 'redis.log')!r} says why")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
