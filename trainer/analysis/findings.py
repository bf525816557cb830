"""Everything that is found out about a dataset: the list of steps, and what they hand on to the page."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from model.manifest import Dataset
from trainer.analysis.co_occurrence import CoOccurrence, co_occurrence
from trainer.analysis.disagreements import Disagreement, Disagreements, disagreements
from trainer.analysis.duplicates import Conflict, Group, Repetition, conflicts, largest_groups, repetition
from trainer.analysis.held_out import ENOUGH_TEXTS, FOLDS, LEARNT_FROM, Scope, held_out_probabilities, scope
from trainer.analysis.strategies import Outcome, outcomes
from trainer.analysis.words import Lengths, measure
from trainer.config.settings import Config
from trainer.data.examples import Examples
from trainer.data.reading import read_examples
from trainer.data.summary import ReadingSummary
from trainer.split import near_duplicates

log = logging.getLogger(__name__)

GROUPS_SHOWN = 12
FEWEST_WORDS = 3  # trainer.split.minhash compares runs of three; what has fewer says next to nothing to a model, too
FEWEST_GROUPS = 30  # of texts, below which held-out models know nothing


@dataclass(frozen=True, eq=False)
class Duplicates:
    """Texts that stand in the data more than once: with equal words, and with nearly equal ones from `similarity` on.

    conflicts: groups whose members' labels differ, the worst first.
    """

    similarity: float
    equal: Repetition
    near: Repetition
    largest: tuple[Group, ...]
    conflicts: tuple[Conflict, ...]


@dataclass(frozen=True, eq=False)
class Judged:
    """What models that were trained on the rest say of the rows; positions and labels are those of all examples.

    texts, labels: how many were judged, texts a random sample if `sampled`. learnt_from: texts of a fold's model, about.
    """

    found: Disagreements
    texts: int
    labels: int
    learnt_from: int
    sampled: bool


@dataclass(frozen=True, eq=False)
class Findings:
    """A dataset, read and looked at.

    examples: every row with a text and a label, or known to have none; rare labels included. trained: those that a training
    would use. judged: nothing where there is too little to learn from. outcomes: nothing where fewer than two labels are left.
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
        """The positions of texts with fewer than FEWEST_WORDS words, in order."""
        return np.flatnonzero(self.lengths.words < FEWEST_WORDS)


def analyse(config: Config, *, scratch: Path) -> Findings:
    """Read the dataset and look at it from every side. Raises DatasetRejected, ConfigRejected, StorageError.

    The bounds of trainer.analysis.held_out and trainer.analysis.strategies keep time and memory of large datasets down.
    """
    log.info("reading %s", config.dataset.uri)
    # Training would leave rare labels out without a word on what they are like: here they are to be seen.
    loaded = read_examples(config.dataset.model_copy(update={"minimum_examples": 1}), scratch=scratch, seed=config.training.seed)
    examples = loaded.examples
    log.info("%d texts, %d labels; measuring lengths and looking for duplicates", len(examples), len(examples.labels))
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
    """What a training would use: labels that `minimum` examples carry, and examples that carry one of them.

    Where no label is required, the other examples stay, too.
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
        log.info("labels are not judged: fewer than two with %d texts, or fewer than %d texts", ENOUGH_TEXTS, FEWEST_GROUPS)
        return None
    log.info("judging the labels of %d texts by models of the others, in %d folds", len(part.positions), FOLDS)
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


def _among_all(found: Disagreement, part: Scope) -> Disagreement:
    """The same with the numbers that row and labels have among all examples."""
    return replace(
        found,
        position=int(part.positions[found.position]),
        doubted=tuple((int(part.labels[label]), chance) for label, chance in found.doubted),
        suggested=tuple((int(part.labels[label]), chance) for label, chance in found.suggested),
    )
