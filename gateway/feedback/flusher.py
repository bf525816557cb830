"""Flusher: stores held corrections, each exactly once. Every worker has one. The flusher that leases a batch stores it.

A batch never changes, and determines the key and the content of its object. So a flusher may be killed at any step, and two may
store the same batch: the object is the same.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from gateway.config import GatewayConfig, SettingRejected
from gateway.feedback.batches import Batch, Batches
from gateway.feedback.metrics import FeedbackMetrics
from gateway.repeating import Repeating
from model.corrections import CorrectionsRejected, corrections_file, read_corrections_file
from model.storage import ObjectExists, ObjectStore, StorageError, StorageRejected, open_store

LOOK_SECONDS = 1.0
RETRY_SECONDS = 5.0

logger = logging.getLogger(__name__)


def open_feedback(config: GatewayConfig) -> ObjectStore | None:
    """Return the store of corrections; None without `feedback_uri`. Raises SettingRejected."""
    if config.feedback_uri is None:
        return None
    try:
        return open_store(config.feedback_uri)
    except StorageRejected as error:
        raise SettingRejected(f"feedback_uri: {error}") from error


def write(store: ObjectStore, batch: Batch) -> str:
    """Store the batch, unless its object exists, and return the key of the object.

    Raises StorageError, and CorrectionsRejected if the object exists with other rows.
    """
    key, content = corrections_file(batch.classifier, batch.rows)
    try:
        store.write(key, content, new=True)
    except ObjectExists:
        read_corrections_file(key, store.read(key))  # raises unless the rows have the SHA-256 of the key
    return key


class Flusher:
    """Flusher with its thread. classifiers: known classifiers, whose counters start at 0."""

    def __init__(
        self, batches: Batches, store: ObjectStore, metrics: FeedbackMetrics, classifiers: Callable[[], Iterable[str]]
    ) -> None:
        self._batches = batches
        self._store = store
        self._metrics = metrics
        self._classifiers = classifiers
        self.thread = Repeating("flusher", self._step, pause=LOOK_SECONDS)

    def flush(self) -> None:
        """Store the batches of all classifiers that are due now. Raises redis.exceptions.RedisError."""
        corrected = self._batches.classifiers()
        for classifier in {*self._classifiers(), *corrected}:
            self._metrics.know(classifier)
        for classifier in corrected:
            while not self.thread.is_stopped and self._flush_batch(classifier):
                pass

    def _step(self) -> bool:
        self.flush()
        return False

    def _flush_batch(self, classifier: str) -> bool:
        """Store one batch, and return whether there may be another."""
        batch = self._batches.cut(classifier)
        if batch is None:
            return False
        try:
            key = write(self._store, batch)
        except (StorageError, CorrectionsRejected) as error:
            self._metrics.failed(classifier)
            logger.warning("%d rows of %s could not be stored, and stay held: %s", len(batch.rows), classifier, error)
            self._batches.postpone(batch, seconds=RETRY_SECONDS)
            return False
        corrections = self._batches.forget(batch, key)
        if corrections is not None:
            self._metrics.stored(classifier, corrections)
            logger.info("%d rows of %s are stored as %s", len(batch.rows), classifier, key)
        return True
