"""Report of a version: one self-contained HTML file, for the person who decides whether to serve it.

Figures are computed in `trainer.evaluation.error_analysis`, plotted in `plots` and laid out in `report.html.jinja`. The
same version and test part give the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from model.manifest import BaselineScores, Manifest, Task
from trainer.data.summary import NOTHING_READ, ReadingSummary
from trainer.evaluation.error_analysis import (
    Counts,
    Decisions,
    Floats,
    compare,
    confused_pairs,
    intervals,
    label_sums,
    precision_recall,
    reliability,
    thinned,
)
from trainer.report import plots, trade_off

TEMPLATE = "report.html.jinja"
ENOUGH_TEXTS = 10  # minimum for a label's own curve


@dataclass(frozen=True, eq=False)
class Part:
    """The test part, with at least one text, and the exported model's predictions for it.

    targets: 1 where a text has a label, uint8 [texts, labels].
    probabilities: of the model, float32 [texts, labels].
    predicted: true where a label is predicted [texts, labels].
    token_lengths: of each text [texts], by the model's tokenizer.
    """

    targets: csr_matrix
    probabilities: NDArray[np.float32]
    predicted: csr_matrix | NDArray[np.bool_]
    token_lengths: NDArray[np.integer]


@dataclass(frozen=True)
class Headline:
    """Score on the test part, with its meaning and half of its 95 % interval over resampled test texts."""

    name: str
    value: float
    interval: float
    baseline: float
    meaning: str


@dataclass(frozen=True)
class Plot:
    """Plot with one or two sentences on how to read it. Two plots that are not wide are placed side by side."""

    title: str
    svg: str
    reading: str
    wide: bool = True


@dataclass(frozen=True)
class LabelRow:
    """Row of a label in the table. A score is None if its denominator is 0."""

    name: str
    trained: int
    support: int
    predicted: int
    precision: float | None
    recall: float | None
    f1: float | None
    baseline_f1: float | None
    threshold: float


def write_report(
    to: Path,
    manifest: Manifest,
    test: Part,
    train_counts: Counts,
    notes: tuple[str, ...],
    *,
    comparison: str = "",
    reading: ReadingSummary = NOTHING_READ,
) -> float:
    """Write the report of a version to the file `to`, and return half of the 95 % interval of its micro-F1.

    train_counts: texts of the training part with each label [labels].
    notes: sentences on the data, such as on rows that were set aside.
    comparison: sentence on the comparison with the served version. reading: how the dataset was read.
    Raises ValueError if the part does not have the manifest's labels or has no text.
    """
    shape = (len(test.token_lengths), len(manifest.labels))
    if not shape[0] or {test.targets.shape, test.probabilities.shape, test.predicted.shape} != {shape}:
        raise ValueError(f"the test part's arrays do not all have the shape [texts, labels] {shape}, with at least one text")
    decisions = compare(test.targets, test.predicted)
    headlines = _headlines(manifest, decisions)
    page = _environment().get_template(TEMPLATE)
    html = page.render(
        manifest=manifest,
        verdict=_verdict(manifest, headlines[0]),
        headlines=headlines,
        rival=_rival(manifest),
        notes=notes,
        reading=reading.facts,
        comparison=comparison,
        plots=list(_plots(manifest, test, decisions, train_counts)),
        trade_off=_trade_off_plot(manifest),
        rows=_label_rows(manifest, decisions, train_counts),
    )
    to.write_text(html, encoding="utf-8")
    return headlines[0].interval


def _headlines(manifest: Manifest, decisions: Decisions) -> list[Headline]:
    scores, baseline = manifest.scores.test, manifest.scores.baseline.test
    micro, macro, subset = intervals(decisions, seed=manifest.training.seed)
    single = manifest.task is Task.SINGLE_LABEL
    meaning = (
        "The share of texts with the correct label."
        if single
        else "F1 over all decisions together, so that frequent labels count most."
    )
    headlines = [
        Headline("micro-F1", scores.micro_f1, micro, baseline.micro_f1, meaning),
        Headline(
            "macro-F1",
            scores.macro_f1,
            macro,
            baseline.macro_f1,
            "The mean of the labels' F1 scores: a rare label counts as much as a frequent one.",
        ),
    ]
    if not single:
        meaning = "The share of texts whose labels are all correct: none is missing or wrong."
        if not manifest.label_required:
            meaning += " A text without a label is correct if none is predicted."
        headlines.append(Headline("subset accuracy", scores.subset_accuracy, subset, baseline.subset_accuracy, meaning))
    return headlines


def _rival(manifest: Manifest) -> BaselineScores | None:
    """Return the baseline, unless it is the published model."""
    baseline = manifest.scores.baseline
    same = manifest.training.architecture is baseline.architecture and manifest.scores.test == baseline.test
    return None if same else baseline


def _verdict(manifest: Manifest, micro: Headline) -> str:
    rival, gain = _rival(manifest), micro.value - micro.baseline
    if rival is None:
        return f"This is the baseline itself ({manifest.training.architecture}), so there is no comparison."
    if abs(gain) <= micro.interval:
        return f"About as good as the baseline ({rival.architecture}): the difference in micro-F1 is within the 95 % interval."
    comparison = "Better" if gain > 0 else "Worse"
    return f"{comparison} than the baseline ({rival.architecture}) by {abs(gain):.3f} micro-F1, more than the 95 % interval."


def _label_rows(manifest: Manifest, decisions: Decisions, train_counts: Counts) -> list[LabelRow]:
    """Return a row for each label, the most frequent first."""
    scores, rival = manifest.scores.test.per_label, _rival(manifest)
    predicted = label_sums(decisions.right) + label_sums(decisions.wrong)
    rows = []
    for at, name in enumerate(manifest.labels):
        own, occurs = scores[name], scores[name].support > 0
        row = LabelRow(
            name=name,
            trained=int(train_counts[at]),
            support=own.support,
            predicted=int(predicted[at]),
            precision=own.precision if predicted[at] else None,
            recall=own.recall if occurs else None,
            f1=own.f1 if occurs else None,
            baseline_f1=rival.test.per_label[name].f1 if rival and occurs else None,
            threshold=manifest.thresholds[at],
        )
        rows.append(row)
    return sorted(rows, key=lambda row: (-row.support, -row.trained, row.name))


def _plots(manifest: Manifest, test: Part, decisions: Decisions, train_counts: Counts) -> Iterator[Plot]:
    support = label_sums(decisions.right) + label_sums(decisions.missed)
    yield _frequencies_plot(manifest, train_counts, support)
    if support.any():
        yield _f1_plot(manifest, support)
        yield _precision_recall_plot(manifest, test, decisions, support)
    yield _calibration_plot(manifest, test)
    yield _pairs_plot(manifest, decisions, support)
    yield _token_lengths_plot(manifest, test)


def _frequencies_plot(manifest: Manifest, train_counts: Counts, support: Counts) -> Plot:
    reading = (
        f"Number of training texts with each label, from {train_counts.min():,} to {train_counts.max():,}. "
        "Rare labels are hard to learn."
    )
    if len(manifest.labels) > plots.ALL_BARS:
        reading += (
            f" The bars show the {plots.MOST_FREQUENT} most frequent labels and the {plots.RAREST} rarest, the curve all labels."
        )
    return Plot("Label frequencies", plots.label_frequencies(manifest.labels, train_counts, support), reading)


def _f1_plot(manifest: Manifest, support: Counts) -> Plot:
    occurring = np.flatnonzero(support)
    names = [manifest.labels[at] for at in occurring]
    rival = _rival(manifest)
    f1 = np.array([manifest.scores.test.per_label[name].f1 for name in names])
    baseline = np.array([rival.test.per_label[name].f1 for name in names]) if rival else None
    reading = (
        "Each point is a label: further right, more test texts have it; higher, it is predicted better. Low points on the right "
        "matter most. On the left, scores are of few texts and vary by chance."
    )
    if rival:
        reading += " The line starts at the baseline's F1: blue for a gain, orange for a loss."
    return Plot("F1 of each label", plots.f1_by_support(names, support[occurring], f1, baseline), reading)


def _precision_recall_plot(manifest: Manifest, test: Part, decisions: Decisions, support: Counts) -> Plot:
    truth = test.targets.toarray().astype(np.bool_)
    frequent = np.flatnonzero(support >= min(ENOUGH_TEXTS, support.max()))
    by_label = [precision_recall(test.probabilities[:, at], truth[:, at]) for at in frequent]
    order = np.argsort([-precision.mean() for _, precision in by_label], kind="stable")
    named = {"best": order[0], "middle": order[len(order) // 2], "lowest": order[-1]}
    curves = [_curve("all labels", "", *precision_recall(test.probabilities.ravel(), truth.ravel()))]
    curves += [_curve(rank, f": {plots.shortened(manifest.labels[frequent[at]])}", *by_label[at]) for rank, at in named.items()]
    right, missed, wrong = (int(each.sum()) for each in (decisions.right, decisions.missed, decisions.wrong))
    served = (right / max(1, right + missed), right / max(1, right + wrong))
    reading = (
        "Higher thresholds raise precision (the share of predicted labels that are correct) and lower recall (the share of true "
        "labels that are predicted). The dot is this version; numbers are average precision, the area under a curve."
    )
    return Plot("Precision and recall", plots.precision_recall(curves, served), reading, wide=False)


def _curve(rank: str, label: str, recall: Floats, precision: Floats) -> plots.Curve:
    return plots.Curve(f"{rank} ({precision.mean():.2f}){label}", *thinned(recall, precision))


def _calibration_plot(manifest: Manifest, test: Part) -> Plot:
    truth = test.targets.toarray().astype(np.bool_)
    if manifest.task is Task.SINGLE_LABEL:
        first = test.probabilities.argmax(axis=1)[:, None]
        probabilities, right = np.take_along_axis(test.probabilities, first, 1), np.take_along_axis(truth, first, 1)
        what = "the most probable label of each text"
    else:
        probabilities, right, what = test.probabilities, truth, "all labels of all texts, predicted or not"
    mean, share, counts, error = reliability(probabilities.ravel(), right.ravel())
    reading = (
        "On the dashed line, a probability of 0.8 is right in eight of ten cases. Above the line, probabilities are too low; "
        f"below, they are too high. Over {what}; the expected calibration error is {error:.3f}."
    )
    return Plot("Calibration", plots.calibration(mean, share, counts), reading, wide=False)


def _pairs_plot(manifest: Manifest, decisions: Decisions, support: Counts) -> Plot:
    pairs = confused_pairs(decisions)
    names = [f"{plots.shortened(manifest.labels[true])} → {plots.shortened(manifest.labels[wrong])}" for true, wrong, _ in pairs]
    reading = "A → B: texts for which A is missing and B is wrongly predicted."
    if not pairs:
        return Plot("Labels most confused", "", f"{reading} There is no such text in the test part.")
    true, _, texts = pairs[0]
    reading += (
        f" The first pair is {100 * texts / support[true]:.3g} % of the texts of {manifest.labels[true]}. "
        "A pair that is frequent in both directions may be one label under two names."
    )
    return Plot("Labels most confused", plots.confused_pairs(names, np.array([count for *_, count in pairs])), reading)


def _token_lengths_plot(manifest: Manifest, test: Part) -> Plot:
    lengths = np.asarray(test.token_lengths, dtype=np.int64)
    reached = np.mean(lengths >= manifest.max_length)
    reading = (
        f"Half of the texts have at most {np.median(lengths):,.0f} tokens. {100 * reached:.3g} % reach the limit of "
        f"{manifest.max_length:,}, at which texts are cut; if that is many, a higher limit may help."
    )
    return Plot("Token lengths", plots.token_lengths(lengths, manifest.max_length), reading)


def _trade_off_plot(manifest: Manifest) -> Plot | None:
    tried = manifest.training.candidates
    return Plot("Score against cost", trade_off.score_against_cost(tried), trade_off.reading(tried)) if tried else None


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(signed=_signed, duration=_duration, size=_size, csp_hash=_csp_hash)
    return environment


def _csp_hash(script: str) -> str:
    """Return the source expression by which a Content-Security-Policy allows this script."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "\N{MINUS SIGN}")


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _size(count: float) -> str:
    for unit in ("bytes", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.3g} {unit}" if unit != "bytes" else f"{count} bytes"
        count /= 1024
    return f"{count:.3g} GiB"
