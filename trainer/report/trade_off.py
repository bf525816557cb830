"""Score against cost of the fitted models, as a plot and as a sentence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from model.manifest import Candidate
from trainer.report.plots import INK, MAIN, WIDE, drawn

HEIGHT = 2.9  # inches


@dataclass(frozen=True)
class TradeOffPoint:
    """Model with one of its costs."""

    name: str
    cost: float
    model: Candidate

    @property
    def score(self) -> float:
        """Validation micro-F1."""
        return self.model.validation_micro_f1


def score_against_cost(tried: Sequence[Candidate]) -> str:
    """Plot micro-F1 on validation against CPU-seconds of training and milliseconds per text, with a point for each model.

    tried: at least one model. A model with a cost of 0, which was not measured, has no point there. A panel without points is
    left out.
    """
    costs_of = {
        "CPU-seconds of training": [each.cpu_seconds for each in tried],
        "milliseconds per text": [each.milliseconds_per_text for each in tried],
    }
    panels = {
        label: [TradeOffPoint(name, cost, each) for name, cost, each in zip(_names(tried), costs, tried, strict=True) if cost > 0]
        for label, costs in costs_of.items()
        if any(costs)
    }

    def draw(figure: Figure) -> None:
        row = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axes, (label, points) in zip(row, panels.items(), strict=True):
            _draw(axes, points)
            axes.set_xlabel(label)
        row[0].set(ylabel="validation micro-F1", ylim=_with_margin([each.validation_micro_f1 for each in tried]))

    tooltips = [_tooltip(point) for points in panels.values() for point in points]
    return drawn("score against cost", (WIDE, HEIGHT), draw, tooltips=tooltips) if panels else ""


def reading(tried: Sequence[Candidate]) -> str:
    """Return sentences on how to read the plot, and on the costs of the best model compared with the fastest."""
    how = "Higher is better, further left costs less (logarithmic scales); a ring marks the published model."
    if len(tried) < 2:
        return f"Only one model was fitted, so there is no comparison. {how}"
    best = max(tried, key=lambda each: each.validation_micro_f1)
    fastest = min(tried, key=lambda each: each.milliseconds_per_text)
    if best is fastest:
        return f"{_the(best, tried).capitalize()} is the best and the fastest. {how}"
    gain = best.validation_micro_f1 - fastest.validation_micro_f1
    price = f"takes {_times(best.milliseconds_per_text, fastest.milliseconds_per_text)} per text"
    if best.cpu_seconds and fastest.cpu_seconds:
        price += f" and {_times(best.cpu_seconds, fastest.cpu_seconds, of='CPU-seconds')} to train"
    if best.gpu_seconds:
        price += f", and {best.gpu_seconds:,.0f} GPU-seconds"
    return f"{_the(best, tried).capitalize()} gains {gain:.3f} micro-F1 on {_the(fastest, tried)}; it {price}. {how}"


def _draw(axes: Axes, points: Sequence[TradeOffPoint]) -> None:
    """Draw the points with their names, on a logarithmic scale."""
    costs, scores = [each.cost for each in points], [each.score for each in points]
    low, high = min(costs) / 2.5, max(costs) * 2.5
    axes.set(xscale="log", xlim=(low, high))
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 300 * low else (1,), numticks=9))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda cost, _: f"{cost:,.6g}"))
    axes.plot(costs, scores, "o", color=MAIN, ms=6, mec="none", gid="tooltips")
    published = [each for each in points if each.model.chosen]
    axes.plot([each.cost for each in published], [each.score for each in published], "o", ms=12, mfc="none", mec=INK, mew=1.2)
    for each in points:
        # The best has its name above, the others below, so that close ones do not overlap. None is cut by the edge.
        above = each.score == max(scores)
        inwards = {min(costs): "left", max(costs): "right"}.get(each.cost, "center") if min(costs) < max(costs) else "center"
        axes.annotate(
            each.name,
            (each.cost, each.score),
            (0, 9 if above else -9),
            textcoords="offset points",
            ha=inwards,
            va="bottom" if above else "top",
            color=INK,
            fontsize=8.5,
        )


def _with_margin(scores: Sequence[float]) -> tuple[float, float]:
    margin = max(0.03, 0.35 * (max(scores) - min(scores)))
    return min(scores) - margin, max(scores) + margin


def _names(tried: Sequence[Candidate]) -> list[str]:
    """Return the architectures, with the precision if two models have the same architecture."""
    often = Counter(each.architecture for each in tried)
    return [
        f"{each.architecture} ({each.precision})" if often[each.architecture] > 1 else str(each.architecture) for each in tried
    ]


def _the(model: Candidate, tried: Sequence[Candidate]) -> str:
    return f"the {_names(tried)[list(tried).index(model)]} model"


def _times(cost: float, other: float, *, of: str = "time") -> str:
    ratio = cost / other if other else float("inf")
    return f"{ratio:,.0f} times the {of}" if ratio >= 10 else f"{ratio:.1f} times the {of}"


def _tooltip(point: TradeOffPoint) -> str:
    model = point.model
    cost = f"{model.cpu_seconds:,.0f} CPU-seconds" + (f", {model.gpu_seconds:,.0f} GPU-seconds" if model.gpu_seconds else "")
    return f"{point.name}: micro-F1 {model.validation_micro_f1:.3f}, {cost}, {model.milliseconds_per_text:.3g} ms per text"
