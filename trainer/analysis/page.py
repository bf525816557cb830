"""Page that shows the findings: one self-contained HTML file, for the person who prepares the data.

The same findings give the same bytes: the page does not contain the time or the machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from model.manifest import Task
from trainer.analysis import plots
from trainer.analysis.co_occurrence import ENOUGH
from trainer.analysis.disagreements import Disagreement, DisagreementKind
from trainer.analysis.duplicates import Conflict
from trainer.analysis.excerpts import excerpt, excerpts
from trainer.analysis.findings import FEWEST_WORDS, Findings
from trainer.analysis.held_out import ENOUGH_TEXTS, FOLDS
from trainer.analysis.suggestions import Suggestion, as_yaml, percent
from trainer.balance.imbalance import label_ratios, measure
from trainer.config.settings import Config

TEMPLATE = "page.html.jinja"
ENDS, ALL_LABELS = 12, 500  # labels shown at either end; maximum number of labels for which all are shown
PAIRS, CONFLICTS, NEAR_EMPTY, NAMES = 20, 20, 20, 40
NAME_LENGTH = 120
PERCENTILES = (1, 5, 25, 50, 75, 95, 99, 100)


@dataclass(frozen=True)
class Row:
    """Row of the dataset as it is shown. number: from 0, through all files in order."""

    number: int
    text: str
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Doubt:
    """Row with the labels that the models doubt and those that they suggest, each with its probability."""

    row: Row
    doubted: dict[str, float]
    suggested: dict[str, float]


@dataclass(frozen=True)
class LabelLine:
    """Label with its number of texts, and the ratio of the most frequent label's number to it."""

    name: str
    count: int
    ratio: float


def render(found: Findings, suggestions: tuple[Suggestion, ...], config: Config) -> str:
    """Return the page as HTML. config: of the analysis, for the limits that the page names."""
    view = _View(found)
    counts = found.examples.label_counts()
    sizes = found.examples.targets.getnnz(axis=1)
    page = _environment().get_template(TEMPLATE)
    return page.render(
        found=found,
        config=config,
        suggestions=suggestions,
        yaml=as_yaml(suggestions, config),
        single=found.examples.task is Task.SINGLE_LABEL,
        labels=view.names,
        imbalance=measure(found.examples.targets),
        mean_labels=float(sizes.mean()),
        most_labels=int(sizes.max()),
        without_label=int((sizes == 0).sum()),
        lines=_lines(view.names, counts),
        ends=ENDS,
        all_labels=ALL_LABELS,
        plots=_plots(found, view.names, config),
        lengths=_length_table(found),
        cut=float((found.lengths.tokens() > config.training.max_length).mean()),
        view=view,
        kinds=list(DisagreementKind),
        fewest_words=FEWEST_WORDS,
        limits={"pairs": PAIRS, "conflicts": CONFLICTS, "near_empty": NEAR_EMPTY, "names": NAMES},
        folds=FOLDS,
        enough_texts=ENOUGH_TEXTS,
        enough_together=ENOUGH,
    )


class _View:
    """Rows and labels by position, as they are shown."""

    def __init__(self, found: Findings) -> None:
        self._found = found
        self.names = tuple(excerpt(name, NAME_LENGTH) for name in found.examples.labels)
        self._texts = excerpts(found.examples, _positions(found))

    def row(self, position: int) -> Row:
        """Return the row at this position, with the beginning of its text and its labels."""
        targets = self._found.examples.targets
        own = np.sort(targets.indices[targets.indptr[position] : targets.indptr[position + 1]])
        number = int(self._found.examples.rows[position])
        return Row(number, self._texts[position], tuple(self.names[at] for at in own))

    def doubt(self, disagreement: Disagreement) -> Doubt:
        """Return the row of a disagreement, with the doubted and suggested labels."""
        return Doubt(
            self.row(disagreement.position),
            {self.names[at]: chance for at, chance in disagreement.doubted},
            {self.names[at]: chance for at, chance in disagreement.suggested},
        )

    def rows(self, conflict: Conflict) -> list[Row]:
        """Return the rows of a conflict that are shown."""
        return [self.row(position) for position in conflict.members]


def _positions(found: Findings) -> Iterator[int]:
    """Yield the positions of all rows that the page shows."""
    yield from (group.members[0] for group in found.duplicates.largest)
    for conflict in found.duplicates.conflicts[:CONFLICTS]:
        yield from conflict.members
    yield from map(int, found.near_empty[:NEAR_EMPTY])
    if found.judged:
        yield from (each.position for kind in DisagreementKind for each in found.judged.found.worst[kind])


def _lines(names: tuple[str, ...], counts: plots.Counts) -> list[LabelLine]:
    """Return all labels, the most frequent first."""
    ratios = label_ratios(counts)
    order = np.argsort(-counts, kind="stable")
    return [LabelLine(names[at], int(counts[at]), float(ratios[at])) for at in order]


def _plots(found: Findings, names: tuple[str, ...], config: Config) -> dict[str, str]:
    """Return the plots, by name."""
    examples, together = found.examples, found.co_occurrence
    words, tokens = found.lengths.words, found.lengths.tokens()
    limit = config.training.max_length
    drawings = {
        "counts": plots.label_counts(names, examples.label_counts()),
        "sizes": plots.labels_per_text(np.asarray(examples.targets.getnnz(axis=1), np.int64)),
        "lengths": plots.text_lengths(words, limit * float(words.sum()) / max(1, int(tokens.sum())), limit),
    }
    if together.shown:
        drawings["together"] = plots.co_occurrence([names[at] for at in together.shown], together.shares)
    return drawings


def _length_table(found: Findings) -> Iterable[tuple[str, int, int]]:
    """Yield each percentile with the texts' number of words and approximate number of tokens."""
    words, tokens = (
        np.percentile(each, PERCENTILES, method="inverted_cdf") for each in (found.lengths.words, found.lengths.tokens())
    )
    for rank, some_words, some_tokens in zip(PERCENTILES, words, tokens, strict=True):
        yield ("longest" if rank == 100 else f"{rank} %"), int(some_words), int(some_tokens)


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=_number, percent=percent, ratio=_ratio, counted=_counted)
    return environment


def _number(value: Any) -> str:
    return f"{value:,.0f}"


def _ratio(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
