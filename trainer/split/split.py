"""Split examples into train, validation and test: every label in each, near-duplicates in one part.

Groups of near-duplicates are the units that trainer.split.stratify assigns. The texts that the served version has seen
constrain where they may go.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from trainer.config.settings import Config, SplitConfig
from trainer.data.examples import Examples
from trainer.data.tables import counted
from trainer.errors import DatasetRejected
from trainer.split import near_duplicates
from trainer.split.provenance import EarlierUse, Hashes, ServedHistory, TextProvenance, read_served_history
from trainer.split.stratify import TEST, stratify, stratify_around

FEW_TEXTS = 20
NAMES_SHOWN = 20
WITHOUT_LABEL = "(texts without a label)"
NEAR = "are near-duplicates"
NEAR_OR_SEEN = "are near-duplicates or were seen by the served version"
SEEN_TOO_MUCH = (
    "the served version was trained on too many of the texts to make a test part without them: its score there may be too high"
)


@dataclass(frozen=True, eq=False)
class Parts:
    """The examples of each part, in order; notes name the labels that are not in every part."""

    train: Examples
    validation: Examples
    test: Examples | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class DatasetSplit:
    """The parts, the hashes of their texts for the next version to read, and the texts that the served version has seen.

    notes: on the served version; the parts have their own.
    """

    parts: Parts
    seen: TextProvenance
    served: ServedHistory
    notes: tuple[str, ...]


def split_dataset(examples: Examples, config: Config, *, given: Examples | None) -> DatasetSplit:
    """Split the examples as configured. given: the test set, if there is one; then no test part is made.

    Raises DatasetRejected, StorageRejected, StorageUnavailable.
    """
    uri = config.gate.served_uri
    vouched = config.gate.served_manifest_sha256
    served = read_served_history(uri, manifest_sha256=vouched) if uri and given is None else ServedHistory()
    groups, hashes = near_duplicates.groups_and_hashes(examples, config.split.near_duplicates)
    earlier_use = served.texts.earlier_use(hashes, groups) if served.texts else None
    parts = split(examples, groups, config.split, seed=config.training.seed, with_test=given is None, earlier_use=earlier_use)
    notes = [served.note] if served.note else []
    if earlier_use is not None:
        notes += _comparison_notes(served.version, parts, known=bool((earlier_use != EarlierUse.NEW).any()))
    return DatasetSplit(parts, _provenance(examples, parts, hashes, given), served, tuple(notes))


def split(
    examples: Examples,
    groups: NDArray[np.int64],
    config: SplitConfig,
    *,
    seed: int,
    with_test: bool,
    earlier_use: NDArray[np.int8] | None = None,
) -> Parts:
    """Put every example into exactly one part, and every group into one part; without `with_test`, make no test part.

    groups: a number for each example, from 0 without gaps, as `near_duplicates.groups` returns [examples].
    earlier_use: an `EarlierUse` for each group [groups]. Groups that the earlier version was trained on then stay out of the
    test part, and those that it was tested on stay in it, unless that would leave a part empty, which a note says.
    A label with at least as many groups as there are parts is in every part; the notes name labels for which that fails,
    since they occur with others. Same seed, same split. Raises DatasetRejected if a part would be empty.
    """
    shares = [1 - config.validation_share, config.validation_share]
    if with_test:
        shares = [1 - config.validation_share - config.test_share, config.validation_share, config.test_share]
    units, sizes = units_of(examples.strata(), groups)
    assigned, notes = _assign(units, sizes, np.array(shares), earlier_use if with_test else None, seed=seed)
    _refuse_empty(np.bincount(assigned[groups], minlength=len(shares)), groups=len(sizes), given=not with_test)
    chosen = [examples.select(np.flatnonzero(assigned[groups] == part)) for part in range(len(shares))]
    names = examples.labels if examples.label_required else (*examples.labels, WITHOUT_LABEL)
    notes += _label_notes(names, units, assigned, len(shares), NEAR if earlier_use is None else NEAR_OR_SEEN)
    return Parts(chosen[0], chosen[1], chosen[2] if with_test else None, notes)


def _assign(
    units: csr_matrix,
    sizes: NDArray[np.int64],
    shares: NDArray[np.float64],
    earlier_use: NDArray[np.int8] | None,
    *,
    seed: int,
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return the part of each group [groups], and a note if the earlier use could not be respected."""
    plain = stratify(units, sizes, shares, seed=seed)
    if earlier_use is None or _keeps_test(plain, earlier_use):
        return plain, ()
    assigned = stratify_around(units, sizes, shares, earlier_use, seed=seed)
    if len(np.unique(assigned)) == len(shares):
        return assigned, ()
    return plain, (SEEN_TOO_MUCH,)


def _keeps_test(assigned: NDArray[np.int64], earlier_use: NDArray[np.int8]) -> bool:
    """Return whether the test part is already the earlier version's: same data and seed then give the same version."""
    return bool(((assigned == TEST) == (earlier_use == EarlierUse.TESTED)).all())


def few_texts(test: Examples, name: str = "the test part") -> str:
    """Return a warning if there are too few texts for their scores to mean much, else "". name: of the texts, in the warning."""
    if len(test) >= FEW_TEXTS:
        return ""
    remedy = "add texts, or give a test set" if name == "the test part" else "add texts"
    return f"{name} has {counted(len(test), 'text')}: its scores are mostly chance; {remedy}"


def _provenance(examples: Examples, parts: Parts, hashes: Hashes, given: Examples | None) -> TextProvenance:
    """Return the hashes of this version's own texts."""
    if parts.test is None:
        return TextProvenance.of(hashes, near_duplicates.text_hashes(given) if given is not None else hashes[:0])
    tested = np.isin(examples.rows, parts.test.rows)
    return TextProvenance.of(hashes[~tested], hashes[tested])


def _comparison_notes(version: str, parts: Parts, *, known: bool) -> list[str]:
    """Return what weakens the comparison with the served version. known: whether it has seen any of the texts."""
    notes = []
    if not known:
        notes.append(f"the served version {version} has seen no text of this dataset")
    if parts.test is not None and len(parts.test) < FEW_TEXTS:
        notes.append(f"the test part has {len(parts.test)} texts: a comparison with the served version {version} says little")
    return notes


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


def units_of(targets: csr_matrix, groups: NDArray[np.int64]) -> tuple[csr_matrix, NDArray[np.int64]]:
    """Return the examples of each group with each label [groups, labels], and the examples of each group [groups]."""
    count = int(groups.max(initial=-1)) + 1
    members = csr_matrix(
        (np.ones(len(groups), dtype=np.int32), (groups, np.arange(len(groups)))), shape=(count, len(groups)), dtype=np.int32
    )
    units = csr_matrix(members @ targets.astype(np.int32))
    units.sort_indices()
    return units, np.bincount(groups, minlength=count).astype(np.int64)


def _label_notes(
    labels: tuple[str, ...], units: csr_matrix, assigned: NDArray[np.int64], parts: int, bound: str
) -> tuple[str, ...]:
    """Return a note for each reason why labels are not in every part: too few texts, too few groups, or other labels.

    bound: why texts of labels with enough texts stay together.
    """
    marks = csr_matrix((np.ones_like(units.data), units.indices, units.indptr), shape=units.shape)
    present = np.stack([np.asarray(marks[assigned == part].sum(axis=0)).ravel() for part in range(parts)])
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
