"""What the server is meant to reach, and whether it did. A ratio is taken within each round; its median counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

from serving_report import ceiling

Result = dict[str, Any]
OF_KSERVE, OF_MLSERVER, P99_OF_KSERVE = 5.0, 2.0, 1 / 3
OF_BARE = {"abstracts": 0.93, "titles": 0.65, "mixed": 0.85}
OF_BARE_16 = 0.95
MORE_THAN_BARE = 0.6  # ms
LINEAR = 2500.0
READY = {"int8": 3.0, "linear": 2.0, "linear-149": 2.0}
RESIDENT = 350.0


@dataclass(frozen=True)
class Goal:
    """A figure of each round, and what their median must be."""

    what: str
    found: list[float]
    limit: float
    at_least: bool

    def __str__(self) -> str:
        figure = median(self.found)
        met = figure >= self.limit if self.at_least else figure <= self.limit
        spread = f"({min(self.found):.3g} to {max(self.found):.3g})" if len(self.found) > 1 else ""
        sign = "≥" if self.at_least else "≤"
        return f"{'pass' if met else 'FAIL'}  {self.what:64}{figure:9.3f}  {spread:20} {sign} {self.limit:.3g}"


class Figures:
    """The results, to be looked up; what was not measured gives no goal."""

    def __init__(self, results: list[Result]) -> None:
        self._results = results
        self.kinds = list(dict.fromkeys(each["texts"] for each in results))

    def of(self, name: str, server: str, texts: str, connections: int, texts_a_request: int = 1) -> dict[int, float]:
        """A figure by round."""
        wanted = (server, texts, connections, texts_a_request)
        fields = ("server", "texts", "connections", "texts_a_request")
        return {each["round"]: each[name] for each in self._results if tuple(each[key] for key in fields) == wanted}

    def bare(self, texts: str) -> dict[int, float]:
        """Texts a second by round, called in the best way."""
        found = [each for each in self._results if (each["server"], each["texts"]) == ("bare-int8", texts)]
        if not found:
            return {}
        best, _ = ceiling(found, "bare-int8", texts)
        return {each["round"]: each["texts_a_second"] for each in found if each["way"] == best}

    def alone(self, texts: str) -> dict[int, float]:
        """Milliseconds by round of a text that is alone, on one thread or several, whichever is faster."""
        found: dict[int, float] = {}
        for each in self._results:
            if (each["server"], each["texts"]) == ("bare-int8", texts) and each["sessions"] == each["texts_a_call"] == 1:
                found[each["round"]] = min(each["p50"], found.get(each["round"], each["p50"]))
        return found


def judge(results: list[Result], servers: list[Result]) -> None:
    """Print each goal that something was measured for."""
    print("\nGoals: the median of the rounds, the least and the most")
    figures = Figures(results)
    for goal in (*_beside_peers(figures), *_beside_bare(figures), *_linear(figures), *_start_and_memory(servers)):
        if goal.found:
            print(goal)


def _beside_peers(figures: Figures) -> Iterator[Goal]:
    for texts in figures.kinds:
        for connections in (8, 32):

            def of(name: str, server: str, texts: str = texts, connections: int = connections) -> dict[int, float]:
                return figures.of(name, server, texts, connections)

            where = f"{texts}, {connections} connections"
            ours, kserve = of("requests", "int8"), of("requests", "kserve-torch")
            mlserver = _each(max, of("requests", "mlserver-int8"), of("requests", "mlserver-torch"))
            yield Goal(f"{where}: requests of kserve-torch's", _ratios(ours, kserve), OF_KSERVE, at_least=True)
            yield Goal(f"{where}: requests of MLServer's best", _ratios(ours, mlserver), OF_MLSERVER, at_least=True)
            slow = _ratios(of("p99", "int8"), of("p99", "kserve-torch"))
            yield Goal(f"{where}: p99 of kserve-torch's", slow, P99_OF_KSERVE, at_least=False)


def _beside_bare(figures: Figures) -> Iterator[Goal]:
    for texts in figures.kinds:
        bare, one = figures.bare(texts), figures.of("texts_a_second", "int8", texts, 32)
        many = figures.of("texts_a_second", "int8", texts, 32, 16)
        yield Goal(f"{texts}, 32 connections: texts of the bare loop's", _ratios(one, bare), OF_BARE[texts], at_least=True)
        yield Goal(f"{texts}, 32 x 16 texts: texts of the bare loop's", _ratios(many, bare), OF_BARE_16, at_least=True)
        p50, alone = figures.of("p50", "int8", texts, 1), figures.alone(texts)
        more = [p50[each] - alone[each] for each in p50.keys() & alone.keys()]
        yield Goal(f"{texts}, 1 connection: p50 above the bare loop's, ms", more, MORE_THAN_BARE, at_least=False)


def _linear(figures: Figures) -> Iterator[Goal]:
    busy = _each(max, *(figures.of("requests", "linear", "abstracts", each) for each in (8, 32)))
    yield Goal("linear, abstracts: requests a second", list(busy.values()), LINEAR, at_least=True)


def _start_and_memory(servers: list[Result]) -> Iterator[Goal]:
    for each in servers:
        if each["server"] in READY:
            yield Goal(f"{each['server']}: ready after, s", [each["ready"]], READY[each["server"]], at_least=False)
            yield Goal(f"{each['server']}: resident at most, MB", [each["resident"]], RESIDENT, at_least=False)


def _each(choose: Callable[[list[float]], float], *figures: dict[int, float]) -> dict[int, float]:
    """By round, the one of these figures that is chosen."""
    rounds = {number for each in figures for number in each}
    return {number: choose([each[number] for each in figures if number in each]) for number in sorted(rounds)}


def _ratios(ours: dict[int, float], theirs: dict[int, float]) -> list[float]:
    return [ours[each] / theirs[each] for each in sorted(ours.keys() & theirs.keys()) if theirs[each] > 0]
