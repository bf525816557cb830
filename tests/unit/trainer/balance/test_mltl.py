"""Which texts MLTL drops, on texts whose neighbours can be seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix, random_array

from model.manifest import Task
from trainer.balance import mltl
from trainer.balance.mltl import NO_NEIGHBOUR, label_distances, links, neighbours, threshold
from trainer.balance.strategies import balance
from trainer.config.settings import BalanceConfig
from trainer.data.examples import Examples

FILLER = [f"alpha{i} beta{i} gamma{i} delta{i}" for i in range(40)]


def examples_of(folder: Path, rows: list[tuple[str, str]]) -> Examples:
    """Texts and their labels, joined by commas."""
    file = folder / "texts.parquet"
    pl.DataFrame({"text": [text for text, _ in rows]}).write_parquet(file)
    labels = tuple(sorted({label for _, each in rows for label in each.split(",")}))
    marks = np.array([[label in each.split(",") for label in labels] for _, each in rows], np.uint8)
    several = bool((marks.sum(axis=1) > 1).any())
    task = Task.MULTI_LABEL if several else Task.SINGLE_LABEL
    return Examples(file, np.arange(len(rows)), labels, csr_matrix(marks), task)


def background(label: str = "common") -> list[tuple[str, str]]:
    """Forty pairs of texts that are each other's nearest and agree."""
    return [(text, label) for text in FILLER for _ in range(2)]


def test_a_frequent_text_whose_twin_is_of_another_label_goes_and_the_rare_twin_stays(tmp_path: Path) -> None:
    twins = [("quick brown foxes jump", "common"), ("quick brown foxes leap", "rare")]

    dropped = links(examples_of(tmp_path, twins + background()))

    assert np.flatnonzero(dropped).tolist() == [0]


def test_texts_that_agree_with_their_neighbours_stay(tmp_path: Path) -> None:
    twins = [("quick brown foxes jump", "rare"), ("quick brown foxes leap", "rare")]

    assert not links(examples_of(tmp_path, twins + background())).any()


def test_a_text_with_a_rare_label_stays_whatever_else_it_carries(tmp_path: Path) -> None:
    twins = [("quick brown foxes jump", "common,rare"), ("quick brown foxes leap", "other")]

    dropped = links(examples_of(tmp_path, twins + background() + background("other")[:60]))

    assert not dropped[0]


def test_a_neighbour_that_has_a_nearer_one_makes_no_link(tmp_path: Path) -> None:
    nearer = [("quick brown foxes leap today again", "rare"), ("brown foxes leap today again", "rare")]
    rows = [("quick brown foxes jump", "common"), *nearer]

    assert not links(examples_of(tmp_path, rows + background())).any()


def test_both_ends_go_where_both_are_frequent_and_differ(tmp_path: Path) -> None:
    twins = [("quick brown foxes jump", "common"), ("quick brown foxes leap", "other")]
    rows = twins + background() + [(f"{text} more", "other") for text, _ in background()] + [("rare text", "rare")]

    assert np.flatnonzero(links(examples_of(tmp_path, rows)))[:2].tolist() == [0, 1]


def test_a_text_that_shares_no_word_has_no_neighbour(tmp_path: Path) -> None:
    rows = [("", "common"), ("solitary", "common"), ("hermit", "rare"), *background()]

    assert not links(examples_of(tmp_path, rows)).any()


def test_balancing_by_links_is_reported_in_the_notes(tmp_path: Path) -> None:
    twins = [("quick brown foxes jump", "common"), ("quick brown foxes leap", "rare")]
    examples = examples_of(tmp_path, twins + background())

    balanced = balance(examples, BalanceConfig(sampling="mltl"), seed=0)

    assert balanced.examples.rows.tolist() == [*range(1, 82)]
    assert balanced.notes[0].startswith("balance, mltl: 81 texts of 82;")


@settings(max_examples=40)
@given(seed=st.integers(0, 2**31), rows=st.integers(2, 60), block=st.integers(1, 70))
def test_neighbours_are_those_of_the_whole_product_however_it_is_cut(seed: int, rows: int, block: int) -> None:
    random = np.random.default_rng(seed)
    matrix = csr_matrix(random_array((rows, 30), density=0.1, rng=random, dtype=np.float64), dtype=np.float32)
    products = (matrix @ matrix.T).toarray()
    np.fill_diagonal(products, 0)
    queries = np.flatnonzero(random.random(rows) < 0.7)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mltl, "BLOCK", block)
        patch.setattr(mltl, "QUERIES", 7)
        found = neighbours(matrix, queries)

    best = products[queries].max(axis=1)
    assert ((found == NO_NEIGHBOUR) == (best <= 0)).all()
    known = found != NO_NEIGHBOUR
    assert products[queries[known], found[known]] == pytest.approx(best[known], rel=1e-5)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        pytest.param((1, 1, 0), (1, 1, 0), 0.0, id="equal"),
        pytest.param((1, 0, 0), (0, 1, 1), 1.0, id="nothing-in-common"),
        pytest.param((1, 1, 0), (1, 0, 0), 0.5, id="one-of-two"),
        pytest.param((1, 1, 0), (0, 1, 1), 2 / 3, id="one-of-three"),
    ],
)
def test_the_distance_of_labels_is_the_share_that_only_one_has(
    one: tuple[int, ...], other: tuple[int, ...], expected: float
) -> None:
    targets = csr_matrix(np.array([one, other], np.uint8))

    assert label_distances(targets, np.array([0]), np.array([1])) == pytest.approx([expected])


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        pytest.param((10, 10), 0.5, id="even"),
        pytest.param((90, 10), 0.3, id="mean-ratio-5"),
        pytest.param((390, 10), 0.15, id="mean-ratio-20"),
    ],
)
def test_the_more_uneven_the_labels_the_less_different_they_have_to_be(counts: tuple[int, ...], expected: float) -> None:
    assert threshold(csr_matrix(np.repeat(np.eye(len(counts), dtype=np.uint8), counts, axis=0))) == expected
