"""Read a dataset into examples. The steps are in `download` (addresses), `tables` (columns) and `labels.columns` (labels)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from model.manifest import Dataset, Task
from trainer.config.settings import DatasetConfig
from trainer.data.arxiv import with_preset
from trainer.data.download import fetch
from trainer.data.examples import Examples
from trainer.data.labels.columns import Labelled
from trainer.data.labels.list_cells import ONES, ZEROS
from trainer.data.labels.names import doubtful_names
from trainer.data.rows import LabelledRows, read_rows
from trainer.data.summary import ReadingSummary
from trainer.data.tables import Table, counted
from trainer.errors import DatasetRejected
from trainer.shown_values import escaped, escaped_names, shortened_list, shown, shown_names

__all__ = ["DatasetRejected", "Loaded", "read_aligned", "read_examples", "read_test_examples"]

# Last parts of notes about rows that are known to have no label.
ALLOWED = ": a text may have none; set dataset.label_required to true to set such rows aside"
SET_ASIDE = ": set aside, since dataset.label_required is true"
REQUIRED = ": set aside, since the classifier gives every text a label"


@dataclass(frozen=True)
class Loaded:
    """Examples of a dataset.

    facts: address, hash, rows and columns. notes: sentences on rows and labels that were set aside, and on what was detected.
    detected: the notes on how labels are written.
    """

    examples: Examples
    facts: Dataset
    notes: tuple[str, ...]
    reading: ReadingSummary
    detected: tuple[str, ...] = ()


def read_examples(config: DatasetConfig, *, scratch: Path, seed: int) -> Loaded:
    """Return the dataset's usable rows, or a random sample of `config.sample_count` of them, in order.

    A row is usable if it has a text and a label that is not too rare. Raises DatasetRejected if there is nothing to learn,
    ConfigRejected and StorageError as `download.fetch` does.
    """
    return without_rare_labels(read_every_label(config, scratch=scratch, seed=seed), config)


def read_every_label(config: DatasetConfig, *, scratch: Path, seed: int) -> Loaded:
    """Return the dataset's rows as `read_examples` does, with the rare labels."""
    read, facts = _read(config, config.uri, scratch=scratch, known=frozenset(), setting="dataset.uri")
    table, labelled = read.table, read.labelled
    if config.label_required is False:
        labelled = as_mark(labelled, config)
    required = label_is_required(labelled, config)
    usable, notes = _usable(table, labelled, required=required, why=SET_ASIDE if config.label_required is True else REQUIRED)
    notes += _unused(config, labelled) + _zero_and_one(labelled, config)
    if not len(usable):
        raise DatasetRejected(f"dataset.uri {config.uri!r}: no row has a text and a label; found {_columns(table.columns)}")
    rows = _sample(usable, config.sample_count, seed)
    task = Task.MULTI_LABEL if labelled.several else Task.SINGLE_LABEL
    examples = Examples(table.file, rows, labelled.names, labelled.targets[rows], task, required)
    return Loaded(examples, facts, notes, read.reading, labelled.notes)


def without_rare_labels(loaded: Loaded, config: DatasetConfig) -> Loaded:
    """Leave out rare labels; note them, and doubtful names. Raises DatasetRejected if there is nothing to tell apart."""
    examples, rows = loaded.examples, len(loaded.examples)
    notes = loaded.notes + doubtful_names(examples.labels, examples.label_counts())
    examples, more = _without_rare(examples, config.minimum_examples)
    if not examples.can_be_told_apart:
        found = shown_names(examples.labels) or "none"
        drawn = f" in the sample of {rows:,} rows (dataset.sample_count)" if rows == config.sample_count else ""
        facts = (f"labels with at least {config.minimum_examples} examples{drawn}: {found}", _columns(loaded.facts.columns))
        raise DatasetRejected(f"dataset.uri {config.uri!r}: there is nothing to tell apart: {'; '.join(facts + loaded.detected)}")
    return replace(loaded, examples=examples, notes=notes + more)


def read_test_examples(config: DatasetConfig, *, like: Examples, scratch: Path) -> Loaded:
    """Return the rows of `config.test_uri`, with the labels and the task of `like`. See `read_aligned`."""
    if config.test_uri is None:
        raise ValueError("dataset.test_uri is not set")
    # Labels are renamed as for training.
    renaming = config.model_copy(update={"aliases": with_preset(config, config.uri).aliases})
    return read_aligned(
        renaming,
        config.test_uri,
        labels=like.labels,
        task=like.task,
        label_required=like.label_required,
        scratch=scratch,
        setting="dataset.test_uri",
    )


