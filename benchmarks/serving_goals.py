"""Goals of the server, and whether it reached them. A ratio is computed within each round; its median counts."""

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
LINEAR_REQUESTS_PER_SECOND = 2500.0
MAX_READY_SECONDS = {"int8": 3.0, "linear": 2.0, "linear-149": 2.0}
MAX_RESIDENT_MB = 350.0


@dataclass(frozen=True)
class Goal:
    """Figure of each round, and the goal of their median."""

    what: str
    values: list[float]
    limit: float
    at_least: bool

    def __str__(self) -> str:
        figure = median(self.values)
        met = figure >= self.limit if self.at_least else figure <= self.limit
        spread = f"({min(self.values):.3g} to {max(self.values):.3g})" if len(self.values) > 1 else ""
        sign = "≥" if self.at_least else "≤"
        return f"{'pass' if met else 'FAIL'}  {self.what:64}{figure:9.3f}  {spread:20} {sign} {self.limit:.3g}"


class Figures:
    """Results by point. A point that was not measured has no goal."""

    def __init__(self, results: list[Result]) -> None:
        self._results = results
        self.kinds = list(dict.fromkeys(each["texts"] for each in results))

    def of(self, name: str, server: str, texts: str, connections: int, texts_a_request: int = 1) -> dict[int, float]:
        """Return a figure by round."""
        wanted = (server, texts, connections, texts_a_request)
        fields = ("server", "texts", "connections", "texts_a_request")
        return {each["round"]: each[name] for each in self._results if tuple(each[key] for key in fields) == wanted}

    def bare(self, texts: str) -> dict[int, float]:
        """Return the texts per second by round, for the best way of calling."""
        values = [each for each in self._results if (each["server"], each["texts"]) == ("bare-int8", texts)]
        if not values:
            return {}
        best, _ = ceiling(values, "bare-int8", texts)
        return {each["round"]: each["texts_a_second"] for each in values if each["way"] == best}

    def alone(self, texts: str) -> dict[int, float]:
        """Return the milliseconds of a lone text by round, on one thread or several, whichever is faster."""
        values: dict[int, float] = {}
        for each in self._results:
            if (each["server"], each["texts"]) == ("bare-int8", texts) and each["sessions"] == each["texts_a_call"] == 1:
                values[each["round"]] = min(each["p50"], values.get(each["round"], each["p50"]))
        return values


def judge(results: list[Result], servers: list[Result]) -> None:
    """Print each goal that was measured."""
    print("\nGoals: the median of the rounds, the least and the most")
    figures = Figures(results)
    for goal in (*_beside_peers(figures), *_beside_bare(figures), *_linear(figures), *_start_and_memory(servers)):
        if goal.values:
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
    yield Goal("linear, abstracts: requests a second", list(busy.values()), LINEAR_REQUESTS_PER_SECOND, at_least=True)


def _start_and_memory(servers: list[Result]) -> Iterator[Goal]:
    for each in servers:
        if each["server"] in MAX_READY_SECONDS:
            yield Goal(f"{each['server']}: ready after, s", [each["ready"]], MAX_READY_SECONDS[each["server"]], at_least=False)
            yield Goal(f"{each['server']}: resident at most, MB", [each["resident"]], MAX_RESIDENT_MB, at_least=False)


def _each(choose: Callable[[list[float]], float], *figures: dict[int, float]) -> dict[int, float]:
    """Return by round the chosen one of these figures."""
    rounds = {number for each in figures for number in each}
    return {number: choose([each[number] for each in figures if number in each]) for number in sorted(rounds)}


def _ratios(ours: dict[int, float], theirs: dict[int, float]) -> list[float]:
    return [ours[each] / theirs[each] for each in sorted(ours.keys() & theirs.keys()) if theirs[each] > 0]
