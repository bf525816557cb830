"""Attack a predictor: memory and time that the worst bodies take, and latency of another client meanwhile.

    python benchmarks/attacks.py VERSION                    every body once: peak memory, seconds, latency of others
    python benchmarks/attacks.py VERSION --requests 20000   then this many hostile requests over 16 connections
    python benchmarks/attacks.py VERSION --stalled 7000     then this many connections that stall within a request
    python benchmarks/attacks.py VERSION --memory-mb 512    everything within a control group (version 1) of this size

The server runs with its defaults, and with the environment by which the predictor's image returns memory to the system. Peak
memory is VmHWM, which is reset before each body; for many requests also RssAnon, which leaves out the pages of files. Another
client sends short texts without pause over one connection. Its 99th percentile is shown for each body, beside the one without an
attack in the same run. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import resource
import select
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
from attack_bodies import WHOLE, message, rest_bodies, v1

TIMEOUT_SECONDS = 120.0
CHUNK_BYTES = 1 << 20  # of a body, after which the client looks for a response
MODEL_INFER = "/inference.GRPCInferenceService/ModelInfer"
CGROUPS = Path("/sys/fs/cgroup/memory")
LISTENING = re.compile(r"REST on port (\d+), gRPC on port (\d+)")
Send = Callable[["AttackedServer"], str]  # gives the status


class AttackedServer:
    """Predictor in a separate process."""

    def __init__(self, process: subprocess.Popen[bytes], rest: int, rpc: int) -> None:
        self.process, self.rest, self.rpc = process, rest, rpc
        status = json.loads(get(rest, "/v2/models"))
        self.name = str(status["models"][0])

    @property
    def infer(self) -> str:
        return f"/v2/models/{self.name}/infer"

    def memory(self, field: str = "VmHWM") -> int:
        """Return a field of /proc/PID/status in megabytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(rf"{field}:\s+(\d+) kB", status)[0]) // 1000

    def forget_peak(self) -> None:
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")


def get(port: int, path: str) -> bytes:
    """Return the body of a GET."""
    import urllib.request

    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=TIMEOUT_SECONDS) as answer:
        return bytes(answer.read())


def image_environment() -> dict[str, str]:
    """Return the environment by which the predictor's image returns memory to the system."""
    dockerfile = Path(__file__).parents[1] / "Dockerfile.serve"
    return dict(re.findall(r"\b(MALLOC_\w+)=(\d+)", dockerfile.read_text()))


@contextmanager
def serving(version: str, options: Sequence[str], *, group: Path | None) -> Iterator[AttackedServer]:
    """Yield a server that listens, and kill it at the end."""
    command = [sys.executable, "-m", "model.serving", version, "--port=0", "--grpc-port=0", "--host=127.0.0.1", *options]
    if group:
        command = ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh", *command]
    with tempfile.NamedTemporaryFile() as log:
        process = subprocess.Popen(command, stderr=log, env={**os.environ, **image_environment()})
        try:
            while not (ports := LISTENING.search(Path(log.name).read_text())):
                if process.poll() is not None:
                    raise SystemExit(Path(log.name).read_text())
                time.sleep(0.1)
            yield AttackedServer(process, int(ports[1]), int(ports[2]))
        finally:
            if process.poll() is not None:
                print(f"THE SERVER ENDED WITH {process.returncode}")
            process.kill()
            process.wait()
            lines = Path(log.name).read_text().splitlines()
            print("\n".join(["its last lines of log:", *lines[-4:]]) if len(lines) > 1 else "it logged nothing")


@contextmanager
def memory_group(megabytes: int | None) -> Iterator[Path | None]:
    """Yield a control group with this memory limit; None without a limit."""
    if megabytes is None:
        yield None
        return
    group = CGROUPS / f"labelwright-attacks-{os.getpid()}"
    group.mkdir()
    (group / "memory.limit_in_bytes").write_text(str(megabytes * 2**20))
    with suppress(OSError):
        (group / "memory.memsw.limit_in_bytes").write_text(str(megabytes * 2**20))
    try:
        yield group
    finally:
        failures = (group / "memory.failcnt").read_text().strip()
        most = int((group / "memory.max_usage_in_bytes").read_text()) >> 20
        print(f"most memory that was charged: {most} MiB; {failures} times full")
        group.rmdir()


# --- bodies -----------------------------------------------------------------------------------------------------------


def over_rest(path: str, body: bytes, **headers: str) -> Send:
    """Return a function that sends a body over REST."""

    def send(server: AttackedServer) -> str:
        try:
            with socket.create_connection(("127.0.0.1", server.rest), timeout=TIMEOUT_SECONDS) as connection:
                return status_of(connection, request(path.replace("NAME", server.name), b"", headers, length=len(body)), body)
        except TimeoutError:
            return "no answer"
        except OSError:
            return "closed"

    return send


