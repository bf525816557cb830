"""Score the served version on the test part of a new one, and compare their datasets."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from model.artifact import PARTS, SERVED, ArtifactRejected, fetch, read_file, read_manifest
from model.classifier import Classifier
from model.gate import MAX_NAME_CHARACTERS, MAX_SHOWN_NAMES, DataChange, LabelFall, label_has_fallen
from model.manifest import Manifest
from model.scores import LabelScores
from model.storage import ObjectMissing, ObjectStore
from trainer.data.examples import Examples
from trainer.evaluation.evaluate import answer
from trainer.evaluation.gate_measurement import Comparison, NotCompared, ServedScores
from trainer.evaluation.scoring import score
from trainer.split.provenance import TextProvenance

_COMPARISON: TypeAdapter[ServedScores | NotCompared] = TypeAdapter(ServedScores | NotCompared)


@dataclass(frozen=True)
class RowCounts:
    """Numbers of a dataset's rows. read: all rows. used: those in one of the parts.

    distinct_texts: number of distinct texts among the used rows; None for a sample.
    """

    read: int
    used: int
    distinct_texts: int | None


def score_served(
    uri: str, test: Examples, row_counts: RowCounts | None = None, *, manifest_sha256: str | None = None
) -> ServedScores | NotCompared:
    """Return the served version's scores on these examples, with its own thresholds; or the reason why it cannot be scored.

    Labels that it does not know count as missed; labels that the examples do not have are ignored. row_counts: of the
    examples' dataset; None: numbers of rows are not compared. manifest_sha256: expected SHA-256 of its manifest; None: any.
    Raises StorageRejected, StorageUnavailable.
    """
    with tempfile.TemporaryDirectory(prefix="labelwright-served-") as scratch:
        try:
            folder = fetch(uri, Path(scratch), manifest_sha256=manifest_sha256)
            manifest = read_manifest(folder, sha256=manifest_sha256)
            classifier = Classifier.assemble(folder, manifest)
            texts_before = _distinct_texts(folder, manifest)
        except (ObjectMissing, ArtifactRejected) as error:
            return NotCompared(not_compared=str(error))
        answers = answer(classifier, test, f"scoring the served version {manifest.version} on the test part")
    assigned = classifier.rule.assigned(answers.probabilities)
    aligned = [_aligned(each, manifest.labels, test.labels) for each in (answers.probabilities, assigned)]
    scores = score(aligned[0], aligned[1], test.targets, test.labels, label_required=test.label_required)
    change = _change(manifest, test, aligned[1], assigned)
    if row_counts is not None:
        before = {"labelled_before": texts_before, "rows_before": manifest.dataset.rows_with_added}
        now = {"labelled": row_counts.distinct_texts, "rows": row_counts.read, "used": row_counts.used}
        change = change.model_copy(update={**before, **now})
    return ServedScores(version=manifest.version, uri=uri, scores=scores, data=change)


def read_comparison(store: ObjectStore, manifest: Manifest) -> Comparison:
    """Return the scores that the version was compared with when it was published, or why it was not compared.

    None if no version was served then.
    """
    if SERVED not in manifest.files:
        return None
    return _COMPARISON.validate_json(read_file(store, manifest, SERVED))


def _distinct_texts(folder: Path, manifest: Manifest) -> int | None:
    """Return the number of distinct texts in the version's dataset; None if not recorded. Raises ArtifactRejected."""
    if PARTS not in manifest.files:
        return None
    seen = TextProvenance.parse((folder / manifest.stored(PARTS)).read_bytes(), where=PARTS)
    return len(seen.trained) + (0 if manifest.dataset.test else len(seen.tested))


def _change(manifest: Manifest, test: Examples, aligned: NDArray[np.bool_], assigned: NDArray[np.bool_]) -> DataChange:
    """Return how the served version's scores and labels differ from those on its own test part.

    Only these texts count: those with a label that it knows and, if no label is required, those without any label.
    aligned: its predictions, with a column for each label of the examples. assigned: the same, for each of its own labels. Both
    [texts, labels].
    """
    truth, known_labels = test.targets.toarray().astype(np.bool_), set(manifest.labels)
    shared = np.array([label in known_labels for label in test.labels])
    known = truth[:, shared].any(axis=1)
    if not test.label_required:
        known |= ~truth.any(axis=1)
    truth = truth & shared
    true_positives, support = (truth & aligned)[known].sum(axis=0), truth[known].sum(axis=0)
    scores_before = manifest.scores.test.per_label
    falls = [
        _label_fall(label, scores_before[label], int(true_positives[at]), int(support[at]))
        for at, label in enumerate(test.labels)
        if label in scores_before
    ]
    fallen = [each for each in falls if label_has_fallen(each, labels=len(falls))]
    fallen.sort(key=lambda each: (each.recall - each.recall_before, each.label))
    lost = sorted(known_labels - set(test.labels), key=lambda label: (-_support(scores_before, label), label))
    supports = sum(each.support for each in scores_before.values())
    return DataChange(
        score_before=manifest.scores.test.micro_f1,
        texts_before=manifest.scores.test.texts,
        score=float(2 * true_positives.sum() / max(1, assigned[known].sum() + support.sum())),
        texts=int(known.sum()),
        fallen=tuple(fallen[:MAX_SHOWN_NAMES]),
        fallen_count=len(fallen),
        lost=tuple(label[:MAX_NAME_CHARACTERS] for label in lost[:MAX_SHOWN_NAMES]),
        lost_count=len(lost),
        lost_share=sum(_support(scores_before, label) for label in lost) / max(1, supports),
    )


def _label_fall(label: str, before: LabelScores, true_positives: int, support: int) -> LabelFall:
    return LabelFall(
        label=label[:MAX_NAME_CHARACTERS],
        texts_before=before.support,
        recall_before=before.recall,
        texts=support,
        recall=true_positives / max(1, support),
    )


def _support(scores: dict[str, LabelScores], label: str) -> int:
    return scores[label].support if label in scores else 0


def _aligned(columns: NDArray[Any], labels: tuple[str, ...], target: tuple[str, ...]) -> NDArray[Any]:
    """Return the columns, which belong to `labels`, in the order of `target`; zeros for labels that are not in `labels`."""
    place = {label: at for at, label in enumerate(labels)}
    aligned = np.zeros((len(columns), len(target)), columns.dtype)
    for at, label in enumerate(target):
        if label in place:
            aligned[:, at] = columns[:, place[label]]
    return aligned
