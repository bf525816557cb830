"""Drift: the difference between recent texts and the test part. Knows no Prometheus and no threads.

It is measured as the population stability index, sum((p - q) * ln(p / q)) over categories, where q is the share in the reference
and p the share in recent texts. Below 0.1 there is no change, above 0.25 a large one (Siddiqi, "Credit Risk Scorecards", 2006).
These limits were made for large samples and ten categories. Without drift, the index of n draws against a reference of m draws
is about (1/n + 1/m) times a chi-squared variable with one degree of freedom less than there are categories (Yurdakul,
"Statistical Properties of Population Stability Index", 2018). So 149 labels on 100 texts would always raise an alarm.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

NO_CHANGE_INDEX = 0.1
FALSE_ALARM_PROBABILITY = 1e-5  # that the index of texts like the reference's exceeds NO_CHANGE_INDEX


class ReferenceDistribution:
    """Distribution of the test part over some categories.

    rates: occurrences of each category per text; texts: number of texts.
    """

    def __init__(self, rates: Sequence[float], *, texts: int) -> None:
        counts = np.asarray(rates, np.float64) * texts
        smoothed = counts + 0.5  # so that the first occurrence of a category raises no alarm
        self._shares = smoothed / smoothed.sum()
        self._draws = float(counts.sum())
        self._caution = _chi_squared(max(1, len(rates) - 1), beyond=FALSE_ALARM_PROBABILITY) / (4 * NO_CHANGE_INDEX)

    def stability_index(self, counts: NDArray[np.int64]) -> float:
        """Return the population stability index of `counts` [categories]; 0 if all are 0.

        The shares are first moved towards the reference's, more so for small samples: only a part w = 1 / (1 + c * (1/n + 1/m))
        of the difference is kept. Chance alone then gives w^2 * (1/n + 1/m) times the chi-squared variable, which for any n and m
        is at most 1 / (4 * c) times that variable. c is chosen so that this is NO_CHANGE_INDEX for the variable's quantile at
        FALSE_ALARM_PROBABILITY.
        """
        draws = float(counts.sum())
        if not draws or not self._draws:
            return 0.0
        weight = 1 / (1 + self._caution * (1 / draws + 1 / self._draws))
        shares = self._shares + weight * (counts / draws - self._shares)
        return max(0.0, float(((shares - self._shares) * np.log(shares / self._shares)).sum()))


def _chi_squared(degrees: int, *, beyond: float) -> float:
    """Return the value that a chi-squared variable exceeds with this probability (Wilson and Hilferty, 1931)."""
    spread = 2 / (9 * degrees)
    return float(degrees * (1 - spread + NormalDist().inv_cdf(1 - beyond) * spread**0.5) ** 3)
