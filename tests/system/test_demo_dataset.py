from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from labelwright import demo_dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    file: Path = tmp_path_factory.mktemp("docstrings") / "docstrings.parquet"
    demo_dataset.write_dataset(file)
    return pl.read_parquet(file)


def test_there_are_enough_texts_and_labels_to_learn_from(dataset: pl.DataFrame) -> None:
    assert len(dataset) >= 15_000
    assert dataset["labels"].explode().n_unique() >= 30


def test_no_text_contains_one_of_its_labels(dataset: pl.DataFrame) -> None:
    pairs = dataset.explode("labels").with_columns(text=pl.col("text").str.to_lowercase())
    leaking = pairs.filter(pl.col("text").str.contains(pl.col("labels"), literal=True))
    assert leaking.is_empty()


def test_a_text_carries_its_library_and_at_most_one_area_of_it(dataset: pl.DataFrame) -> None:
    for labels in dataset["labels"].unique().to_list():
        library, *areas = labels
        assert library in demo_dataset.LIBRARIES
        assert len(areas) <= 1
        assert all(each.startswith(f"{library}.") for each in areas)
