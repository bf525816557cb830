"""Examples to train, validation and test: every label in each, no text in one that nearly stands in another.

Groups of near-duplicates are the units that trainer.split.stratify stratifies.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from trainer.config.settings import SplitConfig
from trainer.data.examples import Examples
from trainer.errors import DatasetRejected
from trainer.split.provenance import Standing
from trainer.split.stratify import deal
from trainer.split.stratify_again import TEST, deal_again

NAMES_SHOWN = 20
WITHOUT_LABEL = "(texts without a label)"
NEAR = "are near-duplicates"
NEAR_OR_SEEN = "are near-duplicates or were seen by the served version"
SEEN_TOO_MUCH = (
    "the served version has seen so many of the texts that no test part can be made without those that it was trained on: "
    "its score there is flattered"
)


@dataclass(frozen=True, eq=False)
class Parts:
    """The examples of each part, in order; notes name the labels that not every part could have."""

    train: Examples
    validation: Examples
    test: Examples | None
    notes: tuple[str, ...] = ()


def split(
    examples: Examples,
    groups: NDArray[np.int64],
    config: SplitConfig,
    *,
    seed: int,
    with_test: bool,
    standings: NDArray[np.int8] | None = None,
) -> Parts:
    """Every example in exactly one part, a group never in two; without `with_test`, no test part.

    groups: a number for each example, from 0 without gaps, as `near_duplicates.groups` gives.
    standings: what each group is to an earlier version [groups], a `seen_texts.Standing`; what that version was trained on
    then stays out of the test part, and what it was tested on stays in, unless that leaves a part empty, which a note tells.
    A label with as many groups as there are parts, or more, is in every part; where labels make that impossible for one
    another, the notes name them. Same seed, same split. Raises DatasetRejected if a part would be empty.
    """
    shares = [1 - config.validation_share, config.validation_share]
    if with_test:
        shares = [1 - config.validation_share - config.test_share, config.validation_share, config.test_share]
    units, sizes = _units(examples.strata(), groups)
    dealt, notes = _dealt(units, sizes, np.array(shares), standings if with_test else None, seed=seed)
    _refuse_empty(np.bincount(dealt[groups], minlength=len(shares)), groups=len(sizes), given=not with_test)
    chosen = [examples.select(np.flatnonzero(dealt[groups] == part)) for part in range(len(shares))]
    names = examples.labels if examples.label_required else (*examples.labels, WITHOUT_LABEL)
    notes += _notes(names, units, dealt, len(shares), NEAR if standings is None else NEAR_OR_SEEN)
    return Parts(chosen[0], chosen[1], chosen[2] if with_test else None, notes)


def _dealt(
    units: csr_matrix,
    sizes: NDArray[np.int64],
    shares: NDArray[np.float64],
    standings: NDArray[np.int8] | None,
    *,
    seed: int,
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """The part of each group, and a note if what was seen before could not be heeded."""
    plain = deal(units, sizes, shares, seed=seed)
    if standings is None or _keeps_test(plain, standings):
        return plain, ()
    dealt = deal_again(units, sizes, shares, standings, seed=seed)
    if len(np.unique(dealt)) == len(shares):
        return dealt, ()
    return plain, (SEEN_TOO_MUCH,)


def _keeps_test(dealt: NDArray[np.int64], standings: NDArray[np.int8]) -> bool:
    """Whether the test part is already the earlier version's: same data and same seed then give the same version again."""
    return bool(((dealt == TEST) == (standings == Standing.TESTED)).all())


def _refuse_empty(sizes: NDArray[np.int64], *, groups: int, given: bool) -> None:
    empty = [name for name, size in zip(("train", "validation", "test"), sizes, strict=False) if not size]
    if empty:
        counted = "1 group" if groups == 1 else f"{groups:,} groups"
        test_set = "" if given else "give a test set as dataset.test_uri, "
        raise DatasetRejected(
            f"nothing is left for the {' and the '.join(empty)} part: too few different texts, {sizes.sum():,} texts in "
            f"{counted} of near-duplicates, which stay together; add texts, {test_set}"
            "or set split.near_duplicates to 1, so that only equal texts stay together"
        )


def _units(targets: csr_matrix, groups: NDArray[np.int64]) -> tuple[csr_matrix, NDArray[np.int64]]:
    """How many examples of each group carry each label [groups, labels], and how many examples it has [groups]."""
    count = int(groups.max(initial=-1)) + 1
    members = csr_matrix(
        (np.ones(len(groups), dtype=np.int32), (groups, np.arange(len(groups)))), shape=(count, len(groups)), dtype=np.int32
    )
    units = csr_matrix(members @ targets.astype(np.int32))
    units.sort_indices()
    return units, np.bincount(groups, minlength=count).astype(np.int64)


def _notes(labels: tuple[str, ...], units: csr_matrix, dealt: NDArray[np.int64], parts: int, bound: str) -> tuple[str, ...]:
    """Labels that are not in every part, by the reason: too few texts, too few groups of near-duplicates, or other labels.

    bound: what is said of labels that have enough texts, in too few groups.
    """
    marks = csr_matrix((np.ones_like(units.data), units.indices, units.indptr), shape=units.shape)
    present = np.stack([np.asarray(marks[dealt == part].sum(axis=0)).ravel() for part in range(parts)])
    missing = np.flatnonzero((present == 0).any(axis=0) & (present.sum(axis=0) > 0))
    if not len(missing):
        return ()
    texts = np.asarray(units.sum(axis=0)).ravel()[missing]
    groups = np.asarray(marks.sum(axis=0)).ravel()[missing]
    few, near = texts < parts, (texts >= parts) & ((groups < parts) | (bound == NEAR_OR_SEEN))
    reasons = {
        f"since fewer than {parts} texts carry {{}}": few,
        f"since too many of their texts {bound}": near,
        "since the other labels of their texts decide where these go": ~few & ~near,
    }
    return tuple(_not_everywhere(labels, missing[those], why) for why, those in reasons.items() if those.any())


def _not_everywhere(labels: tuple[str, ...], missing: NDArray[np.int64], why: str) -> str:
    more = f" and {len(missing) - NAMES_SHOWN:,} more" if len(missing) > NAMES_SHOWN else ""
    named = ", ".join(labels[index] for index in missing[:NAMES_SHOWN]) + more
    which, each = ("label is", "it") if len(missing) == 1 else ("labels are", "each")
    return f"{len(missing):,} {which} not in every part, {why.format(each)}: {named}"