def status_of(connection: socket.socket, head: bytes, body: bytes) -> str:
    """Send a request and return the status of its response, which may arrive before the whole body was sent."""
    answered = select.poll()
    answered.register(connection, select.POLLIN)
    connection.sendall(head)
    rest = memoryview(body)
    while rest and not answered.poll(0):
        connection.sendall(rest[:CHUNK_BYTES])
        rest = rest[CHUNK_BYTES:]
    return connection.recv(64).split(b" ", 2)[1].decode() if answered.poll(1000 * TIMEOUT_SECONDS) else "no answer"


def over_grpc(asked_: Any) -> Send:
    """Return a function that sends a message over gRPC, on a connection of its own."""
    encoded = b""

    def send(server: AttackedServer) -> str:
        nonlocal encoded
        asked_.model_name = asked_.model_name or server.name
        encoded = encoded or asked_.SerializeToString()
        options = [("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(f"127.0.0.1:{server.rpc}", options=options) as channel:
            try:
                channel.unary_unary(MODEL_INFER)(encoded, timeout=TIMEOUT_SECONDS)
            except grpc.RpcError as refused:
                return str(refused.code().name)
        return "OK"

    return send


def attacks() -> dict[str, Send]:
    """Return every attack by its name."""
    attacks_by_name: dict[str, Send] = {}
    infer, predict = "/v2/models/NAME/infer", "/v1/models/NAME:predict"
    bodies = rest_bodies()
    for name, body in bodies.items():
        attacks_by_name[f"v2: {name}"] = over_rest(infer, body)
        if name in {"U+FDFA, texts of 16,000", "ASCII and an emoji, 16 MB", "escapes", "ASCII and an emoji, 8 MB"}:
            attacks_by_name[f"v1: {name}"] = over_rest(predict, v1(body))
    wide = (("x" * 999_990) + "\U0001f600").encode()
    for raw in (False, True):
        kind = "raw" if raw else "typed"
        attacks_by_name[f"gRPC {kind}: ASCII and an emoji, 16 MB"] = over_grpc(message([wide] * 16, raw=raw))
        attacks_by_name[f"gRPC {kind}: ASCII and an emoji, 8 MB"] = over_grpc(message([wide] * 7, raw=raw))
        attacks_by_name[f"gRPC {kind}: U+FDFA"] = over_grpc(message(["\ufdfa".encode() * 5_300] * 1024, raw=raw))
    attacks_by_name["gRPC: long id"] = over_grpc(message([b"a"], raw=False, id="x" * (WHOLE - 500)))
    head = json.dumps({"inputs": [{"name": "text", "shape": [7], "datatype": "BYTES", "parameters": {"binary_data_size": 0}}]})
    tail = b"".join(struct.pack("<I", len(wide)) + wide for _ in range(7))
    head = head.replace('"binary_data_size": 0', f'"binary_data_size": {len(tail)}')
    attacks_by_name["binary: ASCII and an emoji, 8 MB"] = over_rest(
        infer, head.encode() + tail, **{"Inference-Header-Content-Length": str(len(head))}
    )
    return attacks_by_name


# --- asking -----------------------------------------------------------------------------------------------------------


def request(path: str, body: bytes, headers: dict[str, str], *, length: int | None = None) -> bytes:
    """Return the bytes of a POST."""
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body) if length is None else length}"]
    return "\r\n".join([*lines, *(f"{key}: {value}" for key, value in headers.items()), "", ""]).encode() + body


OTHER_CLIENT = """
import http.client, json, sys, time
port, path = int(sys.argv[1]), sys.argv[2]
body = json.dumps({"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["dark matter halos"]}]})
connection, lost = None, 0
while True:
    begun = time.perf_counter()
    try:
        connection = connection or http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("POST", path, body)
        answer = connection.getresponse()
        answer.read()
        status = answer.status
    except (OSError, http.client.HTTPException):
        connection, status = None, 0
    print(status, time.perf_counter() - begun, flush=True)
    time.sleep(0.002)
"""


@contextmanager
def other_client(server: AttackedServer) -> Iterator[list[tuple[int, float]]]:
    """Run a client that sends texts without pause, in a separate process; the list gets its statuses and seconds at the end."""
    seen: list[tuple[int, float]] = []
    command = [sys.executable, "-c", OTHER_CLIENT, str(server.rest), server.infer]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield seen
        finally:
            process.kill()
            for line in process.stdout.read().splitlines():
                with suppress(ValueError):
                    status, seconds = line.split()
                    seen.append((int(status), float(seconds)))


def p99(seen: Sequence[tuple[int, float]]) -> float:
    """Return the 99th percentile in milliseconds; the maximum of fewer than a hundred values."""
    times = sorted(seconds for _, seconds in seen)
    return 1000 * times[min(len(times) - 1, int(len(times) * 0.99))] if times else float("nan")


# --- what is measured -------------------------------------------------------------------------------------------------


