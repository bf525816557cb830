"""Plots of the report: arrays to SVG whose colours come from the page. Knows no manifest and no file.

Text stays text, set in the reader's fonts, so that labels of any script show, can be searched and read aloud.
Same arrays, same bytes.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import matplotlib
import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

INK, MUTED, GRID = "#1b2733", "#5c6b7a", "#dde4eb"
MAIN, PALE, CONTRAST = "#2166c4", "#a9c6ee", "#c75b12"
# The page defines these, for light screens and for dark ones.
THEME = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--grid)",
    MAIN: "var(--main)",
    PALE: "var(--pale)",
    CONTRAST: "var(--contrast)",
}
SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": GRID,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "legend.frameon": False,
}
WIDE, HALF = 10.2, 4.95  # inches
ALL_BARS, MOST_FREQUENT, RAREST = 32, 20, 10
NAME_LENGTH = 34  # characters of a label beside a bar
TOOLTIPS = 1000  # with more points than this, they become one image


@dataclass(frozen=True)
class Curve:
    """Precision-recall curve with a name; recall and precision are [points]."""

    name: str
    recall: Floats
    precision: Floats


def label_frequencies(labels: Sequence[str], train: Counts, test: Counts) -> str:
    """Plot the number of texts of each label: a bar for each, or for the most frequent and the rarest, and a curve of all."""
    order = np.argsort(-train, kind="stable")
    few = len(labels) <= ALL_BARS
    shown = order if few else np.concatenate([order[:MOST_FREQUENT], order[-RAREST:]])
    places = np.arange(len(shown), dtype=float)
    if not few:
        places[MOST_FREQUENT:] += 1  # space for the line about the other labels

    def draw(figure: Figure) -> None:
        bars, *curve = figure.subplots(1, 1 if few else 2, squeeze=False, width_ratios=None if few else [1.25, 1])[0]
        draw_bars(bars, places, train[shown], [labels[at] for at in shown])
        bars.set_xlabel("texts in the training part")
        if curve:
            left_out = f"{len(labels) - len(shown):,} more labels"
            bars.text(0, MOST_FREQUENT, left_out, color=MUTED, style="italic", va="center", transform=bars.get_yaxis_transform())
            _rank_curve(curve[0], train, test)

    return drawn("label frequencies", (WIDE, 0.8 + 0.19 * (places[-1] + 1)), draw)


def f1_by_support(labels: Sequence[str], support: Counts, f1: Floats, baseline: Floats | None) -> str:
    """Plot the F1 of each label by its support, with a line from the baseline's F1, if there is a baseline."""
    many = len(labels) > TOOLTIPS

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        if baseline is not None:
            for better, colour in ((True, PALE), (False, CONTRAST)):
                these = (f1 >= baseline) == better
                axes.vlines(support[these], baseline[these], f1[these], colors=colour, lw=1.6, rasterized=many)
        axes.plot(support, f1, "o", color=MAIN, ms=5, mec="none", gid="tooltips", rasterized=many)
        _name_lowest(axes, labels, support, f1)
        log_counts(axes, axes.xaxis, support)
        axes.set(xlabel="texts in the test part that carry the label", ylabel="F1", ylim=(-0.04, 1.04))

    tooltips = [f"{name}: F1 {score:.3f}, {texts:,} texts" for name, score, texts in zip(labels, f1, support, strict=True)]
    return drawn("F1 by support", (WIDE, 4.2), draw, tooltips=[] if many else tooltips)


def precision_recall(curves: Sequence[Curve], at: tuple[float, float]) -> str:
    """Plot precision against recall, with the first curve emphasised, and the served point (recall, precision)."""
    colours = (MAIN, CONTRAST, MUTED, PALE)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for level in (0.2, 0.4, 0.6, 0.8):
            recall = np.linspace(level / (2 - level), 1, 60)
            axes.plot(recall, level * recall / (2 * recall - level), color=GRID, lw=0.9)
            axes.text(1.01, level / (2 - level), f"F1 {level}", color=MUTED, fontsize=7, va="center")
        for number, (curve, colour) in enumerate(zip(curves, colours, strict=False)):
            width = 1.2 if number else 2.2
            recall, precision = np.append(0, curve.recall), np.append(curve.precision[:1], curve.precision)
            axes.plot(recall, precision, color=colour, lw=width, label=_printable(curve.name), zorder=3 - number / 9)
        axes.plot(*at, "o", color=INK, ms=6, label="as served", zorder=4, clip_on=False)
        axes.grid(visible=False)
        axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
        legend = figure.legend(loc="outside lower center", ncols=1, fontsize=8, handlelength=1.4)
        for text in legend.get_texts():
            text.set_parse_math(False)

    return drawn("precision and recall", (HALF, 4.9), draw)