def read_aligned(
    config: DatasetConfig,
    uri: str,
    *,
    labels: tuple[str, ...],
    task: Task,
    label_required: bool,
    scratch: Path,
    setting: str = "dataset.uri",
) -> Loaded:
    """Return all rows of `uri` that have a text and a label, with targets in the order of `labels`.

    label_required: whether the classifier gives every text a label. If not, rows known to have no label are kept, unless
    config.label_required is true. setting: name of the setting that `uri` comes from, for messages.
    Labels that are not in `labels` are named in the notes; their rows are kept with their other labels. Raises
    DatasetRejected if no row has a label of `labels`, or if a row has several labels and the task is single-label.
    """
    read, facts = _read(config, uri, scratch=scratch, known=frozenset(labels), setting=setting)
    table, labelled = read.table, read.labelled
    if not label_required and not set(labelled.names) & set(labels):
        labelled = as_mark(labelled, config)
    set_aside = label_required or config.label_required is True
    rows, notes = _usable(table, labelled, required=set_aside, why=REQUIRED if label_required else SET_ASIDE)
    if not len(rows):
        raise DatasetRejected(f"{setting} {uri!r}: no row has a text and a label; found {_columns(table.columns)}")
    targets = labelled.targets[rows]
    if task is Task.SINGLE_LABEL and (targets.getnnz(axis=1) > 1).any():
        raise DatasetRejected(
            f"{setting} {uri!r}: a row has several labels, and the classifier gives one; check dataset.label_separator"
        )
    strange = _strange(labelled.names, np.asarray(targets.sum(axis=0, dtype=np.int64)).ravel(), labels)
    if strange and len(strange) == len(labelled.names):
        raise DatasetRejected(
            f"{setting} {uri!r}: none of its labels ({_names(strange)}) is one of the classifier's, such as {shown(labels[0])}"
        )
    known = reordered(targets, labelled.names, labels)
    if strange:
        bare = int(((known.getnnz(axis=1) == 0) & (targets.getnnz(axis=1) > 0)).sum())
        notes += (_left_out(strange, bare=bare, label_required=label_required),)
    examples = Examples(table.file, rows, labels, known, task, label_required)
    return Loaded(examples, facts, notes, read.reading)


def _read(config: DatasetConfig, uri: str, *, scratch: Path, known: frozenset[str], setting: str) -> tuple[LabelledRows, Dataset]:
    config = with_preset(config, uri)
    files = fetch(uri, scratch=scratch, setting=setting)
    rows = read_rows(files, config, scratch=scratch, known=known, of="test set" if setting == "dataset.test_uri" else "")
    return rows, Dataset(uri=uri, sha256=rows.sha256, rows=len(rows.table.sizes), columns=rows.table.columns)


def label_is_required(labelled: Labelled, config: DatasetConfig) -> bool:
    """Return whether every text has a label.

    It is the configured value, or for "auto", false if rows may have several labels and one is known to have none. Raises
    DatasetRejected if the configured value is false but no row can have several labels.
    """
    if config.label_required is False and not labelled.several:
        found = shown_names(labelled.names, most=3) or "none"
        raise DatasetRejected(
            f"dataset.label_required is false and no row has several labels (found {found}): expected lists, columns of 0 and 1, "
            "or strings of labels with a separator that dataset.label_separator names"
        )
    if config.label_required == "auto":
        return not (labelled.several and bool(_negative(labelled).any()))
    return config.label_required


def as_mark(labelled: Labelled, config: DatasetConfig) -> Labelled:
    """Turn a single column of 0 and 1 into one label with the column's name; return other labels unchanged."""
    marks = [name.lower() in ONES for name in labelled.names]
    if len(config.label_columns) > 1 or labelled.several or not _are_marks(labelled):
        return labelled
    targets = csr_matrix(labelled.targets[:, np.flatnonzero(marks)].sum(axis=1).astype(np.uint8))
    return replace(labelled, names=config.label_columns, targets=targets, several=True)


def _are_marks(labelled: Labelled) -> bool:
    """Return whether the labels are 0 and 1, or one of them."""
    return bool(labelled.names) and all(name.lower() in (*ONES, *ZEROS) for name in labelled.names)


def _zero_and_one(labelled: Labelled, config: DatasetConfig) -> tuple[str, ...]:
    """Return a note if the labels are 0 and 1, which may be yes/no answers to whether a text has a certain label."""
    if labelled.several or not _are_marks(labelled):
        return ()
    column = config.label_columns[0]
    named = " and ".join(map(shown, labelled.names))
    return (
        f"{named} are the labels; to train one label {shown(column)} that a text has or not, set dataset.label_required to false",
    )


