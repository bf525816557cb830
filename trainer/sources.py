"""A dataset's address to examples: the one place that yields them.

Reads the steps; what each does stands in trainer.fetching (addresses), trainer.tables (columns) and trainer.labels.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from model.manifest import Dataset, Task
from trainer.arxiv import with_preset
from trainer.config import DatasetConfig
from trainer.examples import Examples
from trainer.fetching import content_hash, fetch
from trainer.labels import Labelled, read_labels
from trainer.rejections import DatasetRejected
from trainer.tables import Table, counted, read_table

__all__ = ["DatasetRejected", "Loaded", "read_aligned", "read_examples", "read_test_examples"]

NAMES_SHOWN = 20


@dataclass(frozen=True)
class Loaded:
    """A dataset's examples, where they came from, and in sentences what was set aside or guessed."""

    examples: Examples
    facts: Dataset
    notes: tuple[str, ...]


def read_examples(config: DatasetConfig, *, scratch: Path, seed: int) -> Loaded:
    """The dataset's usable rows, or a random sample of `config.sample_count` of them, in order.

    Usable is what has a text and a label that enough rows carry. Raises DatasetRejected if that leaves nothing to learn,
    ConfigRejected and StorageError as `fetching.fetch` does.
    """
    table, labelled, facts = _read(config, config.uri, scratch=scratch, known=frozenset(), setting="dataset.uri")
    usable, notes = _usable(table, labelled)
    notes += _unused(config, labelled)
    if not len(usable):
        raise DatasetRejected(f"dataset.uri {config.uri!r}: no row has a text and a label; found {_columns(table)}")
    rows = _sample(usable, config.sample_count, seed)
    task = Task.MULTI_LABEL if labelled.several else Task.SINGLE_LABEL
    examples = Examples(table.file, rows, labelled.names, labelled.targets[rows], task)
    examples, more = _without_rare(examples, config.minimum_examples)
    if len(examples.labels) < 2:
        found = ", ".join(map(repr, examples.labels)) or "none"
        drawn = f" in the {len(rows):,} rows that dataset.sample_count lets in" if len(rows) < len(usable) else ""
        facts_found = (f"labels with at least {config.minimum_examples} examples{drawn}: {found}", _columns(table))
        raise DatasetRejected(
            f"dataset.uri {config.uri!r}: there is nothing to tell apart: {'; '.join(facts_found + labelled.notes)}"
        )
    return Loaded(examples, facts, notes + more)


def read_test_examples(config: DatasetConfig, *, like: Examples, scratch: Path) -> Loaded:
    """The rows of `config.test_uri`, with the labels and the task of `like`. See `read_aligned`."""
    if config.test_uri is None:
        raise ValueError("dataset.test_uri is not set")
    # What was renamed for training is renamed for the test.
    renaming = config.model_copy(update={"aliases": with_preset(config, config.uri).aliases})
    return read_aligned(
        renaming, config.test_uri, labels=like.labels, task=like.task, scratch=scratch, setting="dataset.test_uri"
    )


def read_aligned(
    config: DatasetConfig,
    uri: str,
    *,
    labels: tuple[str, ...],
    task: Task,
    scratch: Path,
    setting: str = "dataset.uri",
) -> Loaded:
    """All rows of `uri` that have a text and a label, their targets in the order of `labels`.

    setting: whose value `uri` is, for messages.
    A label that is not among `labels` is named in the notes; its rows stay, with the labels that are. Raises
    DatasetRejected if no row has one that is, or if a row has several and the task allows one.
    """
    table, labelled, facts = _read(config, uri, scratch=scratch, known=frozenset(labels), setting=setting)
    rows, notes = _usable(table, labelled)
    if not len(rows):
        raise DatasetRejected(f"{setting} {uri!r}: no row has a text and a label; found {_columns(table)}")
    targets = labelled.targets[rows]
    if task is Task.SINGLE_LABEL and (targets.getnnz(axis=1) > 1).any():
        raise DatasetRejected(
            f"{setting} {uri!r}: a row has several labels, and the classifier gives one; check dataset.label_separator"
        )
    strange = _strange(labelled.names, np.asarray(targets.sum(axis=0, dtype=np.int64)).ravel(), labels)
    if len(strange) == len(labelled.names):
        raise DatasetRejected(
            f"{setting} {uri!r}: none of its labels ({_names(strange)}) is one of the classifier's, such as {labels[0]!r}"
        )
    known = _reordered(targets, labelled.names, labels)
    if strange:
        notes += (_left_out(strange, bare=int((known.getnnz(axis=1) == 0).sum())),)
    return Loaded(Examples(table.file, rows, labels, known, task), facts, notes)


