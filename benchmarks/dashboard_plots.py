"""A dashboard as a picture: lines over time, last values, and states over time, in the places that Grafana gives them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, MultipleLocator
from PIL import Image

from trainer.report.plots import GRID, INK, MUTED, STYLE

COLUMNS, COLUMN_INCHES, ROW_INCHES, DPI = 24, 0.55, 0.29, 72
TITLE_INCHES = 0.45
LEFT_INCHES, RIGHT_INCHES, TOP_INCHES, BOTTOM_INCHES = 0.75, 0.25, 0.25, 0.3  # of a panel, around its plot
MINUTE_TICKS = 5
LEGEND_LINES, LEGEND_CHARACTERS, NUMBERS_CHARACTERS = 6, 44, 60
GAP = 2.5  # steps without a value, over which no line is drawn
STATES_POINTS = 100.0  # height of all names of a panel of states
COLOURS = 64  # of the file
UNITS = {"percentunit": "%", "s": "s", "bytes": "MB", "reqps": "1/s", "ops": "1/s", "cps": "1/s", "sci": "", "short": ""}


@dataclass(frozen=True)
class Series:
    """Values of one series, with its name in the legend. times: seconds since 1970."""

    name: str
    times: tuple[float, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class PlottedPanel:
    """A panel with its place on the grid of 24 columns, and its series. kind: Grafana's type."""

    title: str
    kind: str
    unit: str
    x: int
    y: int
    width: int
    height: int
    series: tuple[Series, ...]


def draw(title: str, panels: Sequence[PlottedPanel], start: float, end: float, to: Path) -> None:
    """Draw the panels into a PNG file."""
    wide = COLUMNS * COLUMN_INCHES
    high = TITLE_INCHES + ROW_INCHES * max(each.y + each.height for each in panels)
    with matplotlib.style.context(STYLE):
        figure = Figure(figsize=(wide, high))
        figure.text(0.01, 1 - TITLE_INCHES / 2 / high, title, va="center", fontsize=13, color=INK)
        for each in panels:
            x, y, width, height = _place(each, high)
            axes = figure.add_axes((x / wide, y / high, width / wide, height / high))
            axes.set_title(each.title, loc="left", fontsize=9, color=INK)
            _draw(axes, each, start, end)
        raw = io.BytesIO()
        figure.savefig(raw, format="png", dpi=DPI, facecolor="white")
    with Image.open(raw) as image:
        image.convert("RGB").quantize(COLOURS).save(to, optimize=True)


def _place(panel: PlottedPanel, high: float) -> tuple[float, float, float, float]:
    """Return left, bottom, width and height of the plot in inches."""
    bottom = high - TITLE_INCHES - ROW_INCHES * (panel.y + panel.height) + BOTTOM_INCHES
    width = COLUMN_INCHES * panel.width - LEFT_INCHES - RIGHT_INCHES
    return COLUMN_INCHES * panel.x + LEFT_INCHES, bottom, width, ROW_INCHES * panel.height - TOP_INCHES - BOTTOM_INCHES


def _draw(axes: Axes, panel: PlottedPanel, start: float, end: float) -> None:
    if not panel.series:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "no series in this time", ha="center", va="center", color=MUTED)
        return
    if panel.kind == "stat":
        _draw_numbers(axes, panel)
        return
    axes.set_xlim(start, end)
    axes.xaxis.set_major_locator(MultipleLocator(60 * max(1, round((end - start) / 60 / MINUTE_TICKS)), offset=start))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda at, _: f"{(at - start) / 60:.0f} min"))
    if panel.kind == "state-timeline":
        _draw_states(axes, panel)
    else:
        _draw_lines(axes, panel)


def _draw_lines(axes: Axes, panel: PlottedPanel) -> None:
    for each in panel.series:
        times, values = _with_gaps(each)
        axes.plot(times, values, linewidth=1.2, label=_shortened(each.name))
    axes.set_ylim(0, 1.1 * max(max(each.values) for each in panel.series) or 1.0)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _shown(value, panel.unit)))
    handles, names = axes.get_legend_handles_labels()
    few = list(dict(zip(names, handles, strict=True)).items())[:LEGEND_LINES]
    axes.legend([handle for _, handle in few], [name for name, _ in few], loc="best", fontsize=6.5, labelcolor=MUTED)


def _draw_states(axes: Axes, panel: PlottedPanel) -> None:
    names = list(dict.fromkeys(each.name for each in panel.series))
    for each in panel.series:
        present = [at for at, value in zip(each.times, each.values, strict=True) if value]
        step = _step(each)
        spans = [(at, step) for at in present]
        axes.broken_barh(
            spans, (names.index(each.name) - 0.4, 0.8), color=f"C{names.index(each.name) % 10}", alpha=0.5, linewidth=0
        )
    for at, name in enumerate(names):
        size = min(6.5, STATES_POINTS / len(names))
        axes.annotate(name, (0.01, at), xycoords=("axes fraction", "data"), va="center", fontsize=size, color=INK)
    axes.set_yticks([])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")


def _draw_numbers(axes: Axes, panel: PlottedPanel) -> None:
    axes.set_axis_off()
    for at, each in enumerate(panel.series):
        place = (at + 0.5) / len(panel.series)
        axes.text(place, 0.55, _shown(each.values[-1], panel.unit), ha="center", va="center", fontsize=17, color="C0")
        axes.text(
            place,
            0.3,
            fill(each.name, max(10, NUMBERS_CHARACTERS // len(panel.series))),
            ha="center",
            va="top",
            fontsize=6.5,
            color=MUTED,
        )
    axes.axhline(0, color=GRID)


def _with_gaps(series: Series) -> tuple[list[float], list[float]]:
    """Return times and values, with a value that is not drawn wherever the series was absent."""
    times, values, step = [], [], _step(series)
    for before, at, value in zip((series.times[0], *series.times), series.times, series.values, strict=False):
        if at - before > GAP * step:
            times.append(before)
            values.append(float("nan"))
        times.append(at)
        values.append(value)
    return times, values


def _step(series: Series) -> float:
    return float(np.min(np.diff(series.times))) if len(series.times) > 1 else 1.0


def _shown(value: float, unit: str) -> str:
    scaled = value * 100 if unit == "percentunit" else value / 1e6 if unit == "bytes" else value
    number = f"{scaled:.1e}" if unit == "sci" else f"{scaled:.3g}" if abs(scaled) < 1000 else f"{scaled:,.0f}"
    return f"{number} {UNITS[unit]}".strip()


def _shortened(name: str, most: int = LEGEND_CHARACTERS) -> str:
    return name if len(name) <= most else f"{name[: most // 2]}…{name[-most // 2 + 1 :]}"
