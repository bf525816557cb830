"""Prepare the data of a run: read the dataset, split it and balance the training part."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

from model.manifest import Dataset, TestSet
from trainer.attempt import Attempt
from trainer.balance.strategies import Balanced, balance
from trainer.config.settings import Config
from trainer.corrections.applying import Corrected, correct
from trainer.corrections.placing import place
from trainer.corrections.reading import read_corrections
from trainer.data.examples import Examples
from trainer.data.reading import Loaded, read_every_label, read_test_examples, without_rare_labels
from trainer.data.summary import NOTHING_READ, ReadingSummary
from trainer.evaluation.served import RowCounts
from trainer.split.provenance import ServedHistory, TextProvenance
from trainer.split.split import DatasetSplit, few_texts, split_dataset
from trainer.tracking.training_metrics import Phase

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class PreparedData:
    """The parts of the dataset, and what is known about it.

    balance: description of the balancing of the training part. seen: hashes of the texts of each part, before balancing.
    served: the texts that the served version has seen. used: how much of the dataset is in the parts. reading: summary of
    how the dataset was read.
    """

    facts: Dataset
    train: Examples
    validation: Examples
    test: Examples
    balance: str
    seen: TextProvenance
    served: ServedHistory
    row_counts: RowCounts
    reading: ReadingSummary = NOTHING_READ


def prepare(config: Config, attempt: Attempt, scratch: Path) -> PreparedData:
    """Read the dataset, split it and balance the training part. A given test set is used unchanged.

    Raises DatasetRejected, StorageError.
    """
    attempt.metrics.phase(Phase.READING)
    log.info("reading %s", config.dataset.uri)
    for folder in ("dataset", "test"):
        (scratch / folder).mkdir()
    every = read_every_label(config.dataset, scratch=scratch / "dataset", seed=config.training.seed)
    own = without_rare_labels(every, config.dataset)
    corrected = _correct(every, config, scratch) if config.dataset.corrections else None
    loaded = corrected.loaded if corrected else own
    facts, notes, test = loaded.facts, loaded.notes, None
    if config.dataset.test_uri:
        given = read_test_examples(config.dataset, like=loaded.examples, scratch=scratch / "test")
        test, notes = given.examples, (*notes, *(f"test set: {note}" for note in given.notes))
        test_facts = TestSet(uri=given.facts.uri, sha256=given.facts.sha256, rows=given.facts.rows)
        facts = facts.model_copy(update={"test": test_facts})
    attempt.metrics.phase(Phase.SPLITTING)
    divided = split_dataset(own.examples, config, given=test)
    if corrected:
        placed = place(divided, corrected, config, dataset_sha256=facts.sha256, given=test)
        divided, notes = placed.divided, (*notes, *placed.notes)
        facts = facts.model_copy(update={"corrections": placed.learnt, "sha256": placed.learnt.covering_sha256})
    balanced = balance(divided.parts.train, config.balance, seed=config.training.seed)
    notes = (*notes, *divided.notes, *divided.parts.notes, *balanced.notes)
    for note in notes:
        log.info("%s", note)
    data = _assemble(config, facts.model_copy(update={"notes": notes}), divided, balanced, test)
    return replace(data, reading=loaded.reading)


def _correct(every: Loaded, config: Config, scratch: Path) -> Corrected:
    log.info("reading corrections of %s", config.dataset.corrections)
    return correct(every, read_corrections(config), config.dataset, scratch=scratch)


def _assemble(config: Config, facts: Dataset, divided: DatasetSplit, balanced: Balanced, given: Examples | None) -> PreparedData:
    parts = divided.parts
    test = given if given is not None else parts.test
    assert test is not None  # noqa: S101 - the split has a test part unless a test set is given
    if few := few_texts(test):
        log.warning("%s", few)
        facts = facts.model_copy(update={"notes": (*facts.notes, few)})
    sizes = [f"{len(each):,}" for each in (balanced.examples, parts.validation, test)]
    log.info("%s texts to train on, %s to validate, %s to test, %d labels", *sizes, len(parts.train.labels))
    rows = sum(len(each) for each in (parts.train, parts.validation, parts.test) if each is not None)
    texts = len(divided.seen.trained) + (len(divided.seen.tested) if given is None else 0)
    row_counts = RowCounts(facts.rows_with_added, rows, texts if config.dataset.sample_count is None else None)
    return PreparedData(
        facts, balanced.examples, parts.validation, test, balanced.description, divided.seen, divided.served, row_counts
    )
