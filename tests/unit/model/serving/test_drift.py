"""Drift is found if texts differ from the test part, and not by chance alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2

from model.serving.drift import NO_CHANGE_INDEX, ReferenceDistribution, _chi_squared

MUCH_CHANGED = 0.25
COUNTS = st.lists(st.integers(0, 10**9), min_size=3, max_size=3).map(np.array)


def shares(categories: int) -> np.ndarray:
    """Few frequent categories and many rare ones."""
    frequencies = 1 / np.arange(1, categories + 1)
    return frequencies / frequencies.sum()


@given(rates=st.lists(st.floats(0, 1), min_size=3, max_size=3), texts=st.integers(0, 10**6), counts=COUNTS)
def test_the_index_is_a_number_and_never_negative(rates: list[float], texts: int, counts: np.ndarray) -> None:
    index = ReferenceDistribution(rates, texts=texts).stability_index(counts)

    assert math.isfinite(index)
    assert index >= 0


@given(counts=COUNTS)
def test_what_the_reference_counted_is_no_drift(counts: np.ndarray) -> None:
    assert ReferenceDistribution(counts / 10**9, texts=10**9).stability_index(counts) < 0.01


def test_an_even_distribution_is_equal_to_itself() -> None:
    assert ReferenceDistribution([0.5] * 4, texts=100).stability_index(np.array([7] * 4)) == 0


@pytest.mark.parametrize(
    ("texts", "counts"),
    [pytest.param(100, [0, 0], id="nothing-seen-yet"), pytest.param(0, [3, 4], id="reference-of-nothing")],
)
def test_nothing_differs_from_nothing(texts: int, counts: list[int]) -> None:
    assert ReferenceDistribution([0.3, 0.7], texts=texts).stability_index(np.array(counts)) == 0


def test_large_samples_give_the_textbook_index() -> None:
    baseline, counts = ReferenceDistribution([0.5, 0.5], texts=10**9), np.array([8 * 10**8, 2 * 10**8])

    assert baseline.stability_index(counts) == pytest.approx(0.3 * math.log(0.8 / 0.5) - 0.3 * math.log(0.2 / 0.5), rel=1e-4)


@pytest.mark.parametrize("categories", [2, 3, 20, 24, 149])
@pytest.mark.parametrize("reference", [300, 1000, 15000])
def test_chance_raises_no_alarm_however_small_the_samples(categories: int, reference: int) -> None:
    random, likely = np.random.default_rng([categories, reference]), shares(categories)
    for _ in range(10):
        baseline = ReferenceDistribution(random.multinomial(reference, likely) / reference, texts=reference)
        seen = [random.multinomial(texts, likely) for texts in (1, 10, 30, 100, 300, 1000, 5000)]
        assert max(map(baseline.stability_index, seen)) < NO_CHANGE_INDEX


@pytest.mark.parametrize("categories", [2, 3, 20, 24, 149])
def test_another_mix_is_seen_within_some_hundred_texts(categories: int) -> None:
    random, likely = np.random.default_rng(categories), shares(categories)
    baseline = ReferenceDistribution(random.multinomial(3000, likely) / 3000, texts=3000)

    assert baseline.stability_index(random.multinomial(500, likely[::-1])) > MUCH_CHANGED


@pytest.mark.parametrize("degrees", [1, 2, 10, 148])
def test_the_quantile_is_that_of_chi_squared(degrees: int) -> None:
    assert _chi_squared(degrees, beyond=1e-4) == pytest.approx(chi2.isf(1e-4, degrees), rel=0.1)
