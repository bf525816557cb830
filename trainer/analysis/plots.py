"""Plots of the page, in the style of a version's report: arrays to SVG whose colours come from the page."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from trainer.report.plots import (
    ALL_BARS,
    HALF,
    INK,
    MAIN,
    MOST_FREQUENT,
    MUTED,
    RAREST,
    TOOLTIPS,
    WIDE,
    draw_bars,
    draw_lengths,
    drawn,
    log_counts,
    shortened,
)

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]

LEGIBLE = 0.055  # minimum share for a coloured cell
LABELS_A_TEXT = 12  # bars; the last one is for this many labels or more


def label_counts(labels: Sequence[str], counts: Counts) -> str:
    """Plot the number of texts of each label: a bar for each, or for the most frequent and the rarest, and a curve of all."""
    order = np.argsort(-counts, kind="stable")
    few = len(labels) <= ALL_BARS
    shown = order if few else np.concatenate([order[:MOST_FREQUENT], order[-RAREST:]])
    places = np.arange(len(shown), dtype=float)
    if not few:
        places[MOST_FREQUENT:] += 1  # space for the line about the other labels

    def draw(figure: Figure) -> None:
        left, *right = figure.subplots(1, 1 if few else 2, squeeze=False, width_ratios=None if few else [1.25, 1])[0]
        draw_bars(left, places, counts[shown], [labels[at] for at in shown])
        left.set_xlabel("texts")
        if right:
            left_out = f"{len(labels) - len(shown):,} more labels"
            left.text(0, MOST_FREQUENT, left_out, color=MUTED, style="italic", va="center", transform=left.get_yaxis_transform())
            _rank_curve(right[0], counts[order])

    return drawn("label counts", (WIDE, 0.8 + 0.19 * (places[-1] + 1)), draw)


def labels_per_text(sizes: Counts) -> str:
    """Plot the number of texts with one label, two, and so on. sizes: labels of each text [texts]."""
    counts = np.bincount(np.minimum(sizes, LABELS_A_TEXT))[1:]
    names = [f"{number}{' and more' if number == LABELS_A_TEXT else ''}" for number in range(1, len(counts) + 1)]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        draw_bars(axes, np.arange(len(counts), dtype=float), counts, names)
        axes.set(xlabel="texts", ylabel="labels per text")

    return drawn("labels per text", (HALF, 3.0), draw)


def text_lengths(words: Counts, cut: float, limit: int) -> str:
    """Plot the number of words of the texts [texts]. cut: approximate number of words of `limit` tokens."""
    top = max(int(min(words.max(), np.quantile(words, 0.995))), 1)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        draw_lengths(axes, words, top=top, mark=cut, what=f"about {limit:,} tokens")
        axes.set(xlabel="words in a text", ylabel="share of the texts")

    return drawn("text lengths", (HALF, 3.0), draw)


def co_occurrence(labels: Sequence[str], shares: Floats) -> str:
    """Plot the share of the texts with the row's label that have the column's, as a heat map [labels, labels]."""
    size = len(labels)
    away = ~np.eye(size, dtype=np.bool_)
    seen = [(int(row), int(column)) for row, column in np.argwhere(away & (shares >= LEGIBLE))]
    tooltips = [f"{shares[row, column]:.0%} of the texts with {labels[row]} have {labels[column]} too" for row, column in seen]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        own = PatchCollection([_cell(at, at) for at in range(size)], facecolors=[_shade(MUTED, 0.25)], lw=0)
        axes.add_collection(own)
        cells = [_cell(row, column) for row, column in seen]
        colours = [_shade(MAIN, float(shares[row, column])) for row, column in seen]
        axes.add_collection(PatchCollection(cells, facecolors=colours, lw=0))
        _number_strongest(axes, shares, seen)
        # Cells of a collection may not become separate SVG elements. Invisible markers do, and carry the tooltips.
        axes.plot([at for _, at in seen], [at for at, _ in seen], "s", ms=13, alpha=0, gid="tooltips")
        names = [shortened(name) for name in labels]
        axes.set_yticks(range(size), labels=names, parse_math=False, fontsize=8, color=INK)
        axes.set_xticks(range(size), labels=names, parse_math=False, fontsize=8, color=INK, rotation=90)
        axes.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
        axes.set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5), aspect="equal")
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)

    side = min(WIDE, 2.6 + 0.3 * size)
    return drawn("labels that come together", (WIDE, side), draw, tooltips=tooltips)


def _number_strongest(axes: Axes, shares: Floats, seen: list[tuple[int, int]]) -> None:
    """Write the percentage into cells of 20 % or more."""
    for row, column in seen:
        if shares[row, column] >= 0.2:
            axes.text(column, row, f"{100 * shares[row, column]:.0f}", ha="center", va="center", fontsize=7, color=INK)


def _cell(row: int, column: int) -> Rectangle:
    return Rectangle((column - 0.47, row - 0.47), 0.94, 0.94)


def _shade(colour: str, strength: float) -> tuple[str, float]:
    return colour, round(0.08 + 0.77 * min(1.0, strength), 3)


def _rank_curve(axes: Axes, ranked: Counts) -> None:
    ranks = np.arange(1, len(ranked) + 1)
    axes.plot(ranks, ranked, ".", color=MAIN, ms=4, rasterized=len(ranks) > TOOLTIPS)
    log_counts(axes, axes.yaxis, ranked)
    axes.set(xlabel="labels, the most frequent first", ylabel="texts with the label")
