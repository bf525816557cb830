"""The report of a version: one HTML file that stands alone, for the person who decides whether to serve it.

What the test part shows is computed in `trainer.evaluation.error_analysis`, drawn in `plots` and laid out in
`report.html.jinja`. Same version, same test part, same bytes.
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
ENOUGH_TEXTS = 10  # a label with fewer has a curve that is mostly chance


@dataclass(frozen=True, eq=False)
class Part:
    """The test part and what the exported model makes of it; at least one text.

    targets: 1 where a text carries a label, uint8 [texts, labels].
    probabilities: the model's, float32 [texts, labels].
    predicted: true where a label is given, [texts, labels].
    token_lengths: of each text [texts], counted as the model counts.
    """

    targets: csr_matrix
    probabilities: NDArray[np.float32]
    predicted: csr_matrix | NDArray[np.bool_]
    token_lengths: NDArray[np.integer]


@dataclass(frozen=True)
class Headline:
    """A score on the test part, what it means, and half of its 95 % interval over resampled test texts."""

    name: str
    value: float
    interval: float
    baseline: float
    meaning: str


@dataclass(frozen=True)
class Plot:
    """A plot and one or two sentences on how to read it; two that are not wide stand side by side."""

    title: str
    svg: str
    reading: str
    wide: bool = True


@dataclass(frozen=True)
class LabelRow:
    """A label in the table; scores are absent where there was nothing to divide by."""

    name: str
    trained: int
    support: int
    given: int
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
    """Write the report of a version to the file `to`; return half of the 95 % interval of its micro-F1.

    train_counts: texts of the training part that carry each label [labels].
    notes: what a reader must know of the data, such as rows that were set aside; a sentence each.
    comparison: with the version that was served meanwhile, in a sentence. reading: how the dataset was read.
    Raises ValueError where the part does not have the manifest's labels or has no text.
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
        "The share of texts that get the right label."
        if single
        else "How well the labels given agree with those due, all decisions together, so that frequent labels count most."
    )
    headlines = [
        Headline("micro-F1", scores.micro_f1, micro, baseline.micro_f1, meaning),
        Headline(
            "macro-F1",
            scores.macro_f1,
            macro,
            baseline.macro_f1,
            "The mean of the labels' own F1: a rare label counts as much as a frequent one.",
        ),
    ]
    if not single:
        meaning = "The share of texts whose labels are all right: none missing, none too many."
        if not manifest.label_required:
            meaning += " A text that carries none is right if it is given none."
        headlines.append(Headline("subset accuracy", scores.subset_accuracy, subset, baseline.subset_accuracy, meaning))
    return headlines


def _rival(manifest: Manifest) -> BaselineScores | None:
    """The baseline, unless it is what was published."""
    baseline = manifest.scores.baseline
    same = manifest.training.architecture is baseline.architecture and manifest.scores.test == baseline.test
    return None if same else baseline


def _verdict(manifest: Manifest, micro: Headline) -> str:
    rival, gain = _rival(manifest), micro.value - micro.baseline
    if rival is None:
        return f"This is the baseline itself ({manifest.training.architecture}), so there is no difference to show."
    if abs(gain) <= micro.interval:
        return (
            f"About as good as the baseline ({rival.architecture}): the difference in micro-F1 is within what chance may bring."
        )
    comparison = "Better" if gain > 0 else "Worse"
    return f"{comparison} than the baseline ({rival.architecture}) by {abs(gain):.3f} micro-F1, more than chance may bring."


def _label_rows(manifest: Manifest, decisions: Decisions, train_counts: Counts) -> list[LabelRow]:
    """The most frequent label first."""
    scores, rival = manifest.scores.test.per_label, _rival(manifest)
    given = label_sums(decisions.right) + label_sums(decisions.wrong)
    rows = []
    for at, name in enumerate(manifest.labels):
        own, due = scores[name], scores[name].support > 0
        row = LabelRow(
            name=name,
            trained=int(train_counts[at]),
            support=own.support,
            given=int(given[at]),
            precision=own.precision if given[at] else None,
            recall=own.recall if due else None,
            f1=own.f1 if due else None,
            baseline_f1=rival.test.per_label[name].f1 if rival and due else None,
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
        f"How many training texts carry each label: the most frequent {train_counts.max():,}, the rarest {train_counts.min():,}. "
        "What is rarely seen is poorly learnt."
    )
    if len(manifest.labels) > plots.ALL_BARS:
        reading += (
            f" Bars show the {plots.MOST_FREQUENT} most frequent labels and the {plots.RAREST} rarest, the curve all of them."
        )
    return Plot("Label frequencies", plots.label_frequencies(manifest.labels, train_counts, support), reading)


