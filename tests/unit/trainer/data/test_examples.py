"""Texts come back in the order that rows say, whatever that is."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from model.manifest import Task
from trainer.data.examples import WINDOW_ROWS, Examples

ROWS = 2 * WINDOW_ROWS + 100


@pytest.fixture(scope="module")
def all_of_them(tmp_path_factory: pytest.TempPathFactory) -> Examples:
    file = tmp_path_factory.mktemp("examples") / "texts.parquet"
    pl.DataFrame({"text": [f"text {row}" for row in range(ROWS)]}).write_parquet(file, row_group_size=WINDOW_ROWS)
    targets = csr_matrix(np.arange(ROWS).reshape(-1, 1) % 2, dtype=np.uint8)
    return Examples(file, np.arange(ROWS), ("odd",), targets, Task.MULTI_LABEL)


@settings(max_examples=30)
@given(rows=st.lists(st.integers(0, ROWS - 1), max_size=50), size=st.integers(1, 20))
def test_any_rows_in_any_order_give_their_texts_and_targets(all_of_them: Examples, rows: list[int], size: int) -> None:
    some = all_of_them.select(np.array(rows, np.int64))

    assert some.texts() == [f"text {row}" for row in rows]
    assert some.targets.toarray().ravel().tolist() == [row % 2 for row in rows]
    assert [text for batch in some.batches(size) for text in batch] == some.texts()
    assert all(len(batch) <= size for batch in some.batches(size))


def test_labels_are_counted(all_of_them: Examples) -> None:
    assert all_of_them.label_counts().tolist() == [ROWS // 2]


def test_all_texts_are_read_in_order(all_of_them: Examples) -> None:
    assert [text for batch in all_of_them.batches() for text in batch] == [f"text {row}" for row in range(ROWS)]


@given(rows=st.lists(st.integers(0, 19), max_size=30))
def test_rows_of_further_files_are_numbered_on(tmp_path_factory: pytest.TempPathFactory, rows: list[int]) -> None:
    folder = tmp_path_factory.mktemp("files")
    files = [folder / f"{at}.parquet" for at in range(3)]
    texts = [f"text {row}" for row in range(20)]
    pl.DataFrame({"text": texts[:9], "size": range(9)}).write_parquet(files[0])
    pl.DataFrame({"text": texts[9:10]}).write_parquet(files[1])
    pl.DataFrame({"text": texts[10:], "size": range(10)}).write_parquet(files[2])
    targets = csr_matrix((len(rows), 1), dtype=np.uint8)
    examples = Examples(files[0], np.array(rows, np.int64), ("any",), targets, Task.MULTI_LABEL, more_files=(files[1], files[2]))

    assert examples.texts() == [texts[row] for row in rows]
    assert examples.rows_in_files() == 20
