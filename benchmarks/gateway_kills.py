"""Tasks under kills: the gateway beside bare Celery with its best settings, on a real Redis and a real predictor.

    python benchmarks/gateway_kills.py --version VERSION [--tasks 10000] [--kills 40] [--redis-kills 5] [--away 60] [--drops 5]

Workers are killed with SIGKILL at random times, Redis is killed and started again, the predictor is away for a while, and the
queue of Celery is emptied (for the gateway only: the tasks of bare Celery are in that queue). Each answer is compared with the
direct one.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import httpx
from celery import Celery
from gateway_faults import Disturber, FaultPlan, Process, Scene, scene, wait_for
from ports import free_port

WORKERS = 2
CLIENTS = 8
SETTINGS = {"LEASE_SECONDS": "10", "REQUEST_SECONDS": "5", "CONCURRENCY": "8", "MAX_FAILURES": "50"}
IDLE_SECONDS = 120.0  # without a further answer, after which a row ends

Labels = list[str]


@click.command()
@click.option("--version", required=True, help="Version to serve, such as that of `labelwright demo`.")
@click.option("--name", required=True, help="Name of its classifier.")
@click.option("--tasks", default=10_000)
@click.option("--kills", default=40)
@click.option("--redis-kills", default=5)
@click.option("--away", default=60.0)
@click.option("--drops", default=5)
@click.option("--seconds", default=240.0, help="Time over which the faults are spread.")
@click.option("--seed", default=1)
def main(version: str, name: str, tasks: int, **plan: Any) -> None:
    """Run both rows and print them."""
    wanted = FaultPlan(**plan)
    texts = [
        f"Task {at}: compute the {at % 97}th eigenvalue of a graph, plot it, and read a table of {at} rows."
        for at in range(tasks)
    ]
    print(f"{'row':10}{'tasks':>8}{'answered':>10}{'lost':>6}{'wrong':>7}{'changed':>9}{'run twice':>11}{'seconds':>9}  faults")
    with tempfile.TemporaryDirectory(prefix="gateway-") as folder:
        for row in (gateway_row, bare_row):
            result = row(Path(folder) / row.__name__, version, name, texts, wanted)
            print(
                f"{result['row']:10}{tasks:8}{result['answered']:10}{tasks - result['answered']:6}{result['wrong']:7}"
                f"{result['changed']:9}{result['twice']:>11}{result['seconds']:9.0f}  {result['faults']}",
                flush=True,
            )


def gateway_row(folder: Path, version: str, name: str, texts: list[str], plan: FaultPlan) -> dict[str, Any]:
    """Submit the texts to the gateway while the plan is carried out, and compare the answers."""
    stage = scene(folder, version)
    secret = folder / "secret"
    secret.write_bytes(os.urandom(32).hex().encode())
    port = free_port()
    settings = SETTINGS | {
        "REDIS": stage.redis_address,
        "PREDICTORS": f"{name}=http://127.0.0.1:{stage.predictor_port}",
        "ID_SECRET_FILE": str(secret),
        "ANONYMOUS": "true",
        "PORT": str(port),
    }
    variables = {f"LABELWRIGHT_GATEWAY__{key}": value for key, value in settings.items()}
    command = [sys.executable, "-m", "labelwright", "gateway"]
    stage.others.append(Process([*command, "api"], variables, folder / "api.log"))
    stage.workers += [Process([*command, "worker"], variables, folder / f"worker-{at}.log") for at in range(WORKERS)]
    with running(stage), httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        wait_for(lambda: client.get("/health/ready").is_success)
        expected = direct(stage, name, texts)
        start, disturber = time.monotonic(), Disturber(stage, plan, queue="hints")
        disturber.thread.start()
        with ThreadPoolExecutor(CLIENTS) as threads:

            def submit(at: int) -> str:
                _pace(start, at / len(texts), plan.seconds)
                return _submit(client, texts[at], key=str(at))

            ids = list(threads.map(submit, range(len(texts))))
        disturber.thread.join()
        first = _collect(len(texts), lambda at: _answer(client, ids[at]))
        seconds = time.monotonic() - start
        second = _collect(len(texts), lambda at: _answer(client, ids[at]))
    return {
        "row": "gateway",
        "answered": len(first),
        "wrong": sum(first[at] != expected[at] for at in first),
        "changed": sum(first[at] != second.get(at) for at in first),
        "twice": "-",  # first answer wins; workers count the others
        "seconds": seconds,
        "faults": disturber.done,
    }


def bare_row(folder: Path, version: str, name: str, texts: list[str], plan: FaultPlan) -> dict[str, Any]:
    """Send the texts as tasks of bare Celery while the plan is carried out, without emptying its queue."""
    stage = scene(folder, version)
    url = f"http://127.0.0.1:{stage.predictor_port}/v2/models/{name}/infer"
    variables = {"PEER_REDIS": stage.redis_address, "PEER_PREDICTOR": url, "PYTHONPATH": str(Path(__file__).parent / "peers")}
    options = ["--loglevel", "WARNING", "--without-gossip", "--without-mingle", "--without-heartbeat"]
    command = [sys.executable, "-m", "celery", "-A", "celery_bare", "worker", *options]
    stage.workers += [
        Process([*command, "--hostname", f"worker{at}@%h"], variables, folder / f"worker-{at}.log") for at in range(WORKERS)
    ]
    with running(stage), Celery("bare", broker=stage.redis_address) as app:
        expected = direct(stage, name, texts)
        start, disturber = time.monotonic(), Disturber(stage, replace(plan, drops=0), queue="celery")
        disturber.thread.start()
        for at, text in enumerate(texts):
            _pace(start, at / len(texts), plan.seconds)
            _patiently(partial(app.send_task, "ask", (at, text)))
        disturber.thread.join()
        store = stage.client()
        answers = _collect(len(texts), lambda at: store.lrange(f"answer:{at}", 0, -1) or None)
    return {
        "row": "celery",
        "answered": len(answers),
        "wrong": sum(json.loads(answers[at][0]) != expected[at] for at in answers),
        "changed": sum(len(set(answers[at])) > 1 for at in answers),
        "twice": sum(len(answers[at]) > 1 for at in answers),
        "seconds": time.monotonic() - start,
        "faults": disturber.done,
    }


@contextmanager
def running(stage: Scene) -> Iterator[None]:
    """Run the processes of a scene."""
    try:
        stage.start()
        yield
    finally:
        stage.stop()


def direct(stage: Scene, name: str, texts: list[str]) -> list[Labels]:
    """Return the predictor's own answers."""
    found: list[Labels] = []
    with httpx.Client(base_url=f"http://127.0.0.1:{stage.predictor_port}", timeout=60) as client:
        for at in range(0, len(texts), 100):
            part = texts[at : at + 100]
            body = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [len(part)], "data": part}]}
            outputs = {each["name"]: each for each in client.post(f"/v2/models/{name}/infer", json=body).json()["outputs"]}
            width, labels = outputs["labels"]["shape"][1], outputs["labels"]["data"]
            found += [[label for label in labels[row * width : (row + 1) * width] if label] for row in range(len(part))]
    return found


