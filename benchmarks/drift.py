"""Drift index without drift, and after the mix of labels is reversed. Simulated, so it needs no data.

python benchmarks/drift.py
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.serving.drift import ReferenceDistribution

REFERENCE_TEXTS = (1000, 3000, 15000)
WINDOW_TEXTS = (10, 25, 50, 100, 200, 400, 800, 1500, 3000, 5000)
REPEATS = 400  # of each window, a tenth of them with the same reference


def main() -> None:
    """Print the largest index without drift for each number of labels and of reference texts, and how fast drift shows."""
    print("| labels | reference texts | plain, no drift | leaned, no drift | leaned, 100, 400 and 5,000 drifted texts |")
    for labels in (149, 24, 3):
        for texts in REFERENCE_TEXTS:
            print(f"| {labels} | {texts:,} | {' | '.join(_row(labels, texts))} |", flush=True)


def _row(labels: int, texts: int) -> list[str]:
    random = np.random.default_rng([labels, texts])
    likely = 1 / np.arange(1, labels + 1)
    likely /= likely.sum()
    plain, leaned, drifted = [], [], []
    for _ in range(REPEATS // 10):
        rates = random.multinomial(texts, likely) / texts
        baseline = ReferenceDistribution(rates.tolist(), texts=texts)
        same = [random.multinomial(window, likely) for window in WINDOW_TEXTS * 10]
        plain += [_plain(counts, rates * texts) for counts in same]
        leaned += [baseline.stability_index(counts) for counts in same]
        drifted.append([baseline.stability_index(random.multinomial(window, likely[::-1])) for window in (100, 400, 5000)])
    medians = np.median(drifted, axis=0)
    return [f"{max(plain):.2f}", f"{max(leaned):.3f}", ", ".join(f"{each:.2f}" for each in medians)]


def _plain(counts: NDArray[np.int64], reference: NDArray[np.float64]) -> float:
    """Return the index by the usual formula, with half a count added to each category."""
    seen, expected = counts + 0.5, reference + 0.5
    seen, expected = seen / seen.sum(), expected / expected.sum()
    return float(((seen - expected) * np.log(seen / expected)).sum())


if __name__ == "__main__":
    main()
