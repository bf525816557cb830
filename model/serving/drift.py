"""How far served texts are from those that a version was scored on. Knows no Prometheus and no threads.

The population stability index, sum((p - q) * ln(p / q)) over categories, where q is the reference's share and p what is
seen: below 0.1 nothing has changed, above 0.25 much has (Siddiqi, "Credit Risk Scorecards", 2006). Those marks were made
for large samples and ten categories. Without any drift, the index of n draws against a reference of m is about
(1/n + 1/m) times a chi-squared variable with one degree of freedom less than there are categories (Yurdakul,
"Statistical Properties of Population Stability Index", 2018), so that 149 labels of 100 texts would always alarm.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

NOTHING_CHANGED = 0.1
CHANCE = 1e-5  # that texts like the reference's pass NOTHING_CHANGED


class Baseline:
    """The distribution over some categories that the reference found in a number of draws.

    rates: each category's occurrences per text; texts: how many were looked at.
    """

    def __init__(self, rates: Sequence[float], *, texts: int) -> None:
        found = np.asarray(rates, np.float64) * texts
        smoothed = found + 0.5  # a label that was never given may be given once, and that is no alarm
        self._shares = smoothed / smoothed.sum()
        self._draws = float(found.sum())
        self._caution = _chi_squared(max(1, len(rates) - 1), beyond=CHANCE) / (4 * NOTHING_CHANGED)

    def stability_index(self, counts: NDArray[np.int64]) -> float:
        """Population stability index of what was counted [categories]; 0 where nothing was.

        The shares seen are first moved towards the reference's, by as much as the samples are small: only a part
        w = 1 / (1 + c * (1/n + 1/m)) of the difference is believed. Chance alone then gives w^2 * (1/n + 1/m) times the
        chi-squared variable, at most 1 / (4 * c) times it whatever n and m are; c is such that this is NOTHING_CHANGED
        for the variable's quantile at CHANCE.
        """
        draws = float(counts.sum())
        if not draws or not self._draws:
            return 0.0
        believed = 1 / (1 + self._caution * (1 / draws + 1 / self._draws))
        seen = self._shares + believed * (counts / draws - self._shares)
        return max(0.0, float(((seen - self._shares) * np.log(seen / self._shares)).sum()))


def _chi_squared(degrees: int, *, beyond: float) -> float:
    """The value that a chi-squared variable passes with this probability (Wilson and Hilferty, 1931)."""
    spread = 2 / (9 * degrees)
    return float(degrees * (1 - spread + NormalDist().inv_cdf(1 - beyond) * spread**0.5) ** 3)
