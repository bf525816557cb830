"""Units dealt to train, validation and test once more, around what an earlier version has seen of them.

So that the earlier version and the new one can be compared on a test part that neither was trained on.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from trainer.split.provenance import Standing
from trainer.split.stratify import Held, deal

TEST = 2  # the last of three parts
# Of the new examples, so that a model learns from most of what is new even where the test part begins anew.
MOST_TO_TEST = 0.5

Numbers = NDArray[np.int64]


def deal_again(
    counts: csr_matrix, sizes: Numbers, shares: NDArray[np.float64], standings: NDArray[np.int8], *, seed: int
) -> Numbers:
    """A part for each unit, as `dealing.deal` gives it, but none that is TRAINED comes to test, and all TESTED ones do.

    New units are dealt so that the parts as a whole have their shares, of the examples and of every label's. Where nothing
    is new, the seed decides nothing about the test part.
    """
    parts = np.full(len(sizes), TEST, np.int64)
    trained, new = np.flatnonzero(standings == Standing.TRAINED), np.flatnonzero(standings == Standing.NEW)
    if len(trained):
        parts[trained] = deal(counts[trained], sizes[trained], shares[:TEST] / shares[:TEST].sum(), seed=seed)
    if len(new):
        held = _held(counts, sizes, parts, standings != Standing.NEW, len(shares))
        most = max(1, MOST_TO_TEST * sizes[new].sum())
        parts[new] = deal(counts[new], sizes[new], shares, seed=seed, held=held)
        if sizes[new][parts[new] == TEST].sum() > most:
            parts[new] = deal(counts[new], sizes[new], _less_for_test(shares, held, sizes[new].sum()), seed=seed, held=held)
    return parts


def _held(counts: csr_matrix, sizes: Numbers, parts: Numbers, known: NDArray[np.bool_], count: int) -> Held:
    """What each part has of the units that are known."""
    members = [known & (parts == part) for part in range(count)]
    of_labels = [np.asarray(counts[each].sum(axis=0), np.int64).ravel() for each in members]
    return Held(np.stack(of_labels), np.array([sizes[each].sum() for each in members], np.int64))


def _less_for_test(shares: NDArray[np.float64], held: Held, new: int) -> NDArray[np.float64]:
    """The shares, with no more for test than `MOST_TO_TEST` of what is new can give it."""
    test = min(shares[TEST], (held.sizes[TEST] + MOST_TO_TEST * new) / (held.sizes.sum() + new))
    return np.array([*shares[:TEST] * (1 - test) / shares[:TEST].sum(), test])
