"""A load for the pictures of the dashboards: trainings, servers with clients, a controller, and a Prometheus that scrapes them.

    with scene() as address:      the address of the Prometheus, once all of it is over

A linear version is trained and served; a transformer is fine-tuned meanwhile, and then served beside it. Trainer and servers are
the processes that run on a cluster; the controller has a cluster in memory (dashboard_controller.py).
"""

from __future__ import annotations

import http.client
import json
import math
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from threading import Event, Thread
from typing import Any

import polars as pl
import yaml
from ports import free_port

from labelwright.demo_dataset import write_dataset

HERE = Path(__file__).parent
NAME, SPACE, HOME = "docstrings", "team-a", "labelwright"
SCRAPE_SECONDS = 2
ROWS = 4_000  # of the dataset
FINE_TUNING = {
    "training.architecture": "transformer", "training.base_model": "minilm", "training.max_length": 48, "training.batch_size": 16,
    "training.num_epochs": 2, "training.learning_rate": 5e-4, "training.evaluations_per_epoch": 4, "dataset.sample_count": 500,
}  # fmt: skip
SERVED_SECONDS = 60.0  # of each version alone, and of both side by side
WAVE_SECONDS, MOST_REQUESTS = 60.0, 60.0  # requests a second of a client at the top of its wave
MAX_START_SECONDS = 120.0


@dataclass(frozen=True)
class ScrapedProcess:
    """A process to scrape. labels: those that the cluster's discovery gives."""

    job: str
    port: int
    labels: dict[str, str]


@contextmanager
def scene() -> Iterator[str]:
    """Make the load, then yield the address of the Prometheus that has seen it."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="labelwright-")))
        trainers = [_target("trainer", f"{NAME}-{number}") for number in (1, 2)]
        servers = [_target("predictor", f"{NAME}-predictor-{number}") for number in (1, 2)]
        controller = ScrapedProcess("controller", free_port(), {"namespace": HOME, "release": "labelwright"})
        itself = ScrapedProcess("prometheus", free_port(), {"namespace": HOME, "release": "labelwright"})
        address = stack.enter_context(_prometheus(folder, [*trainers, *servers, controller, itself], itself.port))
        stack.enter_context(_running([sys.executable, str(HERE / "dashboard_controller.py"), str(controller.port)], folder))
        texts = _dataset(folder / "texts.parquet")

        _say("trains a linear version")
        first = _train(folder, f"{NAME}-1", trainers[0], {"training.architecture": "linear"})
        with _served(first, servers[0], folder), _clients(servers[0], texts):
            _say("serves it, and fine-tunes a transformer")
            time.sleep(SERVED_SECONDS / 2)
            second = _train(folder, f"{NAME}-2", trainers[1], FINE_TUNING)
            with _served(second, servers[1], folder), _clients(servers[1], texts):
                _say("serves both")
                time.sleep(SERVED_SECONDS)
        yield address


def _target(component: str, pod: str) -> ScrapedProcess:
    return ScrapedProcess(component, free_port(), {"namespace": SPACE, "pod": pod})


def _dataset(file: Path) -> list[str]:
    """Write the demo's dataset, or some of it, and return its texts."""
    write_dataset(file)
    rows = pl.read_parquet(file).sample(ROWS, seed=0)
    rows.write_parquet(file)
    return rows["text"].to_list()


def _train(folder: Path, version: str, target: ScrapedProcess, settings: dict[str, Any]) -> str:
    """Train and publish a version; return its address."""
    models = folder / "models"
    known = {
        "name": NAME, "version": version, "output_dir": models.as_uri(), "dataset.uri": (folder / "texts.parquet").as_uri(),
        "dataset.text_columns": ["text"], "dataset.label_columns": ["labels"], "progress.metrics_port": target.port, **settings,
    }  # fmt: skip
    options = [
        word
        for name, value in known.items()
        for word in ("--set", f"{name}={value if isinstance(value, str) else json.dumps(value)}")
    ]
    with (folder / f"{version}.log").open("w") as log:
        done = subprocess.run([sys.executable, "-m", "labelwright", "train", *options], stdout=log, stderr=log, check=False)
    if done.returncode:
        raise RuntimeError((folder / f"{version}.log").read_text()[-3000:])
    return f"{models.as_uri()}/{NAME}/{version}"


@contextmanager
def _served(version: str, target: ScrapedProcess, folder: Path) -> Iterator[None]:
    """Serve a version until the block ends."""
    words = ["--name", NAME, "--host", "127.0.0.1", "--port", str(target.port), "--grpc-port", "0"]
    with _running([sys.executable, "-m", "model.serving", version, *words], folder):
        _wait_for_answer(target.port)
        yield


@contextmanager
def _clients(target: ScrapedProcess, texts: list[str]) -> Iterator[None]:
    """Send requests in waves, some of which are wrong, until the block ends."""
    over = Event()

    def ask(phase: float) -> None:
        for number in count():
            per_second = MOST_REQUESTS * (1.05 + math.sin(2 * math.pi * time.time() / WAVE_SECONDS + phase)) / 2
            if over.wait(1 / per_second):
                return
            size = 1 + number % 8
            begin = (number * 8) % (len(texts) - size)
            with suppress(OSError, http.client.HTTPException):
                _post(target.port, texts[begin : begin + size] if number % 50 else [None])

    threads = [Thread(target=ask, args=(phase,)) for phase in (0.0, 1.0, 2.0)]
    for each in threads:
        each.start()
    try:
        yield
    finally:
        over.set()
        for each in threads:
            each.join()


def _post(port: int, texts: Sequence[str | None]) -> int:
    body = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [len(texts)], "data": texts}]}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("POST", f"/v2/models/{NAME}/infer", json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
    finally:
        connection.close()
    return answer.status


@contextmanager
def _prometheus(folder: Path, targets: list[ScrapedProcess], port: int) -> Iterator[str]:
    """Run a Prometheus that scrapes the targets, and yield its address."""
    if not shutil.which("prometheus"):
        raise SystemExit("prometheus is not on the PATH: it collects what the pictures show")
    jobs = [
        {
            "job_name": f"labelwright-{job}",
            "honor_labels": job == "controller",
            "static_configs": [
                {"targets": [f"127.0.0.1:{each.port}"], "labels": each.labels} for each in targets if each.job == job
            ],
        }
        for job in dict.fromkeys(each.job for each in targets)
    ]
    (folder / "prometheus.yml").write_text(
        yaml.safe_dump({"global": {"scrape_interval": f"{SCRAPE_SECONDS}s"}, "scrape_configs": jobs})
    )
    files = [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/prometheus"]
    with _running(["prometheus", *files, f"--web.listen-address=127.0.0.1:{port}"], folder):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def _running(command: list[str], folder: Path) -> Iterator[None]:
    """Run a process until the block ends."""
    with (folder / f"{Path(command[-1]).name}.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def _wait_for_answer(port: int) -> None:
    end = time.monotonic() + MAX_START_SECONDS
    while time.monotonic() < end:
        with suppress(OSError, http.client.HTTPException):
            if _post(port, ["a text"]) == 200:
                return
        time.sleep(0.2)
    raise TimeoutError(f"the server at port {port} did not answer within {MAX_START_SECONDS:g} s")


def _say(what: str) -> None:
    print(what, flush=True)
