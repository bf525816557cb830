"""Counts of texts do not depend on their batches."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.classifier import Floats, TokenizedText
from model.manifest import Task
from model.serving.traffic import CHUNK_TEXTS, WINDOW_TEXTS, TrafficCounts, TrafficStatistics
from tests.support.versions import LABELS, make_manifest

UNKNOWN = 3
SURE_OF_THE_FIRST = np.array([[0.9, 0.1, 0.2]], np.float32)
SURE_OF_THE_LAST = SURE_OF_THE_FIRST[:, ::-1]

TEXT = st.tuples(
    st.builds(TokenizedText, st.lists(st.integers(0, 5), max_size=20), st.booleans()),
    st.lists(st.sampled_from([0.0, 0.3, 0.5, 0.7, 1.0]), min_size=len(LABELS), max_size=len(LABELS)),
)
BATCHES = st.lists(st.lists(TEXT, min_size=1, max_size=8), max_size=8)


def started(task: Task = Task.MULTI_LABEL, *, unknown_id: int | None = UNKNOWN) -> TrafficStatistics:
    return TrafficStatistics(make_manifest(Path("no files"), task=task), unknown_id=unknown_id)


def flood(counted: TrafficStatistics, probabilities: Floats, *, texts: int, batch: int = 1) -> None:
    for _ in range(texts // batch):
        counted.add([TokenizedText([1, 2], truncated=False)] * batch, np.repeat(probabilities, batch, axis=0))


def plain(seen: TrafficCounts) -> list[object]:
    return [np.asarray(each).tolist() for each in seen]


@given(batches=BATCHES, task=st.sampled_from(Task))
def test_counts_add_up_however_texts_are_batched(batches: list[list[tuple[TokenizedText, list[float]]]], task: Task) -> None:
    counted = started(task)
    for batch in batches:
        counted.add([tokens for tokens, _ in batch], np.array([row for _, row in batch], np.float32))
    texts = [text for batch in batches for text in batch]
    ids = [tokens.ids for tokens, _ in texts]
    total, recent = counted.read()

    assert plain(total) == plain(recent)
    assert total.texts == len(texts) == total.lengths.sum()
    assert total.tokens == sum(map(len, ids))
    assert total.unknown_tokens == sum(each.count(UNKNOWN) for each in ids)
    assert total.truncated == sum(tokens.truncated for tokens, _ in texts)
    assert total.lengths.tolist() == [
        sum(len(each) <= 8 for each in ids),
        sum(8 < len(each) <= 16 for each in ids),
        sum(len(each) > 16 for each in ids),
    ]
    if task is Task.SINGLE_LABEL:
        assert total.below == 0
        assert total.labels.sum() == len(texts)
    else:
        assert total.below == sum(max(row) < 0.5 for _, row in texts)
        assert total.labels.sum() == total.below + sum(each >= 0.5 for _, row in texts for each in row)


def test_labels_are_those_that_the_versions_thresholds_give() -> None:
    counted = started()
    counted.add(
        [TokenizedText([1], truncated=False)] * 3, np.array([[0.5, 0.9, 0.1], [0.1, 0.2, 0.3], [0.6, 0.4, 0.4]], np.float32)
    )

    total, _ = counted.read()

    assert total.labels.tolist() == [2, 1, 1]
    assert total.below == 1


def test_without_an_unknown_token_none_is_counted() -> None:
    counted = started(unknown_id=None)
    counted.add([TokenizedText([0, 1, UNKNOWN], truncated=False)], SURE_OF_THE_FIRST)

    assert counted.read()[0].unknown_tokens == 0


@pytest.mark.parametrize("batch", [1, 32, 1024])
def test_the_window_is_bounded_and_forgets(batch: int) -> None:
    counted = started()
    flood(counted, SURE_OF_THE_FIRST, texts=2 * WINDOW_TEXTS, batch=batch)
    before = counted.read()[1]
    flood(counted, SURE_OF_THE_LAST, texts=WINDOW_TEXTS + 2 * max(CHUNK_TEXTS, batch), batch=batch)
    total, recent = counted.read()

    assert before.labels.tolist() == [before.texts, 0, 0]
    assert recent.labels.tolist() == [0, 0, recent.texts]
    for window in (before, recent):
        assert WINDOW_TEXTS <= window.texts <= WINDOW_TEXTS + CHUNK_TEXTS + batch
        assert window.tokens == 2 * window.texts
    assert total.labels.sum() == total.texts


def test_reading_often_changes_nothing() -> None:
    counted = started()
    for texts in range(1, 3 * CHUNK_TEXTS):
        flood(counted, SURE_OF_THE_FIRST, texts=1)
        total, recent = counted.read()
        assert total.texts == recent.texts == texts


def test_threads_lose_nothing() -> None:
    counted = started()
    with ThreadPoolExecutor(4) as pool:
        for _ in range(4):
            pool.submit(flood, counted, SURE_OF_THE_FIRST, texts=1000)
        seen = [counted.read()[0].texts for _ in range(50)]

    assert seen == sorted(seen)
    assert counted.read()[0].texts == 4000