def each_body(server: AttackedServer, chosen: dict[str, Send]) -> None:
    """Send every body once, and print one line each."""
    with other_client(server) as quiet:
        time.sleep(2)
    print(f"loaded: {server.memory('VmRSS')} MB; p99 of another client with no attack: {p99(quiet):.1f} ms\n")
    print(f"{'body':48}{'answer':>22}{'seconds':>9}{'peak MB':>9}{'others p99 ms':>15}{'most':>8}")
    for name, send in chosen.items():
        server.forget_peak()
        with other_client(server) as seen:
            begun = time.perf_counter()
            status = send(server)
            seconds = time.perf_counter() - begun
        most = max((each for _, each in seen), default=0) * 1000
        wrong = Counter(each for each, _ in seen if each != 200)
        print(
            f"{name:48}{status:>22}{seconds:9.2f}{server.memory():9}{p99(seen):15.1f}{most:8.0f}", dict(wrong) or "", flush=True
        )


def many(server: AttackedServer, chosen: dict[str, Send], count: int) -> None:
    """Send `count` hostile requests over 16 connections. Every kind gets the same time, and so the cheap ones more requests."""
    server.forget_peak()
    answers: Counter[str] = Counter()
    sent: Counter[str] = Counter()
    spent = dict.fromkeys(chosen, 0.0)  # seconds
    lock = threading.Lock()
    own: list[int] = []

    def attack() -> None:
        while True:
            with lock:
                name = min(spent, key=lambda each: spent[each])
                if sent.total() == count:
                    return
                sent[name] += 1
                spent[name] += 0.01  # so that others do not choose it too
            begun = time.perf_counter()
            status = chosen[name](server)
            with lock:
                answers[status] += 1
                spent[name] += time.perf_counter() - begun

    with other_client(server) as quiet:
        time.sleep(2)
    begun = time.perf_counter()
    with other_client(server) as seen, watching(server, own):
        attackers = [threading.Thread(target=attack) for _ in range(16)]
        for each in attackers:
            each.start()
        for each in attackers:
            each.join()
    print(f"\n{count} hostile requests in {time.perf_counter() - begun:.0f} s: {dict(answers)}")
    print(f"of each kind: {min(sent.values())} to {max(sent.values())}; p99 of another client before: {p99(quiet):.1f} ms")
    print(f"without files: peak {max(own)} MB, now {server.memory('RssAnon')} MB")
    tell(server, seen)


@contextmanager
def watching(server: AttackedServer, own: list[int]) -> Iterator[None]:
    """Record the server's memory without files every 10 ms."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.01):
            own.append(server.memory("RssAnon"))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


async def stall(server: AttackedServer, count: int, seen: Counter[str]) -> None:
    """Open connections that stall: within a head, within a body of 64 KB, before the first byte."""
    kinds = [
        b"",
        b"POST / HTTP/1.1\r\nX: " + b"x" * 60_000,
        request(server.infer, b" " * 60_000, {}, length=64_000),
        request("/nowhere", b" " * 60_000, {}, length=64_000),
    ]
    writers = []
    for at in range(count):
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", server.rest)
            writer.write(kinds[at % len(kinds)])
            writers.append(writer)
            seen["opened"] += 1
        if at % 500 == 499:
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(10):
                    await asyncio.gather(*(each.drain() for each in writers[-500:]), return_exceptions=True)
    begun = time.perf_counter()
    health = await asyncio.to_thread(get, server.rest, "/v2/health/ready")
    seen["health in ms"] = round(1000 * (time.perf_counter() - begun))
    seen["healthy"] = int(b"true" in health or b"ready" in health)
    await asyncio.sleep(2)
    for each in writers:
        each.transport.abort()


def stalled(server: AttackedServer, count: int) -> None:
    """Open connections that stall, and print the state of the server afterwards."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    server.forget_peak()
    endings: Counter[str] = Counter()
    with other_client(server) as seen:
        asyncio.run(stall(server, count, endings))
    print(f"\n{count} connections that stall: {dict(endings)}")
    tell(server, seen)


def tell(server: AttackedServer, seen: list[tuple[int, float]]) -> None:
    """Print the server's memory and the other client's latency."""
    statuses = dict(Counter(status for status, _ in seen))
    print(f"peak {server.memory()} MB, now {server.memory('VmRSS')} MB; another client: p99 {p99(seen):.1f} ms, {statuses}")


def main() -> None:
    """Parse the command line and run the attacks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("version")
    parser.add_argument("--requests", type=int, default=0)
    parser.add_argument("--stalled", type=int, default=0)
    parser.add_argument("--memory-mb", type=int)
    parser.add_argument("--only", default="", help="bodies whose name holds this, or one of these, separated by commas")
    parser.add_argument("--skip-bodies", action="store_true")
    parser.add_argument("options", nargs="*", help="of the server")
    given = parser.parse_args()
    chosen = {name: send for name, send in attacks().items() if any(part in name for part in given.only.split(","))}
    with memory_group(given.memory_mb) as group, serving(given.version, given.options, group=group) as server:
        if not given.skip_bodies:
            each_body(server, chosen)
        if given.stalled:
            stalled(server, given.stalled)
        if given.requests:
            many(server, chosen, given.requests)


if __name__ == "__main__":
    main()