def _pace(start: float, share: float, seconds: float) -> None:
    """Wait until this share of the time is over, so that faults meet tasks at work."""
    time.sleep(max(0.0, start + share * seconds - time.monotonic()))


def _submit(client: httpx.Client, text: str, *, key: str) -> str:
    """Submit as a careful client does: again with the same key until the gateway accepts."""
    while True:
        try:
            response = client.post("/api/predict/", json={"article": text}, headers={"Idempotency-Key": key})
        except httpx.HTTPError:
            time.sleep(0.2)
            continue
        if response.status_code == 202:
            return str(response.json()["task_id"])
        if response.status_code != 503:
            raise RuntimeError(response.text)
        time.sleep(0.2)


def _answer(client: httpx.Client, task_id: str) -> Labels | None:
    response = client.get(f"/api/prediction/{task_id}")
    return list(response.json()["predictions"]) if response.status_code == 200 else None


def _patiently(send: Any) -> None:
    """Send as a careful client does: again until Redis accepts. It cannot know whether the first attempt arrived."""
    while True:
        try:
            send()
        except Exception:  # noqa: BLE001 - whatever kombu raises
            time.sleep(0.2)
        else:
            return


def _collect(tasks: int, read: Any) -> dict[int, Any]:
    """Read answers until there are all, or none came for IDLE_SECONDS."""
    found: dict[int, Any] = {}
    latest = time.monotonic()
    with ThreadPoolExecutor(CLIENTS) as threads:
        while len(found) < tasks and time.monotonic() - latest < IDLE_SECONDS:
            missing = [at for at in range(tasks) if at not in found]
            for at, answer in zip(missing, threads.map(read, missing), strict=True):
                if answer is not None:
                    found[at] = answer
                    latest = time.monotonic()
            time.sleep(0.5)
    return found


if __name__ == "__main__":
    main()
