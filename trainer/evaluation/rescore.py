"""Score a published version on any dataset."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.artifact import fetch, read_manifest
from model.classifier import Classifier
from model.manifest import Manifest
from model.scores import Scores
from trainer.config.settings import DatasetConfig
from trainer.data.reading import read_aligned
from trainer.evaluation.error_analysis import compare, intervals
from trainer.evaluation.evaluate import answer, evaluate, milliseconds_per_text
from trainer.split.split import few_texts

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rescored:
    """Scores of a version on a dataset. result: content of `scores.json`, with the layout of the manifest.

    micro_f1_interval: half of the 95 % interval of its micro-F1 on the dataset.
    """

    result: dict[str, Any]
    micro_f1_interval: float


def rescore(uri: str, dataset: DatasetConfig, *, scratch: Path) -> Rescored:
    """Score the version on the dataset, and log how the dataset was read.

    The baseline of a linear version is the version itself. Other baselines are not published: their scores are copied from
    the manifest, and `baseline.dataset_sha256` shows that they were measured on the version's own test part.
    """
    for each in ("version", "dataset"):
        (scratch / each).mkdir()
    folder = fetch(uri, scratch / "version")
    manifest = read_manifest(folder)
    loaded = read_aligned(
        dataset,
        dataset.uri,
        labels=manifest.labels,
        task=manifest.task,
        label_required=manifest.label_required,
        scratch=scratch / "dataset",
    )
    few = few_texts(loaded.examples, "the dataset")
    for note in loaded.notes:
        log.info("%s", note)
    if few:
        log.warning("%s", few)
    classifier = Classifier.assemble(folder, manifest)
    answers = answer(classifier, loaded.examples, "scoring")
    scores = evaluate(classifier, loaded.examples, answers)
    decisions = compare(loaded.examples.targets, classifier.rule.assigned(answers.probabilities))
    result = {
        "classifier": manifest.classifier,
        "version": manifest.version,
        "task": manifest.task,
        "labels": manifest.labels,
        "label_required": manifest.label_required,
        "thresholds": manifest.thresholds,
        "dataset": loaded.facts.model_dump(mode="json"),
        "notes": (*loaded.notes, few) if few else loaded.notes,
        "scores": {
            "test": scores.model_dump(),
            "baseline": _baseline(manifest, scores, loaded.facts.sha256),
            "milliseconds_per_text": milliseconds_per_text(classifier, loaded.examples),
        },
    }
    return Rescored(result, intervals(decisions, seed=manifest.training.seed)[0])


def _baseline(manifest: Manifest, scores: Scores, dataset_sha256: str) -> dict[str, Any]:
    itself = manifest.training.architecture is manifest.scores.baseline.architecture
    return {
        "architecture": manifest.scores.baseline.architecture,
        "dataset_sha256": dataset_sha256 if itself else manifest.dataset.sha256,
        "test": (scores if itself else manifest.scores.baseline.test).model_dump(),
    }