def _negative(labelled: Labelled) -> NDArray[np.bool_]:
    """Return which rows are known to have no label [rows]."""
    negative: NDArray[np.bool_] = labelled.given & (labelled.targets.getnnz(axis=1) == 0)
    return negative


def _usable(table: Table, labelled: Labelled, *, required: bool, why: str) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return the rows with a text and a label (or known to have none, if none is required), and notes on the others.

    why: last part of the note about rows known to have no label; used only if a label is required.
    """
    has_text = table.sizes > 0
    negative = _negative(labelled)
    has_label = labelled.given if not required else labelled.given & ~negative
    counts = {
        "text": int((~has_text & has_label).sum()),
        "label": int((has_text & ~labelled.given).sum()),
        "text or label": int((~has_text & ~has_label).sum()),
    }
    notes = tuple(f"{counted(count, 'row')} without {what} {_were(count)} set aside" for what, count in counts.items() if count)
    if without := int((has_text & negative).sum()):
        rows = f"{counted(without, 'row')} of {len(has_text):,} {'carries' if without == 1 else 'carry'} no label"
        notes += (f"{rows}{why if required else ALLOWED}",)
    return np.flatnonzero(has_text & has_label), table.notes + labelled.notes + notes


def _sample(rows: NDArray[np.int64], count: int | None, seed: int) -> NDArray[np.int64]:
    if count is None or count >= len(rows):
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, count, replace=False))


def _without_rare(examples: Examples, minimum: int) -> tuple[Examples, tuple[str, ...]]:
    """Return the examples without the labels that fewer than `minimum` examples have, and notes.

    Examples that then have no label are left out if a label is required. Otherwise they are kept, as texts without a label.
    """
    counts = examples.label_counts()
    kept = np.flatnonzero(counts >= minimum)
    rare = {examples.labels[index]: int(counts[index]) for index in np.flatnonzero((counts < minimum) & (counts > 0))}
    targets = csr_matrix(examples.targets[:, kept])
    left = replace(examples, labels=tuple(examples.labels[index] for index in kept), targets=targets)
    bare = left.without_label()
    notes: tuple[str, ...] = ()
    if rare:
        notes = (
            f"{counted(len(rare), 'label')} with fewer than {minimum} examples {_were(len(rare))} set aside: {_names(rare)}",
        )
    if lost := int((bare & ~examples.without_label()).sum()):
        became = f"{_were(lost)} set aside too" if examples.label_required else f"{_were(lost)} kept as having none"
        notes += (f"{counted(lost, 'row')} that had no other label {became}",)
    return (left.select(np.flatnonzero(~bare)) if examples.label_required else left), notes


def _strange(names: tuple[str, ...], counts: NDArray[np.int64], labels: tuple[str, ...]) -> dict[str, int]:
    known = frozenset(labels)
    return {name: int(count) for name, count in zip(names, counts, strict=True) if name not in known}


def _left_out(strange: dict[str, int], *, bare: int, label_required: bool) -> str:
    """Return a note on labels that the training part lacks, and on rows that have no other label."""
    left = f"{counted(len(strange), 'label')} that the training part lacks {_were(len(strange))} left out: {_names(strange)}"
    if not bare:
        return f"{left}; the rows stay, with their other labels"
    counts = "every prediction counts as wrong" if label_required else "predicting no label counts as right"
    return (
        f"{left}; the rows stay, and in the {counted(bare, 'row')} that {'has' if bare == 1 else 'have'} no other label {counts}"
    )


def _unused(config: DatasetConfig, labelled: Labelled) -> tuple[str, ...]:
    """Return a note on configured aliases whose old name does not occur."""
    unused = [alias for alias in config.aliases if alias in labelled.unused_aliases]
    return (f"dataset.aliases: no row carries {shown_names(unused)}",) if unused else ()


def _were(count: int) -> str:
    return "was" if count == 1 else "were"


def reordered(targets: csr_matrix, names: tuple[str, ...], labels: tuple[str, ...]) -> csr_matrix:
    """Return the columns of `names` in the order of `labels`; columns that are not in `labels` are dropped."""
    place = {label: index for index, label in enumerate(labels)}
    known = np.array([(index, place[name]) for index, name in enumerate(names) if name in place], np.int64).reshape(-1, 2).T
    move = csr_matrix((np.ones(known.shape[1], np.uint8), (known[0], known[1])), shape=(len(names), len(labels)))
    return csr_matrix(targets @ move)


def _names(counts: dict[str, int]) -> str:
    """Return the labels with their counts, the most frequent first, and the number of the others."""
    ordered = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    return shortened_list((name, f"{escaped(name)} ({count})") for name, count in ordered)


def _columns(names: tuple[str, ...]) -> str:
    return f"columns: {escaped_names(names)}"
