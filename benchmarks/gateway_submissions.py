"""Submissions to the gateway with two workers, beside a FastAPI that does nothing: a second, and latencies at half of that.

    python benchmarks/gateway_submissions.py --version VERSION --name NAME [--seconds 10] [--rounds 3]

Each round measures both, first with the next submission after each answer (8 connections), then at half of the submissions a
second that were reached, whether answered or not. The workers ask the predictor meanwhile, on the same cores as everything else.
A gateway that refuses a submission (503) counts as an error.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import httpx
from gateway_faults import Process, scene, wait_for
from ports import free_port
from serving_client import ClientSpec

WORKERS = 2
CONNECTIONS = 8
HERE = Path(__file__).parent
Figures = dict[str, Any]


@click.command()
@click.option("--version", required=True, help="Version to serve, such as that of `labelwright demo`.")
@click.option("--name", required=True, help="Name of its classifier.")
@click.option("--seconds", default=10.0, help="Time of each measurement.")
@click.option("--rounds", default=3)
def main(version: str, name: str, seconds: float, rounds: int) -> None:
    """Measure both in turn, and print the medians."""
    results: dict[str, list[Figures]] = {"fastapi": [], "gateway": []}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(prefix="gateway-") as folder:
            with nothing(Path(folder)) as (port, pid):
                results["fastapi"].append(measure(Path(folder), port, pid, seconds))
            with gateway(Path(folder) / "gateway", version, name) as (port, pid):
                results["gateway"].append(measure(Path(folder), port, pid, seconds))
    print(f"{'row':10}{'a second':>10}{'p99 ms':>9}{'at half':>10}{'p50 ms':>9}{'p99 ms':>9}{'errors':>8}")
    for row, rounds_of_row in results.items():
        middle = {key: statistics.median(each[key] for each in rounds_of_row) for key in rounds_of_row[0]}
        print(
            f"{row:10}{middle['full']:10.0f}{middle['full_p99']:9.1f}{middle['half']:10.0f}{middle['p50']:9.1f}"
            f"{middle['p99']:9.1f}{sum(each['errors'] for each in rounds_of_row):8.0f}"
        )


def measure(folder: Path, port: int, pid: int, seconds: float) -> Figures:
    """Return the figures of one server."""
    full = _drive(folder, port, pid, seconds, rate=0.0)
    half = _drive(folder, port, pid, seconds, rate=full["requests"] / 2)
    return {
        "full": full["requests"],
        "full_p99": full["p99"],
        "half": half["requests"],
        "p50": half["p50"],
        "p99": half["p99"],
        "errors": full["errors"] + half["errors"],
    }


def _drive(folder: Path, port: int, pid: int, seconds: float, *, rate: float) -> Figures:
    bodies = [json.dumps({"article": f"A text about topic {at}, with a few further words."}) for at in range(100)]
    load = ClientSpec(
        port, "/api/predict/", bodies, CONNECTIONS, warm_up=2.0, seconds=seconds, answer="anything", pid=pid, rate=rate
    )
    path = folder / "load.json"
    path.write_text(json.dumps(asdict(load)))
    done = subprocess.run([sys.executable, HERE / "serving_client.py", path], capture_output=True, text=True, check=True)
    figures: Figures = json.loads(done.stdout)
    return figures


@contextmanager
def nothing(folder: Path) -> Iterator[tuple[int, int]]:
    """Run the FastAPI that does nothing, and yield its port and process."""
    port = free_port()
    process = Process([sys.executable, str(HERE / "peers" / "fastapi_nothing.py"), str(port)], {}, folder / "nothing.log")
    process.start()
    try:
        wait_for(lambda: httpx.get(f"http://127.0.0.1:{port}/openapi.json").is_success)
        yield port, process.started.pid if process.started else 0
    finally:
        process.kill()


@contextmanager
def gateway(folder: Path, version: str, name: str) -> Iterator[tuple[int, int]]:
    """Run the gateway with its workers, Redis and predictor, and yield the API's port and process."""
    stage, port, secret = scene(folder, version), free_port(), folder / "secret"
    secret.write_text(os.urandom(32).hex())
    settings = {
        "REDIS": stage.redis_address,
        "PREDICTORS": f"{name}=http://127.0.0.1:{stage.predictor_port}",
        "ID_SECRET_FILE": str(secret),
        "ANONYMOUS": "true",
        "PORT": str(port),
    }
    variables = {f"LABELWRIGHT_GATEWAY__{key}": value for key, value in settings.items()}
    command = [sys.executable, "-m", "labelwright", "gateway"]
    api = Process([*command, "api"], variables, folder / "api.log")
    stage.others.append(api)
    stage.workers += [Process([*command, "worker"], variables, folder / f"worker-{at}.log") for at in range(WORKERS)]
    try:
        stage.start()
        wait_for(lambda: httpx.get(f"http://127.0.0.1:{port}/health/ready").is_success)
        yield port, api.started.pid if api.started else 0
    finally:
        stage.stop()


if __name__ == "__main__":
    main()
