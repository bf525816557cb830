"""Upper limit of the serving benchmark: tokenizer, ONNX Runtime and sigmoid in a loop, without a server.

    python benchmarks/serving_bare.py SPEC

SPEC is a JSON file with the fields of `BareSpec`; for each way of calling, a line of JSON is printed.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from serving_processes import machine_cpu_seconds
from tokenizers import Tokenizer

from model.artifact import GRAPH, TOKENIZER, read_manifest
from model.classifier import SLOWER_FUSIONS, TextTokenizer, to_probabilities
from model.manifest import Task

BATCH_TEXTS = 32
Call = Callable[[Sequence[str]], None]


@dataclass(frozen=True)
class Way:
    """Way of calling the graph: concurrent sessions, threads of each, texts per call."""

    sessions: int
    threads: int
    texts: int

    def __str__(self) -> str:
        return f"{self.sessions} x {self.threads} thread{'s'[: self.threads > 1]}, {self.texts} text{'s'[: self.texts > 1]}"


def ways(cores: int) -> list[Way]:
    """Return the ways to compare: the first two for the latency of a lone text, the others for throughput."""
    return [Way(1, 1, 1), Way(1, cores, 1), Way(cores, 1, 1), Way(1, cores, BATCH_TEXTS)]


@dataclass(frozen=True)
class BareSpec:
    """Settings of the script. version: its folder. seconds: minimum time for each way."""

    version: str
    texts: list[str]
    ways: list[dict[str, int]]
    warm_up: float
    seconds: float


def main() -> None:
    """Measure the ways in turn."""
    spec = BareSpec(**json.loads(Path(sys.argv[1]).read_bytes()))
    for way in (Way(**each) for each in spec.ways):
        print(
            json.dumps({"way": str(way), "sessions": way.sessions, "texts_a_call": way.texts, **measure(way, spec)}), flush=True
        )


def measure(way: Way, spec: BareSpec) -> dict[str, Any]:
    """Return calls and texts per second, and the milliseconds of a call."""
    calls = [_call(Path(spec.version), way.threads) for _ in range(way.sessions)]
    batches = _batches(spec.texts, way.texts)
    _run(calls, batches, spec.warm_up)
    began, cpu, everyone = time.perf_counter(), time.process_time(), machine_cpu_seconds()
    times = _run(calls, batches, spec.seconds)
    seconds = time.perf_counter() - began
    p50, p95, p99 = (float(each) for each in np.percentile(np.array(times) * 1000, [50, 95, 99]))
    requests = len(times) / seconds
    used = (time.process_time() - cpu) / seconds
    others = max(0.0, (machine_cpu_seconds() - everyone) / seconds - used)
    cpus = {"server_cpu": used, "others_cpu": others}
    return {"requests": requests, "texts_a_second": requests * way.texts, "p50": p50, "p95": p95, "p99": p99, **cpus}


def _call(version: Path, threads: int) -> Call:
    """Return a function that makes a call as the server does, with a session of its own."""
    tokenizer = TextTokenizer(Tokenizer.from_file(str(version / TOKENIZER)), read_manifest(version).max_length)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        str(version / GRAPH), options, providers=["CPUExecutionProvider"], disabled_optimizers=SLOWER_FUSIONS
    )

    def call(texts: Sequence[str]) -> None:
        encodings = tokenizer.encode(texts)
        longest = max(len(each.ids) for each in encodings)
        ids = np.zeros((len(texts), longest), np.int64)
        mask = np.zeros((len(texts), longest), np.int64)
        for at, each in enumerate(encodings):
            ids[at, : len(each.ids)] = each.ids
            mask[at, : len(each.ids)] = 1
        to_probabilities(session.run(["logits"], {"input_ids": ids, "attention_mask": mask})[0], Task.MULTI_LABEL)

    return call


def _batches(texts: list[str], size: int) -> list[list[str]]:
    """Return the texts as batches of similar length, in random order."""
    ordered = sorted(texts, key=len) if size > 1 else texts
    batches = [ordered[at : at + size] for at in range(0, len(ordered), size)]
    return [batches[at] for at in np.random.default_rng(0).permutation(len(batches))]


def _run(calls: list[Call], batches: list[list[str]], seconds: float) -> list[float]:
    """Make calls until the time is up, and return the seconds of each.

    Where a call takes several texts, batches differ in length, so all have their turn, if that takes no three times as long.
    """
    deadline = time.perf_counter() + seconds
    latest = deadline + 2 * seconds if len(batches[0]) > 1 else deadline

    def loop(worker: int) -> list[float]:
        times: list[float] = []
        share = batches[worker :: len(calls)]
        while time.perf_counter() < deadline:
            for batch in share:
                began = time.perf_counter()
                calls[worker](batch)
                ended = time.perf_counter()
                times.append(ended - began)
                if ended >= latest:
                    break
        return times

    with ThreadPoolExecutor(len(calls)) as pool:
        return [each for times in pool.map(loop, range(len(calls))) for each in times]


if __name__ == "__main__":
    main()
