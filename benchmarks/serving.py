"""Labelwright's server beside its peers: requests per second, latency, errors, CPU, memory, time until ready.

    python benchmarks/serving.py --data ../shared/data            everything, 25 minutes
    python benchmarks/serving.py --quick                          ours and the ceiling, 3 minutes
    python benchmarks/serving.py --servers int8 --soak 1800       ours at 80 % of its top rate

Every server serves the same MiniLM classifier of 20 labels on this machine. A client process (`serving_client.py`) sends one text
per request over 1, 8 and 32 connections, each of which sends its next request after its response (closed loop). The client's
own limit is measured with a server that does nothing (`null`), and the limit of the machine by calling tokenizer and graph in a
loop without a server (`bare-int8`, `bare-fp32`). Texts are arXiv's test set: abstracts cut to 128 tokens, titles, and both in
turn.

All servers are started first, one after the other, and keep running; those that get no requests are idle. The points are measured
in rounds, every second one in reverse order, and a ratio is that of two points of one round. `others` are the CPUs that other
processes used meanwhile: if it is not near 0, the figures are not reliable.

Peers: `kserve-torch` is a model on KServe's own server that computes with torch inside `predict`, as KServe's Hugging Face
runtime does. `mlserver-torch` and `mlserver-int8` are MLServer's Hugging Face runtime as it comes, and with ONNX Runtime,
our int8 graph and adaptive batching. MLServer needs its own packages, which are installed with uv below the user's cache folder.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from serving_bare import BareSpec, ways
from serving_classifiers import Classifiers, make_classifiers
from serving_client import ClientSpec
from serving_goals import judge
from serving_report import show, show_servers, write_plot
from serving_servers import OURS, PEERS, Running, running, server_of
from serving_soak import soak
from serving_texts import KINDS, read_texts, v2
from tokenizers import Tokenizer

from model.artifact import TOKENIZER

BARE = ("bare-int8", "bare-fp32")
ALL_SERVERS = ("null", *BARE, *OURS, *PEERS)
QUICK = ("null", "bare-int8", "int8", "linear")
LINEAR_KINDS = ("abstracts",)  # where it is slowest
BUSY_CONNECTIONS = 32
STARTS = 3  # of ours, to know how long one takes; a peer's takes half a minute
HERE = Path(__file__).parent
Result = dict[str, Any]


@dataclass(frozen=True)
class MeasuredPoint:
    """One measurement. connections: 0 for a loop without a server."""

    server: str
    texts: str
    connections: int
    texts_a_request: int = 1


@dataclass(frozen=True)
class Started:
    """Running server. ready: seconds of a start, median of several."""

    up: Running
    ready: float

    def described(self, results: list[Result]) -> Result:
        """Return its line of the second table. resident: peak in MB."""
        name = self.up.server.name
        seen = [each["resident"] for each in results if each["server"] == name]
        return {"server": name, "ready": self.ready, "loaded": self.up.loaded, "resident": max([self.up.loaded, *seen])}


def main() -> None:
    """Start the servers, measure, print the tables."""
    arguments = parse()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    arguments.out.mkdir(parents=True, exist_ok=True)
    classifiers = make_classifiers(arguments.data, arguments.out)
    texts = read_texts(arguments.data, Tokenizer.from_file(str(classifiers.int8 / TOKENIZER)))
    with ExitStack() as stack:
        started = start(arguments, classifiers, texts, stack)
        bench = Bench(arguments, texts, classifiers, {each.up.server.name: each.up for each in started})
        if arguments.soak:
            soak(
                lambda **how: bench.load(MeasuredPoint(arguments.servers[0], "mixed", BUSY_CONNECTIONS), **how),
                arguments.soak,
                arguments.out,
            )
            return
        results = bench.rounds()
    servers = [each.described(results) for each in started]
    (arguments.out / "serving.json").write_text(json.dumps({"servers": servers, "points": results}, indent=1) + "\n")
    write_plot(results, arguments.out / "serving.png")
    show(results)
    show_servers(servers)
    judge(results, servers)
    print(f"\nwritten: {arguments.out / 'serving.json'}, {arguments.out / 'serving.png'}")


def parse() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = Path(os.environ.get("DATA", "../shared/data"))
    parser.add_argument("--data", type=Path, default=data, help="the folder that holds arxiv/ [DATA, or ../shared/data]")
    parser.add_argument("--out", type=Path, default=Path("build/serving"), help="for classifiers, logs, figures, the plot")
    parser.add_argument("--servers", nargs="+", choices=ALL_SERVERS, help="[every one]")
    parser.add_argument("--texts", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--connections", nargs="+", type=int, default=[1, 8, 32])
    parser.add_argument("--seconds", type=float, help="of a point, after its warm-up [3; 2 if quick]")
    parser.add_argument("--warm-up", type=float, default=0.7, help="seconds before each point")
    parser.add_argument("--rounds", type=int, help="how often each point is measured [3; 2 if quick]")
    parser.add_argument("--quick", action="store_true", help=f"only {', '.join(QUICK)}, unless --servers says otherwise")
    parser.add_argument("--soak", type=float, metavar="SECONDS", help="the first server at 80 %% of its top rate; no table")
    arguments = parser.parse_args()
    arguments.seconds = arguments.seconds or (2.0 if arguments.quick else 3.0)
    arguments.rounds = arguments.rounds or (2 if arguments.quick else 3)
    arguments.servers = arguments.servers or (["int8"] if arguments.soak else list(QUICK if arguments.quick else ALL_SERVERS))
    if arguments.soak and arguments.servers[0] in BARE:
        parser.error("--soak needs a server")
    return arguments


def start(
    arguments: argparse.Namespace, classifiers: Classifiers, texts: dict[str, list[str]], stack: ExitStack
) -> list[Started]:
    """Start every chosen server, one after the other; `stack` stops them."""
    started = []
    for name in (each for each in arguments.servers if each not in BARE):
        server = server_of(name, classifiers, arguments.out)
        ready = []
        for _ in range(STARTS - 1 if name in OURS else 0):
            with running(server, arguments.out / f"{name}.log", texts["titles"][0]) as once:
                ready.append(once.ready)
        up = stack.enter_context(running(server, arguments.out / f"{name}.log", texts["titles"][0]))
        started.append(Started(up, median([*ready, up.ready])))
        print(f"{name} answered after {started[-1].ready:.1f} s, {up.loaded:.0f} MB", flush=True)
    return started


class Bench:
    """Measurement of all points."""

    def __init__(
        self, arguments: argparse.Namespace, texts: dict[str, list[str]], classifiers: Classifiers, up: dict[str, Running]
    ) -> None:
        self._arguments = arguments
        self._texts = texts
        self._classifiers = classifiers
        self._up = up

    def rounds(self) -> list[Result]:
        """Measure every point once per round. The results of a round are written to the output folder when it ends."""
        results: list[Result] = []
        for number in range(self._arguments.rounds):
            for point in self._points()[:: -1 if number % 2 else 1]:
                measured = list(self._measure(point))
                results += [{"round": number, **asdict(point), **each} for each in measured]
                for each in measured:
                    what = (
                        f"{point.connections} connections, {point.texts_a_request} a request"
                        if point.connections
                        else each["way"]
                    )
                    rate = f"{each['texts_a_second']:8.1f} texts/s  p50 {each['p50']:.1f} ms  errors {each['errors']}"
                    print(f"round {number}  {point.server:14} {point.texts:9}  {what:34}{rate}", flush=True)
        return results

    def load(self, point: MeasuredPoint, *, seconds: float, rate: float = 0.0, every: float = 0.0) -> Result:
        """Run the client against a server, and return its figures."""
        up = self._up[point.server]
        load = ClientSpec(
            port=up.port,
            path=up.server.path,
            bodies=v2(up.server.tensor, texts_a_request=point.texts_a_request)(self._texts[point.texts]),
            connections=point.connections,
            warm_up=self._arguments.warm_up,
            seconds=seconds,
            answer=up.server.answer,
            pid=up.process.pid,
            rate=rate,
            every=every,
        )
        result: Result = json.loads(self._run("serving_client.py", asdict(load)))
        result["texts_a_second"] = result["requests"] * point.texts_a_request
        return result

    def _points(self) -> list[MeasuredPoint]:
        """Return all points, with those that are compared next to each other."""
        chosen, points = self._arguments, []
        for texts in chosen.texts:
            points += [MeasuredPoint(each, texts, 0) for each in chosen.servers if each in BARE]
            for connections in chosen.connections:
                points += [MeasuredPoint(each, texts, connections) for each in self._up if _is_asked(each, texts)]
            if max(chosen.connections) >= BUSY_CONNECTIONS:
                points += [
                    MeasuredPoint(each, texts, BUSY_CONNECTIONS, 16)
                    for each in self._up
                    if each in OURS and _is_asked(each, texts)
                ]
        return points

    def _measure(self, point: MeasuredPoint) -> Iterator[Result]:
        if point.connections:
            yield self.load(point, seconds=self._arguments.seconds)
            return
        version = self._classifiers.int8 if point.server == "bare-int8" else self._classifiers.fp32
        called = [asdict(each) for each in ways(min(4, len(os.sched_getaffinity(0))))]
        spec = BareSpec(str(version), self._texts[point.texts], called, self._arguments.warm_up, self._arguments.seconds)
        for line in self._run("serving_bare.py", asdict(spec)).splitlines():
            yield json.loads(line) | {"errors": 0}

    def _run(self, program: str, spec: dict[str, Any]) -> str:
        """Run a script of this folder in a separate process, and return its output."""
        file = self._arguments.out / "spec.json"
        file.write_text(json.dumps(spec))
        environment = os.environ | {"PYTHONPATH": str(HERE.parent)}
        command = [sys.executable, str(HERE / program), str(file)]
        return subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True).stdout


def _is_asked(server: str, texts: str) -> bool:
    """Return whether a server is measured with these texts: linear ones with those that take longest, `null` once."""
    return texts == "abstracts" or not server.startswith(("linear", "null"))


if __name__ == "__main__":
    main()