def confused_pairs(pairs: Sequence[str], counts: Counts) -> str:
    """Plot a bar for each pair of labels, in the given order."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        draw_bars(axes, np.arange(len(pairs), dtype=float), counts, pairs, colour=CONTRAST, longest=2 * NAME_LENGTH)
        axes.set_xlabel("texts in the test part")

    return drawn("confused pairs", (WIDE, 0.8 + 0.2 * len(pairs)), draw)


def calibration(predicted: Floats, observed: Floats, counts: Counts) -> str:
    """Plot observed shares against mean predicted probabilities, both [bins], above the number of decisions per bin."""
    filled = counts > 0
    edges = np.linspace(0, 1, len(counts) + 1)

    def draw(figure: Figure) -> None:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3.4, 1])
        upper.plot([0, 1], [0, 1], color=MUTED, lw=1, ls=(0, (4, 3)), label="perfectly calibrated")
        upper.plot(predicted[filled], observed[filled], "o-", color=MAIN, ms=5, lw=1.6, label="this classifier")
        upper.set(ylabel="share that was right", xlim=(0, 1), ylim=(-0.02, 1.02))
        upper.legend(loc="upper left", fontsize=8)
        lower.bar(edges[:-1], np.where(filled, counts, np.nan), width=np.diff(edges) * 0.94, align="edge", color=PALE)
        log_counts(lower, lower.yaxis, counts[filled], decades=True)
        lower.set(xlabel="probability given", ylabel="decisions")

    return drawn("calibration", (HALF, 4.9), draw)


def token_lengths(lengths: Counts, limit: int) -> str:
    """Plot the texts' numbers of tokens [texts]. The longest few are in the last bar, and a line marks the limit."""
    top = max(int(min(lengths.max(), max(limit, np.quantile(lengths, 0.995)))), 1)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        draw_lengths(axes, lengths, top=top, mark=limit, what=f"limit: {limit:,}")
        axes.set(xlabel="tokens in a text", ylabel="share of the test texts")

    return drawn("token lengths", (WIDE, 2.9), draw)


