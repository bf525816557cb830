"""Analyse a dataset: the steps, and the findings for the page."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from model.manifest import Dataset
from trainer.analysis.balance_outcomes import Outcome, outcomes
from trainer.analysis.co_occurrence import CoOccurrence, co_occurrence
from trainer.analysis.disagreements import Disagreement, Disagreements, disagreements
from trainer.analysis.duplicates import Conflict, Group, Repetition, conflicts, largest_groups, repetition
from trainer.analysis.excerpts import Lengths, measure
from trainer.analysis.held_out import ENOUGH_TEXTS, FOLDS, LEARNT_FROM, Scope, held_out_probabilities, scope
from trainer.config.settings import Config
from trainer.data.examples import Examples
from trainer.data.reading import read_examples
from trainer.data.summary import ReadingSummary
from trainer.split import near_duplicates

log = logging.getLogger(__name__)

GROUPS_SHOWN = 12
FEWEST_WORDS = 3  # trainer.split.minhash compares sequences of three; shorter texts also tell a model very little
FEWEST_GROUPS = 30  # of texts, for held-out models


@dataclass(frozen=True, eq=False)
class Duplicates:
    """Duplicates of texts: with equal words, and near-duplicates of at least `similarity`.

    conflicts: groups whose members' labels differ, the worst first.
    """

    similarity: float
    equal: Repetition
    near: Repetition
    largest: tuple[Group, ...]
    conflicts: tuple[Conflict, ...]


@dataclass(frozen=True, eq=False)
class Judged:
    """Disagreements of held-out models with the rows. Positions and labels refer to all examples.

    texts, labels: numbers that were judged; the texts are a random sample if `sampled`. learnt_from: approximate number of
    texts that a fold's model is fitted on.
    """

    found: Disagreements
    texts: int
    labels: int
    learnt_from: int
    sampled: bool


@dataclass(frozen=True, eq=False)
class Findings:
    """Findings about a dataset.

    examples: all rows with a text and a label, or known to have none, including rare labels. trained: those that a
    training would use. judged: None if there are too few texts. outcomes: empty if fewer than two labels are left.
    """

    facts: Dataset
    reading: ReadingSummary
    notes: tuple[str, ...]
    examples: Examples
    trained: Examples
    lengths: Lengths
    co_occurrence: CoOccurrence
    duplicates: Duplicates
    judged: Judged | None
    outcomes: tuple[Outcome, ...]

    @property
    def near_empty(self) -> NDArray[np.int64]:
        """Positions of texts with fewer than FEWEST_WORDS words, in order."""
        return np.flatnonzero(self.lengths.words < FEWEST_WORDS)


def analyse(config: Config, *, scratch: Path) -> Findings:
    """Read the dataset and analyse it. Raises DatasetRejected, ConfigRejected, StorageError.

    trainer.analysis.held_out and trainer.analysis.balance_outcomes bound time and memory for large datasets.
    """
    log.info("reading %s", config.dataset.uri)
    # Rare labels, which training leaves out, are shown here.
    loaded = read_examples(config.dataset.model_copy(update={"minimum_examples": 1}), scratch=scratch, seed=config.training.seed)
    examples = loaded.examples
    log.info("%d texts, %d labels; measuring lengths and searching for duplicates", len(examples), len(examples.labels))
    near = near_duplicates.groups(examples, config.split.near_duplicates)
    trained = without_rare(examples, config.dataset.minimum_examples)
    return Findings(
        facts=loaded.facts,
        reading=loaded.reading,
        notes=loaded.notes,
        examples=examples,
        trained=trained,
        lengths=measure(examples),
        co_occurrence=co_occurrence(examples.targets),
        duplicates=_duplicates(examples, near, config.split.near_duplicates),
        judged=_judged(examples, near, config),
        outcomes=outcomes(trained, config.balance, seed=config.training.seed) if trained.can_be_told_apart else (),
    )


def without_rare(examples: Examples, minimum: int) -> Examples:
    """Return what a training would use: labels with at least `minimum` examples, and examples with such a label.

    If no label is required, the other examples are kept too.
    """
    kept = np.flatnonzero(examples.label_counts() >= minimum)
    targets = csr_matrix(examples.targets[:, kept])
    names = tuple(examples.labels[at] for at in kept)
    left = replace(examples, labels=names, targets=targets)
    return left.select(np.flatnonzero(~left.without_label())) if examples.label_required else left


def _duplicates(examples: Examples, near: NDArray[np.int64], similarity: float) -> Duplicates:
    equal = near_duplicates.groups(examples, 1)
    return Duplicates(
        similarity=similarity,
        equal=repetition(equal),
        near=repetition(near),
        largest=largest_groups(near, GROUPS_SHOWN),
        conflicts=conflicts(examples.targets, near, equal),
    )


def _judged(examples: Examples, groups: NDArray[np.int64], config: Config) -> Judged | None:
    part = scope(examples, seed=config.training.seed)
    if not part.examples.can_be_told_apart or len(np.unique(groups[part.positions])) < FEWEST_GROUPS:
        log.info("labels are not judged: fewer than 2 labels with %d texts, or fewer than %d texts", ENOUGH_TEXTS, FEWEST_GROUPS)
        return None
    log.info("judging the labels of %d texts with held-out models, in %d folds", len(part.positions), FOLDS)
    probabilities = held_out_probabilities(part.examples, groups[part.positions], config)
    found = disagreements(probabilities, part.examples.targets, examples.task)
    worst = {kind: tuple(_among_all(each, part) for each in rows) for kind, rows in found.worst.items()}
    return Judged(
        found=replace(found, worst=worst),
        texts=len(part.positions),
        labels=len(part.labels),
        learnt_from=min(LEARNT_FROM, len(part.positions) * (FOLDS - 1) // FOLDS),
        sampled=part.sampled,
    )


def _among_all(disagreement: Disagreement, part: Scope) -> Disagreement:
    """Return the disagreement with the positions of row and labels among all examples."""
    return replace(
        disagreement,
        position=int(part.positions[disagreement.position]),
        doubted=tuple((int(part.labels[label]), chance) for label, chance in disagreement.doubted),
        suggested=tuple((int(part.labels[label]), chance) for label, chance in disagreement.suggested),
    )