def _read(
    config: DatasetConfig, uri: str, *, scratch: Path, known: frozenset[str], setting: str
) -> tuple[Table, Labelled, Dataset]:
    config = with_preset(config, uri)
    files = fetch(uri, scratch=scratch, setting=setting)
    with ThreadPoolExecutor(1) as beside:  # hashing holds no interpreter lock
        sha256 = beside.submit(content_hash, files)
        table = read_table(
            files, text=config.text_columns, labels=config.label_columns, scratch=scratch, options=config.written()
        )
    labelled = read_labels(
        table.labels,
        listed=table.listed,
        marked=table.marked,
        separator=config.label_separator,
        aliases=config.aliases,
        known=known,
        where=table.places.where,
    )
    return table, labelled, Dataset(uri=uri, sha256=sha256.result(), rows=len(table.sizes), columns=table.columns)


def _usable(table: Table, labelled: Labelled) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """The rows with a text and a label, and notes on the others."""
    has_text = table.sizes > 0
    has_label = labelled.targets.getnnz(axis=1) > 0  # not yet `labelled.given`: rows without any label are set aside
    counts = {
        "text": int((~has_text & has_label).sum()),
        "label": int((has_text & ~has_label).sum()),
        "text or label": int((~has_text & ~has_label).sum()),
    }
    notes = tuple(f"{counted(count, 'row')} without {what} {_were(count)} set aside" for what, count in counts.items() if count)
    return np.flatnonzero(has_text & has_label), table.notes + labelled.notes + notes


def _sample(rows: NDArray[np.int64], count: int | None, seed: int) -> NDArray[np.int64]:
    if count is None or count >= len(rows):
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, count, replace=False))


def _without_rare(examples: Examples, minimum: int) -> tuple[Examples, tuple[str, ...]]:
    """The examples without labels that fewer than `minimum` carry, and without those that then carry none."""
    counts = examples.label_counts()
    kept = np.flatnonzero(counts >= minimum)
    rare = {examples.labels[index]: int(counts[index]) for index in np.flatnonzero((counts < minimum) & (counts > 0))}
    targets = csr_matrix(examples.targets[:, kept])
    labelled = np.flatnonzero(targets.getnnz(axis=1) > 0)
    notes: tuple[str, ...] = ()
    if rare:
        notes = (
            f"{counted(len(rare), 'label')} with fewer than {minimum} examples {_were(len(rare))} set aside: {_names(rare)}",
        )
    if bare := len(examples) - len(labelled):
        notes += (f"{counted(bare, 'row')} that had no other label {_were(bare)} set aside too",)
    names = tuple(examples.labels[index] for index in kept)
    return replace(examples, labels=names, targets=targets).select(labelled), notes


def _strange(names: tuple[str, ...], counts: NDArray[np.int64], labels: tuple[str, ...]) -> dict[str, int]:
    known = frozenset(labels)
    return {name: int(count) for name, count in zip(names, counts, strict=True) if name not in known}


def _left_out(strange: dict[str, int], *, bare: int) -> str:
    """What becomes of labels of the test that training lacks, and of the rows that have no other."""
    left = f"{counted(len(strange), 'label')} that the training part lacks {_were(len(strange))} left out: {_names(strange)}"
    if not bare:
        return f"{left}; the rows stay, with their other labels"
    return (
        f"{left}; the rows stay, and in the {counted(bare, 'row')} that {'has' if bare == 1 else 'have'} no other label "
        "whatever is predicted counts as wrong"
    )


def _unused(config: DatasetConfig, labelled: Labelled) -> tuple[str, ...]:
    """A note on aliases, the configuration's own, for labels that no row carries."""
    unused = [alias for alias in config.aliases if alias in labelled.unused_aliases]
    shown = ", ".join(map(repr, unused[:NAMES_SHOWN]))
    return (f"dataset.aliases: no row carries {shown}",) if unused else ()


def _were(count: int) -> str:
    return "was" if count == 1 else "were"


def _reordered(targets: csr_matrix, names: tuple[str, ...], labels: tuple[str, ...]) -> csr_matrix:
    """The columns of `names` moved to where `labels` has them; those that it lacks are dropped."""
    place = {label: index for index, label in enumerate(labels)}
    known = np.array([(index, place[name]) for index, name in enumerate(names) if name in place]).T
    move = csr_matrix((np.ones(known.shape[1], np.uint8), (known[0], known[1])), shape=(len(names), len(labels)))
    return csr_matrix(targets @ move)


def _names(counts: dict[str, int]) -> str:
    """The labels with their counts, the most frequent first, and how many more there are."""
    ordered = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    shown = ", ".join(f"{name} ({count})" for name, count in ordered[:NAMES_SHOWN])
    return shown + (f" and {len(ordered) - NAMES_SHOWN:,} more" if len(ordered) > NAMES_SHOWN else "")


def _columns(table: Table) -> str:
    return f"columns: {', '.join(table.columns)}"
