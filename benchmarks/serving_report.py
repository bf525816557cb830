"""Tables and plot of the serving benchmark. Each figure is a median over the rounds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

Result = dict[str, Any]
DISTURBING_CPUS = 0.2
HEAD = (
    "texts",
    "server",
    "conn.",
    "texts/req.",
    "req./s",
    "spread",
    "texts/s",
    "p50",
    "p95",
    "p99",
    "errors",
    "CPU",
    "client",
    "others",
)


def show(results: list[Result]) -> None:
    """Print a line for each point: rates, milliseconds, and CPUs used by the server, the client and other processes."""
    print(f"\n{HEAD[0]:10}{HEAD[1]:40}" + "".join(f"{each:>11}" for each in HEAD[2:]))
    for key, results_of_point in grouped(results).items():
        texts, server, connections, texts_a_request, way = key
        rates = [each["requests"] for each in results_of_point]
        print(
            f"{texts:10}{f'{server} {way}':40}{connections or '':>11}{texts_a_request:>11}{median(rates):11.1f}"
            f"{f'±{(max(rates) - min(rates)) / 2 / max(median(rates), 1e-9):.0%}':>11}"
            + "".join(f"{middle(results_of_point, name):11.1f}" for name in ("texts_a_second", "p50", "p95", "p99"))
            + f"{sum(each['errors'] for each in results_of_point):11}"
            + "".join(f"{middle(results_of_point, name):11.2f}" for name in ("server_cpu", "client_cpu", "others_cpu"))
        )
    disturbed = sum(each["others_cpu"] > DISTURBING_CPUS for each in results)
    print(f"{disturbed} of {len(results)} measurements while something else used more than {DISTURBING_CPUS} CPUs")
    for each in results:
        if each["errors"]:
            print(f"{each['server']}, {each['texts']}: {each['errors']} errors, such as {each['first_error']}")


def show_servers(servers: list[Result]) -> None:
    """Print the seconds from a server's start to its first correct response, and the resident memory of its processes."""
    print(f"\n{'server':16}{'ready, s':>10}{'MB loaded':>12}{'MB at most':>12}")
    for each in servers:
        print(f"{each['server']:16}{each['ready']:10.2f}{each['loaded']:12.0f}{each['resident']:12.0f}")


def write_plot(results: list[Result], path: Path) -> None:
    """Plot texts per second over connections, one text per request, a panel for each kind; the upper limits are dashed.

    The linear models are left out: beside them the others would lie on the axis.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    kinds = list(dict.fromkeys(each["texts"] for each in results))
    figure = Figure(figsize=(4.6 * len(kinds) + 2, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    shown = [each for each in dict.fromkeys(each["server"] for each in results) if not each.startswith(("null", "linear"))]
    for panel, texts in zip(figure.subplots(1, len(kinds), squeeze=False)[0], kinds, strict=True):
        for at, server in enumerate(shown):
            results_of_point = [each for each in results if (each["server"], each["texts"]) == (server, texts)]
            if server.startswith("bare") and results_of_point:
                panel.axhline(ceiling(results_of_point, server, texts)[1], color=f"C{at}", linestyle="--", label=server)
                continue
            points = grouped(each for each in results_of_point if each["texts_a_request"] == 1)
            if points:
                rates = [middle(each, "requests") for each in points.values()]
                panel.plot([key[2] for key in points], rates, color=f"C{at}", marker="o", label=server)
        panel.set(title=texts, xlabel="connections", ylabel="texts a second", xscale="log")
        panel.set_ylim(bottom=0)
        ticks = sorted({each["connections"] for each in results if each["connections"]})
        panel.set_xticks(ticks, [str(each) for each in ticks])
        panel.minorticks_off()
    handles = {each.get_label(): each for panel in figure.axes for each in panel.get_lines()}
    figure.legend(handles=list(handles.values()), loc="outside right center", frameon=False)
    figure.savefig(path, dpi=130)


def grouped(results: Iterable[Result]) -> dict[tuple[Any, ...], list[Result]]:
    """Return the results of each point over the rounds, ordered by kind, then by connections."""
    results_of_point: dict[tuple[Any, ...], list[Result]] = {}
    kinds: dict[str, int] = {}
    for each in results:
        kinds.setdefault(each["texts"], len(kinds))
        key = (each["texts"], each["server"], each["connections"], each["texts_a_request"], each.get("way", ""))
        results_of_point.setdefault(key, []).append(each)
    return dict(sorted(results_of_point.items(), key=lambda item: (kinds[item[0][0]], item[0][2], item[0][3])))


def ceiling(results: Sequence[Result], server: str, texts: str) -> tuple[str, float]:
    """Return the way of calling with the highest throughput, and its texts per second."""
    called = grouped(each for each in results if (each["server"], each["texts"]) == (server, texts))
    best = max(called.items(), key=lambda item: middle(item[1], "texts_a_second"))
    return best[0][4], middle(best[1], "texts_a_second")


def middle(results_of_point: Sequence[Result], name: str) -> float:
    """Return the median of a figure; 0 if it was not measured."""
    return float(median(each.get(name, 0.0) for each in results_of_point))
