"""Our server beside its peers: requests a second, latency, errors, CPU, memory, time to be ready.

    python benchmarks/serving.py --data ../shared/data            everything, 25 minutes
    python benchmarks/serving.py --quick                          ours and the ceiling, 3 minutes
    python benchmarks/serving.py --servers int8 --soak 1800       ours at 80 % of its top rate

The same MiniLM classifier of 20 labels is served by every server on this machine, one text a request, and asked over 1, 8
and 32 connections, each of which sends its next request after its answer (closed loop), by a process of its own
(`serving_client.py`). What that can drive is measured on a server that does nothing (`null`); what the machine can compute,
by calling tokenizer and graph in a loop without any server (`bare-int8`, `bare-fp32`). Texts are arXiv's test set:
abstracts cut to 128 tokens, titles, and both in turn.

All servers are started first, one after the other, and stay up: what is not asked does nothing. The points are measured
in rounds, every second one in reverse order, and a ratio is that of two points of one round. `others` are the CPUs that
anything else on the machine used meanwhile: where it is not near 0, trust nothing.

Peers: `kserve-torch` is a model on KServe's own server that computes with torch inside `predict`, as KServe's Hugging Face
runtime does. `mlserver-torch` and `mlserver-int8` are MLServer's Hugging Face runtime as it comes, and with ONNX Runtime,
our int8 graph and adaptive batching. MLServer needs packages of its own, which are installed with uv where caches are kept.
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

from serving_bare import Spec, ways
from serving_classifiers import Classifiers, make_classifiers
from serving_client import Load
from serving_goals import judge
from serving_report import show, show_servers, write_plot
from serving_servers import OURS, PEERS, Running, running, server_of
from serving_soak import soak
from serving_texts import KINDS, read_texts, v2
from tokenizers import Tokenizer

from model.artifact import TOKENIZER

BARE = ("bare-int8", "bare-fp32")
EVERY = ("null", *BARE, *OURS, *PEERS)
QUICK = ("null", "bare-int8", "int8", "linear")
LINEAR_KINDS = ("abstracts",)  # where it is slowest
BUSY = 32  # connections
STARTS = 3  # of ours, to know how long one takes; a peer's takes half a minute
HERE = Path(__file__).parent
Result = dict[str, Any]


@dataclass(frozen=True)
class Point:
    """What is measured at a time; connections 0 stands for a loop without a server."""

    server: str
    texts: str
    connections: int
    texts_a_request: int = 1


@dataclass(frozen=True)
class Started:
    """A server that runs. ready: seconds that a start takes, the median of several."""

    up: Running
    ready: float

    def described(self, results: list[Result]) -> Result:
        """Its line of the second table; resident is the most that was seen, in MB."""
        name = self.up.server.name
        seen = [each["resident"] for each in results if each["server"] == name]
        return {"server": name, "ready": self.ready, "loaded": self.up.loaded, "resident": max([self.up.loaded, *seen])}


def main() -> None:
    """Start, measure, tell."""
    arguments = parse()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    arguments.out.mkdir(parents=True, exist_ok=True)
    classifiers = make_classifiers(arguments.data, arguments.out)
    texts = read_texts(arguments.data, Tokenizer.from_file(str(classifiers.int8 / TOKENIZER)))
    with ExitStack() as stack:
        started = start(arguments, classifiers, texts, stack)
        bench = Bench(arguments, texts, classifiers, {each.up.server.name: each.up for each in started})
        if arguments.soak:
            soak(lambda **how: bench.load(Point(arguments.servers[0], "mixed", BUSY), **how), arguments.soak, arguments.out)
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
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = Path(os.environ.get("DATA", "../shared/data"))
    parser.add_argument("--data", type=Path, default=data, help="the folder that holds arxiv/ [DATA, or ../shared/data]")
    parser.add_argument("--out", type=Path, default=Path("build/serving"), help="for classifiers, logs, figures, the plot")
    parser.add_argument("--servers", nargs="+", choices=EVERY, help="[every one]")
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
    arguments.servers = arguments.servers or (["int8"] if arguments.soak else list(QUICK if arguments.quick else EVERY))
    if arguments.soak and arguments.servers[0] in BARE:
        parser.error("--soak needs a server")
    return arguments


def start(
    arguments: argparse.Namespace, classifiers: Classifiers, texts: dict[str, list[str]], stack: ExitStack
) -> list[Started]:
    """Every server that is asked for, one after the other; they end with `stack`."""
    found = []
    for name in (each for each in arguments.servers if each not in BARE):
        server = server_of(name, classifiers, arguments.out)
        ready = []
        for _ in range(STARTS - 1 if name in OURS else 0):
            with running(server, arguments.out / f"{name}.log", texts["titles"][0]) as once:
                ready.append(once.ready)
        up = stack.enter_context(running(server, arguments.out / f"{name}.log", texts["titles"][0]))
        found.append(Started(up, median([*ready, up.ready])))
        print(f"{name} answered after {found[-1].ready:.1f} s, {up.loaded:.0f} MB", flush=True)
    return found


class Bench:
    """The points and their measuring."""

    def __init__(
        self, arguments: argparse.Namespace, texts: dict[str, list[str]], classifiers: Classifiers, up: dict[str, Running]
    ) -> None:
        self._arguments = arguments
        self._texts = texts
        self._classifiers = classifiers
        self._up = up

    def rounds(self) -> list[Result]:
        """Every point, as often as there are rounds. What a round measured lies in the output folder once it ends."""
        results: list[Result] = []
        for number in range(self._arguments.rounds):
            for point in self._points()[:: -1 if number % 2 else 1]:
                found = list(self._measure(point))
                results += [{"round": number, **asdict(point), **each} for each in found]
                for each in found:
                    what = (
                        f"{point.connections} connections, {point.texts_a_request} a request"
                        if point.connections
                        else each["way"]
                    )
                    rate = f"{each['texts_a_second']:8.1f} texts/s  p50 {each['p50']:.1f} ms  errors {each['errors']}"
                    print(f"round {number}  {point.server:14} {point.texts:9}  {what:34}{rate}", flush=True)
        return results

    def load(self, point: Point, *, seconds: float, rate: float = 0.0, every: float = 0.0) -> Result:
        """What the client measured of a server."""
        up = self._up[point.server]
        load = Load(
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
        found: Result = json.loads(self._run("serving_client.py", asdict(load)))
        found["texts_a_second"] = found["requests"] * point.texts_a_request
        return found

    def _points(self) -> list[Point]:
        """In an order in which those that are compared follow each other."""
        chosen, found = self._arguments, []
        for texts in chosen.texts:
            found += [Point(each, texts, 0) for each in chosen.servers if each in BARE]
            for connections in chosen.connections:
                found += [Point(each, texts, connections) for each in self._up if _is_asked(each, texts)]
            if max(chosen.connections) >= BUSY:
                found += [Point(each, texts, BUSY, 16) for each in self._up if each in OURS and _is_asked(each, texts)]
        return found

    def _measure(self, point: Point) -> Iterator[Result]:
        if point.connections:
            yield self.load(point, seconds=self._arguments.seconds)
            return
        version = self._classifiers.int8 if point.server == "bare-int8" else self._classifiers.fp32
        called = [asdict(each) for each in ways(min(4, len(os.sched_getaffinity(0))))]
        spec = Spec(str(version), self._texts[point.texts], called, self._arguments.warm_up, self._arguments.seconds)
        for line in self._run("serving_bare.py", asdict(spec)).splitlines():
            yield json.loads(line) | {"errors": 0}

    def _run(self, program: str, spec: dict[str, Any]) -> str:
        """What a program of this folder prints, in a process of its own."""
        file = self._arguments.out / "spec.json"
        file.write_text(json.dumps(spec))
        environment = os.environ | {"PYTHONPATH": str(HERE.parent)}
        command = [sys.executable, str(HERE / program), str(file)]
        return subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True).stdout


def _is_asked(server: str, texts: str) -> bool:
    """The linear models are asked where they are slowest, and the null server once."""
    return texts == "abstracts" or not server.startswith(("linear", "null"))


if __name__ == "__main__":
    main()