def draw_lengths(axes: Axes, lengths: Counts, *, top: int, mark: float, what: str) -> None:
    """Draw the shares of texts by length [texts], longer ones than `top` in the last bar, and a line at `mark` named `what`."""
    edges = np.arange(0, top + 1 + (step := -(-top // 60)), step)  # whole numbers, so that each bar has its share of them
    shares = np.histogram(np.minimum(lengths, top), edges)[0] / len(lengths)
    axes.stairs(shares, edges, fill=True, color=PALE)
    axes.stairs(shares, edges, color=MAIN, lw=1.2)
    if mark <= top:
        axes.axvline(mark, color=CONTRAST, lw=1.4, ls=(0, (4, 3)))
        axes.text(mark, 1.0, what, color=CONTRAST, ha="right", va="bottom", transform=axes.get_xaxis_transform())
    axes.set(xlim=(0, edges[-1] * 1.01), ylim=(0, None))
    axes.xaxis.set_major_formatter(FuncFormatter(thousands))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.3g} %"))


def draw_bars(
    axes: Axes, places: Floats, counts: Counts, names: Sequence[str], *, colour: str = MAIN, longest: int = NAME_LENGTH
) -> None:
    """Draw horizontal bars at `places` [bars], each with its count and its name, cut at `longest` characters."""
    axes.barh(places, counts, height=0.72, color=colour)
    for place, count in zip(places, counts, strict=True):
        axes.annotate(f"{count:,}", (count, place), (3, 0), textcoords="offset points", va="center", color=MUTED, fontsize=8)
    short = [shortened(name, longest) for name in names]
    axes.set_yticks(places, labels=short, parse_math=False, fontsize=8.5, color=INK)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.set(ylim=(places[-1] + 0.7, -0.7), xlim=(0, 1.1 * max(1, counts.max())))  # room for the longest bar's number
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(thousands))


def _rank_curve(axes: Axes, train: Counts, test: Counts) -> None:
    order = np.argsort(-train, kind="stable")
    ranks = np.arange(1, len(train) + 1)
    for counts, colour, name in ((train[order], MAIN, "training part"), (test[order], CONTRAST, "test part")):
        axes.plot(
            ranks, np.where(counts > 0, counts, np.nan), ".", color=colour, ms=4, label=name, rasterized=len(ranks) > TOOLTIPS
        )
    log_counts(axes, axes.yaxis, np.concatenate([train, test]))
    axes.set(xlabel="labels, the most frequent first", ylabel="texts that carry the label")
    axes.legend(loc="upper right", fontsize=8, markerscale=2)


def _name_lowest(axes: Axes, labels: Sequence[str], support: Counts, f1: Floats, *, most: int = 6) -> None:
    """Draw the names of the labels with low F1 over many texts, unless names would overlap."""
    named: list[tuple[float, float]] = []
    cost = (1 - f1) * np.log1p(support) * (f1 <= np.quantile(f1, 0.8))
    for at in np.argsort(-cost, kind="stable"):
        if len(named) == most or not cost[at]:
            return
        place = (float(np.log10(support[at])), float(f1[at]))
        if all(abs(place[1] - y) > 0.055 or abs(place[0] - x) > 0.8 for x, y in named):
            named.append(place)
            axes.annotate(
                shortened(labels[at]),
                (float(support[at]), float(f1[at])),
                (6, -3),
                textcoords="offset points",
                color=INK,
                fontsize=8,
                parse_math=False,
            )


def log_counts(axes: Axes, axis: Axis, counts: Counts, *, decades: bool = False) -> None:
    """Set a logarithmic scale for `counts`, with plain numbers at its ticks. Zeros are left out."""
    seen = counts[counts > 0]
    low, high = (int(seen.min()), int(seen.max())) if len(seen) else (1, 10)
    if axis is axes.xaxis:
        axes.set(xscale="log", xlim=(low / 1.3, high * 1.6))
    else:
        axes.set(yscale="log", ylim=(low / 1.5, high * 1.5))
    subs = (1, 2, 3, 4, 5, 6, 8) if high < 10 * low else (1, 2, 5)
    axis.set_major_locator(LogLocator(subs=(1,) if decades else subs, numticks=7 if decades else 14))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda count, _: thousands(count) if count >= 1 else ""))


def drawn(name: str, size: tuple[float, float], draw: Callable[[Figure], None], *, tooltips: Sequence[str] = ()) -> str:
    """Return a figure of this size (inches), drawn by `draw`, as an `<svg>` element. name: makes its ids unique on the page."""
    buffer = io.StringIO()
    style: list[Any] = ["default", {**STYLE, "svg.hashsalt": name}]  # the machine's matplotlibrc is ignored
    with matplotlib.style.context(style), warnings.catch_warnings():
        # Matplotlib warns of letters that its own font lacks; the browser's fonts have them.
        warnings.simplefilter("ignore", UserWarning)
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        figure.savefig(buffer, format="svg", transparent=True, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    return _inlined(buffer.getvalue(), name, tooltips)


def _inlined(svg: str, name: str, tooltips: Sequence[str]) -> str:
    """Return the element with size and colours from the page, without ids that are the same in every plot."""
    root = ElementTree.fromstring(svg)  # noqa: S314 - our own drawing, not received
    for point, text in zip(root.findall(".//*[@id='tooltips']//{*}use"), tooltips, strict=True):
        ElementTree.SubElement(point, f"{{{SVG}}}title").text = text
    used = set(re.findall(r'(?:href="|url\()#([\w.-]+)', svg))
    for element in root.iter():
        if element.get("id") not in used:
            element.attrib.pop("id", None)
        if style := element.get("style"):
            element.set("style", re.sub("#[0-9a-f]{6}", lambda colour: THEME.get(colour[0], colour[0]), style))
    root.attrib.update(role="img", **{"aria-label": name})
    del root.attrib["width"], root.attrib["height"]
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", XLINK)
    return ElementTree.tostring(root, encoding="unicode")


def shortened(name: str, longest: int = NAME_LENGTH) -> str:
    """Return at most `longest` characters, with the middle left out, so that names that differ at their end stay different."""
    name = _printable(name)
    half = (longest - 1) // 2
    return name if len(name) <= longest else f"{name[:half].rstrip()}…{name[-half:].lstrip()}"


def _printable(name: str) -> str:
    return "".join(each if each.isprintable() else " " for each in name)


def thousands(value: float, _: object = None) -> str:
    """Return a tick's label; matplotlib's formatters have this signature."""
    return f"{value:,.0f}"
