"""Apply corrections to the examples of a dataset: corrected labels for its own texts, and the other texts as new examples."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, vstack

from model.corrections import Correction, text_key
from model.manifest import Task
from trainer.config.settings import DatasetConfig
from trainer.corrections.reading import ReadCorrections
from trainer.data.arxiv import with_preset
from trainer.data.examples import WINDOW_ROWS, Examples
from trainer.data.labels.columns import resolved_aliases
from trainer.data.reading import Loaded, reordered, without_rare_labels
from trainer.data.tables import counted
from trainer.errors import DatasetRejected
from trainer.shown_values import escaped, shortened_list, shown_names
from trainer.split import minhash, near_duplicates

log = logging.getLogger(__name__)

Numbers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Corrected:
    """A dataset with its corrections.

    loaded: the dataset's examples, some with corrected labels, and the added ones after them; and notes. first_added: the
    row of the first added one. rows, numbers: rows of the files that have a correction, ascending, and its number
    [corrected and added rows]; a text may be in several rows. read: what was read.
    """

    loaded: Loaded
    first_added: int
    rows: Numbers
    numbers: Numbers
    read: ReadCorrections

    def is_added(self, rows: Numbers) -> NDArray[np.bool_]:
        """Return which of these rows are added ones."""
        return rows >= self.first_added

    def corrections_of(self, rows: Numbers) -> set[int]:
        """Return the numbers of the corrections of these rows."""
        return set(self.numbers[np.isin(self.rows, rows)].tolist())


def correct(loaded: Loaded, read: ReadCorrections, config: DatasetConfig, *, scratch: Path) -> Corrected:
    """Return the dataset with these corrections. loaded: with the rare labels, since corrections may make them frequent.

    Task and whether a label is required stay the dataset's. Labels that the dataset lacks are treated like its own: those
    with fewer than `minimum_examples` examples are left out. Raises DatasetRejected for a correction with several labels, if
    the dataset has one label per text.
    """
    examples, corrections = loaded.examples, read.in_force
    labels = _labels(corrections, with_preset(config, config.uri).aliases)
    _refuse_several(examples, corrections, labels)
    names = tuple(sorted(set(examples.labels).union(*labels)))
    targets = csr_matrix(vstack([reordered(examples.targets, examples.labels, names), _marks(labels, names)]))
    usable = np.array([bool(own) or not examples.label_required for own in labels], np.bool_)
    filled = np.array([bool(text_key(each.text)) for each in corrections], np.bool_)
    positions, numbers = _matches(examples, corrections)
    added = np.setdiff1d(np.flatnonzero(usable & filled), numbers)
    first_added, more_files = _append(examples, [corrections[at].text for at in added], scratch)
    source = np.arange(len(examples))
    source[positions] = len(examples) + numbers
    kept = np.ones(len(examples), np.bool_)
    kept[positions] = usable[numbers]
    rows = np.concatenate([examples.rows[kept], first_added + np.arange(len(added))])
    every = replace(
        examples,
        rows=rows,
        labels=names,
        targets=targets[np.concatenate([source[kept], len(examples) + added])],
        more_files=more_files,
    )
    notes = _notes(int((~filled).sum()), int((filled & ~usable).sum()))
    final = without_rare_labels(replace(loaded, examples=every, notes=loaded.notes + notes), config)
    if new := _new_labels(final.examples, examples.labels):
        final = replace(final, notes=(*final.notes, new))
    return Corrected(
        final,
        first_added,
        np.concatenate([examples.rows[positions], first_added + np.arange(len(added))]),
        np.concatenate([numbers, added]),
        read,
    )


def _labels(corrections: Sequence[Correction], aliases: dict[str, str]) -> list[set[str]]:
    """Return the labels of each correction, renamed as those of the dataset."""
    final = resolved_aliases(aliases)
    stripped = ([label.strip() for label in each.labels] for each in corrections)
    return [{final.get(label, label) for label in labels} - {""} for labels in stripped]


def _refuse_several(examples: Examples, corrections: Sequence[Correction], labels: Sequence[set[str]]) -> None:
    if examples.task is Task.MULTI_LABEL:
        return
    for each, own in zip(corrections, labels, strict=True):
        if len(own) > 1:
            raise DatasetRejected(
                f"dataset.corrections: the correction {each.id} has the labels {shown_names(sorted(own))}: expected one, as "
                "in the dataset"
            )


def _marks(labels: Sequence[set[str]], names: tuple[str, ...]) -> csr_matrix:
    """Return 1 where a correction has a label, uint8 [corrections, names]."""
    place = {name: at for at, name in enumerate(names)}
    rows = np.repeat(np.arange(len(labels)), [len(own) for own in labels])
    columns = np.array([place[label] for own in labels for label in sorted(own)], np.int64)
    return csr_matrix((np.ones(len(rows), np.uint8), (rows, columns)), shape=(len(labels), len(names)))


def _matches(examples: Examples, corrections: Sequence[Correction]) -> tuple[Numbers, Numbers]:
    """Return the positions of the examples whose text has a correction, ascending, and the correction's number for each.

    Texts are compared by `text_key`, and only those whose first words have the same hash as a correction's.
    """
    keys = {text_key(each.text): number for number, each in enumerate(corrections) if text_key(each.text)}
    if not keys:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    wanted = minhash.word_hashes(pl.Series(list(keys)), near_duplicates.FIRST_WORDS)
    candidates = np.flatnonzero(np.isin(near_duplicates.first_words_hashes(examples), wanted))
    found = [keys.get(text_key(text), -1) for batch in examples.select(candidates).batches() for text in batch]
    numbers = np.array(found, np.int64)
    return candidates[numbers >= 0], numbers[numbers >= 0]


def _append(examples: Examples, texts: list[str], scratch: Path) -> tuple[int, tuple[Path, ...]]:
    """Write the texts into a file. Return the row of the first of them, and the files that follow the dataset's."""
    rows = examples.rows_in_files()
    if not texts:
        return rows, examples.more_files
    file = scratch / "corrections.parquet"
    stripped = pl.DataFrame({"text": [text.strip() for text in texts]})
    stripped.write_parquet(file, compression="uncompressed", row_group_size=WINDOW_ROWS, statistics=False)
    return rows, (*examples.more_files, file)


def _notes(textless: int, unlabelled: int) -> tuple[str, ...]:
    notes = []
    if textless:
        notes.append(f"corrections: {counted(textless, 'correction')} without a text {_was(textless)} left out")
    if unlabelled:
        say = "says that its text has no label" if unlabelled == 1 else "say that their texts have no label"
        notes.append(
            f"corrections: {unlabelled:,} {say}: left out, since the classifier gives every text a label; set "
            "dataset.label_required to false to learn them"
        )
    return tuple(notes)


def _new_labels(examples: Examples, before: tuple[str, ...]) -> str:
    """Return a note on labels that only corrections have, or ""."""
    known, counts = frozenset(before), examples.label_counts()
    new = [(name, f"{escaped(name)} ({count})") for name, count in zip(examples.labels, counts, strict=True) if name not in known]
    if not new:
        return ""
    return f"corrections: {counted(len(new), 'label')} that the dataset lacks {_was(len(new))} added: {shortened_list(new)}"


def _was(count: int) -> str:
    return "was" if count == 1 else "were"
