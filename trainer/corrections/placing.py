"""Place corrected and added examples into the parts of the split. Corrections never change which texts are in the test part.

The dataset is split without its corrections. Its texts stay in their parts, with the corrected labels. An added text goes to
the part of its near-duplicates; near the test part, it is left out, since the model would be tested on what it was trained on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, vstack

from model.manifest import LearntCorrections
from trainer.config.settings import Config
from trainer.corrections.applying import Corrected
from trainer.data.examples import Examples
from trainer.data.tables import counted
from trainer.errors import DatasetRejected
from trainer.shown_values import escaped_names
from trainer.split import near_duplicates
from trainer.split.provenance import TextProvenance
from trainer.split.split import DatasetSplit, Parts, units_of
from trainer.split.stratify import stratify, totals

NOWHERE, TRAIN, VALIDATION, TEST = -1, 0, 1, 2
Numbers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Placed:
    """The parts with the corrections, the numbers of these for the manifest, and notes for people."""

    divided: DatasetSplit
    learnt: LearntCorrections
    notes: tuple[str, ...]


def place(divided: DatasetSplit, corrected: Corrected, config: Config, *, dataset_sha256: str, given: Examples | None) -> Placed:
    """Return the parts of the split with corrected labels and added examples.

    divided: the dataset without its corrections. given: the test set, if there is one; it is used unchanged. Raises
    DatasetRejected if no example of a part is left.
    """
    examples = corrected.loaded.examples
    assigned = _assigned_before(examples, divided.parts)
    new = np.flatnonzero(assigned == NOWHERE)
    seen = divided.seen
    if len(new):
        groups, hashes = near_duplicates.groups_and_hashes(_with_test_set(examples, given), config.split.near_duplicates)
        assigned[new] = _places(examples, groups, assigned, new, config)
        trained = hashes[new[assigned[new] != NOWHERE]]
        seen = TextProvenance.of(np.concatenate([seen.trained, trained]), seen.tested)
    parts = _parts(examples, assigned, divided.parts)
    _refuse_empty(parts, corrected.read.uri)
    learnt = _learnt(corrected, parts, dataset_sha256)
    near_test = len(corrected.corrections_of(examples.rows[assigned == NOWHERE]))
    unmeasured = _labels_without_a_test_text(parts.test if given is None else given, divided.parts.train.labels)
    notes = _notes(learnt, near_test=near_test, unmeasured=unmeasured)
    return Placed(replace(divided, parts=parts, seen=seen), learnt, notes)


def _assigned_before(examples: Examples, parts: Parts) -> Numbers:
    """Return the part of each example that the split has placed [examples]; NOWHERE for the others."""
    assigned = np.full(len(examples), NOWHERE, np.int64)
    for part, those in ((TRAIN, parts.train), (VALIDATION, parts.validation), (TEST, parts.test)):
        if those is not None:
            assigned[np.isin(examples.rows, those.rows)] = part
    return assigned


def _with_test_set(examples: Examples, given: Examples | None) -> Examples:
    """Return the examples and, after them, those of a given test set, to compare the texts."""
    if given is None:
        return examples
    rows = np.concatenate([examples.rows, examples.rows_in_files() + given.rows])
    targets = csr_matrix(vstack([examples.targets, given.targets]))
    files = (*examples.more_files, given.file, *given.more_files)
    return replace(examples, rows=rows, targets=targets, more_files=files)


def _places(examples: Examples, groups: Numbers, assigned: Numbers, new: Numbers, config: Config) -> Numbers:
    """Return the part of each new example [new]: that of its near-duplicates, or NOWHERE if that is the test part.

    groups: of the examples, then of the given test set. Groups of only new examples are divided between training and
    validation, so that both have their shares of every label.
    """
    own, tested = groups[: len(examples)], groups[len(examples) :]
    place = np.full(int(groups.max()) + 1, NOWHERE, np.int64)
    for part in (TRAIN, VALIDATION, TEST):  # of a group in several parts, the last one counts
        place[own[assigned == part]] = part
    place[tested] = TEST
    found = place[own[new]]
    free = np.flatnonzero(found == NOWHERE)
    if len(free):
        found[free] = _divide(examples, own, assigned, new[free], config)
    found[found == TEST] = NOWHERE
    return found


def _divide(examples: Examples, groups: Numbers, assigned: Numbers, free: Numbers, config: Config) -> Numbers:
    """Return TRAIN or VALIDATION for each free example [free], one part for each group."""
    strata = examples.strata()
    _, own = np.unique(groups[free], return_inverse=True)
    units, sizes = units_of(csr_matrix(strata[free]), own.ravel())
    held = totals(strata, np.ones(len(examples), np.int64), assigned, assigned != NOWHERE, 2)
    validation = config.split.validation_share
    if config.dataset.test_uri is None:
        validation /= 1 - config.split.test_share
    parts = stratify(units, sizes, np.array([1 - validation, validation]), seed=config.training.seed, held=held)
    return parts[own.ravel()]


def _parts(examples: Examples, assigned: Numbers, before: Parts) -> Parts:
    train, validation, test = (examples.select(np.flatnonzero(assigned == part)) for part in (TRAIN, VALIDATION, TEST))
    return Parts(train, validation, None if before.test is None else test, before.notes)


def _refuse_empty(parts: Parts, uri: str) -> None:
    for name, part in (("training", parts.train), ("validation", parts.validation), ("test", parts.test)):
        if part is not None and not len(part):
            raise DatasetRejected(f"dataset.corrections {uri!r}: with the corrected labels, nothing is left for the {name} part")


def _learnt(corrected: Corrected, parts: Parts, dataset_sha256: str) -> LearntCorrections:
    rows = np.concatenate([part.rows for part in (parts.train, parts.validation, parts.test) if part is not None])
    added = corrected.is_added(rows)
    read, texts = corrected.read, len(corrected.read.in_force)
    own, others = len(corrected.corrections_of(rows[~added])), len(corrected.corrections_of(rows[added]))
    return LearntCorrections(
        uri=read.uri,
        sha256=read.sha256,
        dataset_sha256=dataset_sha256,
        files=read.files,
        rows=read.rows,
        withdrawn=read.withdrawn,
        texts=texts,
        corrected=own,
        tested=0 if parts.test is None else len(corrected.corrections_of(parts.test.rows)),
        added=others,
        left_out=texts - own - others,
    )


def _labels_without_a_test_text(test: Examples | None, before: tuple[str, ...]) -> tuple[str, ...]:
    """Return the labels that only corrections have and that no text of the test part has."""
    assert test is not None  # noqa: S101 - the split has a test part unless a test set is given
    return tuple(name for name, count in zip(test.labels, test.label_counts(), strict=True) if not count and name not in before)


def _notes(learnt: LearntCorrections, *, near_test: int, unmeasured: tuple[str, ...]) -> tuple[str, ...]:
    if not learnt.files:
        return (f"corrections: there is no file at {learnt.uri} yet",)
    read = f"{counted(learnt.rows, 'row')} in {counted(learnt.files, 'file')}, for {counted(learnt.texts, 'text')}"
    parts = [f"{learnt.corrected:,} of the dataset corrected", f"{learnt.added:,} added", f"{learnt.left_out:,} left out"]
    parts += [f"{counted(learnt.withdrawn, 'correction')} withdrawn"] if learnt.withdrawn else []
    notes = [f"corrections: {read}: {', '.join(parts)}"]
    if learnt.tested:
        are = "is" if learnt.tested == 1 else "are"
        notes.append(
            f"corrections: {learnt.tested:,} of the corrected texts {are} in the test part, and therefore not trained on"
        )
    if near_test:
        notes.append(f"corrections: {counted(near_test, 'text')} left out, since near-duplicates are in the test part")
    if unmeasured:
        notes.append(
            f"corrections: no text of the test part has the new labels {escaped_names(unmeasured)}: no score covers them"
        )
    return tuple(notes)
