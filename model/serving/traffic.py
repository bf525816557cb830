"""Statistics of the classified texts: of all since the start, and of the most recent ones. Knows no Prometheus.

A batch is only stored when it is added, because most have one text. Later, many are counted together.
"""

from __future__ import annotations

import operator
from collections import deque
from collections.abc import Sequence
from threading import Lock
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.classifier import Floats, PredictionRule, TokenizedText
from model.manifest import Manifest

CHUNK_TEXTS = 250  # counted together, and dropped from the window together
WINDOW_TEXTS = 5000

Counts = NDArray[np.int64]


class TrafficCounts(NamedTuple):
    """Counts over some texts.

    labels: texts that were given each label [labels], by the version's own thresholds.
    lengths: texts in each of the reference's bins of token length [edges + 1].
    truncated: texts that were cut; below: texts without a label that reached its threshold.
    """

    labels: Counts
    lengths: Counts
    texts: int = 0
    tokens: int = 0
    unknown_tokens: int = 0
    truncated: int = 0
    below: int = 0

    def plus(self, other: TrafficCounts) -> TrafficCounts:
        return TrafficCounts(*map(operator.add, self, other))

    def minus(self, other: TrafficCounts) -> TrafficCounts:
        return TrafficCounts(*map(operator.sub, self, other))


class TrafficStatistics:
    """Counts of the texts that one version classified. Any thread may add and read."""

    def __init__(self, manifest: Manifest, *, unknown_id: int | None) -> None:
        self._rule = PredictionRule.from_manifest(manifest)
        self._edges = np.array(manifest.reference.token_length_edges, np.int64)
        self._unknown_id = -1 if unknown_id is None else unknown_id  # no token has it
        self._lock = Lock()
        self._noted: list[tuple[int, int, bool]] = []  # of each text not yet counted: tokens, unknown ones, whether cut
        self._probabilities: list[Floats] = []  # the same texts'
        self._total = TrafficCounts(np.zeros(len(manifest.labels), np.int64), np.zeros(len(self._edges) + 1, np.int64))
        self._before = deque([self._total])  # totals at the ends of chunks, from the window's beginning on

    def add(self, tokens: Sequence[TokenizedText], probabilities: Floats) -> None:
        """Add a batch. `probabilities` [texts, labels] is kept for a while, so it must not be changed."""
        unknown = self._unknown_id
        noted = [(len(each.ids), each.ids.count(unknown), each.truncated) for each in tokens]
        with self._lock:
            self._noted += noted
            self._probabilities.append(probabilities)
            if len(self._noted) >= CHUNK_TEXTS:
                self._count()

    def read(self) -> tuple[TrafficCounts, TrafficCounts]:
        """Return the counts of all texts since the start, and of the most recent ones: at least WINDOW_TEXTS, if there are."""
        with self._lock:
            self._count()
            return self._total, self._total.minus(self._before[0])

    def _count(self) -> None:
        """Count the stored batches."""
        if not self._noted:
            return
        self._total = self._total.plus(self._counts_of(np.array(self._noted, np.int64), np.concatenate(self._probabilities)))
        self._noted, self._probabilities = [], []
        if self._total.texts - self._before[-1].texts >= CHUNK_TEXTS:
            self._before.append(self._total)
        while len(self._before) > 1 and self._total.texts - self._before[1].texts >= WINDOW_TEXTS:
            self._before.popleft()

    def _counts_of(self, noted: Counts, probabilities: Floats) -> TrafficCounts:
        assigned = self._rule.assigned(probabilities)
        tokens, unknown, truncated = noted.sum(axis=0).tolist()
        bins = np.searchsorted(self._edges, noted[:, 0], side="left")
        # 0 if single-label, since the thresholds are 0.
        below = int(np.count_nonzero(~(probabilities >= self._rule.thresholds).any(axis=1)))
        lengths = np.bincount(bins, minlength=len(self._edges) + 1)
        return TrafficCounts(assigned.sum(axis=0), lengths, len(noted), tokens, unknown, truncated, below)
