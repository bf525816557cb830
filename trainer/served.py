"""The version that is served while another is trained: what it has seen, and how it does on the other's test part."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.artifact import PARTS, ArtifactRejected, fetch, read_file, read_manifest, read_published
from model.classifier import Classifier
from model.storage import ObjectMissing, ObjectStore, StorageRejected, open_store
from trainer.evaluation import answer
from trainer.examples import Examples
from trainer.gate import ServedScores
from trainer.scores import score
from trainer.seen_texts import SeenTexts

UNREADABLE = "the served version cannot be read, and nothing is compared with it: {}"
SILENT = (
    "the served version {} does not say which texts it was trained on: some of them may be in the test part, and its score "
    "there flattered"
)


@dataclass(frozen=True, eq=False)
class Seen:
    """What the served version says of the texts that it has seen: nothing, if it cannot be read or is of an older release.

    sha256: of what it says. note: why it says nothing, in a sentence. readable: whether it can be compared at all.
    """

    version: str = ""
    texts: SeenTexts | None = None
    sha256: str | None = None
    note: str = ""
    readable: bool = True


def read_seen(uri: str) -> Seen:
    """The served version's word on its texts. Raises StorageRejected, StorageUnavailable."""
    try:
        return _read_seen(open_store(uri))
    except StorageRejected as error:
        raise StorageRejected(f"gate.served_uri: {error}") from error
    except (ObjectMissing, ArtifactRejected) as error:
        return Seen(note=UNREADABLE.format(error), readable=False)


def _read_seen(store: ObjectStore) -> Seen:
    manifest = read_published(store).manifest
    expected = manifest.files.get(PARTS)
    if expected is None:
        return Seen(note=SILENT.format(manifest.version))
    content = read_file(store, manifest, PARTS)
    return Seen(manifest.version, SeenTexts.parse(content, where=store.uri + manifest.stored(PARTS)), expected.sha256)


def score_served(uri: str, test: Examples) -> ServedScores | str:
    """The served version's scores on these examples, by its own thresholds; or in a sentence why there are none.

    A label that it does not know counts as missed; one that the examples do not know is ignored. Raises StorageRejected,
    StorageUnavailable.
    """
    with tempfile.TemporaryDirectory(prefix="labelwright-served-") as scratch:
        try:
            folder = fetch(uri, Path(scratch))
            manifest = read_manifest(folder)
            classifier = Classifier.assemble(folder, manifest)
        except (ObjectMissing, ArtifactRejected) as error:
            return UNREADABLE.format(error)
        answers = answer(classifier, test, f"scoring the served version {manifest.version} on the test part")
    assigned = classifier.decision.assigned(answers.probabilities)
    aligned = [_aligned(each, manifest.labels, test.labels) for each in (answers.probabilities, assigned)]
    scores = score(aligned[0], aligned[1], test.targets, test.labels, label_required=test.label_required)
    return ServedScores(version=manifest.version, uri=uri, scores=scores)


def _aligned(columns: NDArray[Any], theirs: tuple[str, ...], ours: tuple[str, ...]) -> NDArray[Any]:
    """The columns of `theirs` in the order of `ours`; zeros for a label that is not among them."""
    place = {label: at for at, label in enumerate(theirs)}
    aligned = np.zeros((len(columns), len(ours)), columns.dtype)
    for at, label in enumerate(ours):
        if label in place:
            aligned[:, at] = columns[:, place[label]]
    return aligned
