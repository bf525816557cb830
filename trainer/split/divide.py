"""Examples to parts: what nearly is the same stays together, and what the served version has seen decides where it may go."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trainer.config.settings import Config
from trainer.data.examples import Examples
from trainer.data.tables import counted
from trainer.split import near_duplicates
from trainer.split.provenance import Hashes, ServedHistory, Standing, TextProvenance, read_served_history
from trainer.split.split import Parts, split

FEW_TEXTS = 20


@dataclass(frozen=True, eq=False)
class Divided:
    """The parts, the texts of each for the next version to read, and what the served version says of those it has seen."""

    parts: Parts
    seen: TextProvenance
    served: ServedHistory
    notes: tuple[str, ...]


def divide(examples: Examples, config: Config, *, given: Examples | None) -> Divided:
    """The examples as parts; `given` is the test set, if there is one: then no part is made for it.

    Raises DatasetRejected, StorageRejected, StorageUnavailable.
    """
    uri = config.gate.served_uri
    vouched = config.gate.served_manifest_sha256
    served = read_served_history(uri, manifest_sha256=vouched) if uri and given is None else ServedHistory()
    groups, hashes = near_duplicates.groups_and_hashes(examples, config.split.near_duplicates)
    standings = served.texts.standings(hashes, groups) if served.texts else None
    parts = split(examples, groups, config.split, seed=config.training.seed, with_test=given is None, standings=standings)
    notes = [served.note] if served.note else []
    if standings is not None:
        notes += _notes(served.version, parts, known=bool((standings != Standing.NEW).any()))
    return Divided(parts, _seen(examples, parts, hashes, given), served, (*notes, *parts.notes))


def few_texts(test: Examples, name: str = "the test part") -> str:
    """Return a sentence if the texts that are scored are so few that their scores are mostly chance; "" if not.

    name: what the texts are, for the sentence.
    """
    if len(test) >= FEW_TEXTS:
        return ""
    remedy = "add texts, or give a test set" if name == "the test part" else "add texts"
    return f"{name} has {counted(len(test), 'text')}: its scores are mostly chance; {remedy}"


def _seen(examples: Examples, parts: Parts, hashes: Hashes, given: Examples | None) -> TextProvenance:
    """What there is to say of this version's own texts."""
    if parts.test is None:
        return TextProvenance.of(hashes, near_duplicates.text_hashes(given) if given is not None else hashes[:0])
    tested = np.isin(examples.rows, parts.test.rows)
    return TextProvenance.of(hashes[~tested], hashes[tested])


def _notes(version: str, parts: Parts, *, known: bool) -> list[str]:
    """What weakens the comparison with the served version."""
    notes = []
    if not known:
        notes.append(f"the served version {version} has seen no text of this dataset")
    if parts.test is not None and len(parts.test) < FEW_TEXTS:
        notes.append(f"the test part has {len(parts.test)} texts: a comparison with the served version {version} says little")
    return notes