def _f1_plot(manifest: Manifest, support: Counts) -> Plot:
    occurring = np.flatnonzero(support)
    names = [manifest.labels[at] for at in occurring]
    rival = _rival(manifest)
    f1 = np.array([manifest.scores.test.per_label[name].f1 for name in names])
    baseline = np.array([rival.test.per_label[name].f1 for name in names]) if rival else None
    reading = (
        "A point is a label: the further right, the more test texts carry it; the higher, the better it is predicted. "
        "Low on the right costs most; on the left, few texts make a score, and chance moves it."
    )
    if rival:
        reading += " A line leads from the baseline's F1: blue where the label gained, orange where it lost."
    return Plot("F1 of each label", plots.f1_by_support(names, support[occurring], f1, baseline), reading)


def _precision_recall_plot(manifest: Manifest, test: Part, decisions: Decisions, support: Counts) -> Plot:
    due = test.targets.toarray().astype(np.bool_)
    worth = np.flatnonzero(support >= min(ENOUGH_TEXTS, support.max()))
    by_label = [precision_recall(test.probabilities[:, at], due[:, at]) for at in worth]
    order = np.argsort([-precision.mean() for _, precision in by_label], kind="stable")
    named = {"best": order[0], "middle": order[len(order) // 2], "lowest": order[-1]}
    curves = [_curve("all labels", "", *precision_recall(test.probabilities.ravel(), due.ravel()))]
    curves += [_curve(rank, f": {plots.shortened(manifest.labels[worth[at]])}", *by_label[at]) for rank, at in named.items()]
    right, missed, wrong = (int(each.sum()) for each in (decisions.right, decisions.missed, decisions.wrong))
    served = (right / max(1, right + missed), right / max(1, right + wrong))
    reading = (
        "Asking for more certainty raises precision (labels given that are right) and costs recall (labels due that are given). "
        "The dot is where this version stands; numbers are average precision, the area under a curve."
    )
    return Plot("Precision and recall", plots.precision_recall(curves, served), reading, wide=False)


def _curve(rank: str, label: str, recall: Floats, precision: Floats) -> plots.Curve:
    return plots.Curve(f"{rank} ({precision.mean():.2f}){label}", *thinned(recall, precision))


def _calibration_plot(manifest: Manifest, test: Part) -> Plot:
    due = test.targets.toarray().astype(np.bool_)
    if manifest.task is Task.SINGLE_LABEL:
        first = test.probabilities.argmax(axis=1)[:, None]
        probabilities, right = np.take_along_axis(test.probabilities, first, 1), np.take_along_axis(due, first, 1)
        what = "the most probable label of each text"
    else:
        probabilities, right, what = test.probabilities, due, "every label of every text, given or not"
    mean, share, counts, error = reliability(probabilities.ravel(), right.ravel())
    reading = (
        "Of the labels with a probability of 0.8, eight in ten should be right: on the dashed line. Above it the model is too "
        f"modest, below too sure. Over {what}; the expected calibration error is {error:.3f}."
    )
    return Plot("Calibration", plots.calibration(mean, share, counts), reading, wide=False)


def _pairs_plot(manifest: Manifest, decisions: Decisions, support: Counts) -> Plot:
    found = confused_pairs(decisions)
    names = [f"{plots.shortened(manifest.labels[due])} → {plots.shortened(manifest.labels[given])}" for due, given, _ in found]
    reading = "A → B counts the texts that should have got A, did not, and got B, which they should not have."
    if not found:
        return Plot("Labels most confused", "", f"{reading} There is no such text in the test part.")
    due, _, texts = found[0]
    reading += (
        f" The first pair is {100 * texts / support[due]:.3g} % of the texts of {manifest.labels[due]}. "
        "A pair that stands out in both directions may be one label under two names."
    )
    return Plot("Labels most confused", plots.confused_pairs(names, np.array([count for *_, count in found])), reading)


def _token_lengths_plot(manifest: Manifest, test: Part) -> Plot:
    lengths = np.asarray(test.token_lengths, dtype=np.int64)
    reached = np.mean(lengths >= manifest.max_length)
    reading = (
        f"Half of the texts have at most {np.median(lengths):,.0f} tokens. {100 * reached:.3g} % reach the limit of "
        f"{manifest.max_length:,}, after which the model reads nothing; if that is many, a higher limit may help."
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
    """The source by which a Content-Security-Policy allows this script, as a browser computes it."""
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
