"""Publish a version: its manifest, the gate's verdict, its report, the upload."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from importlib.metadata import version as release
from pathlib import Path

from model.artifact import PARTS, REPORT, SERVED, PublishedVersion, describe, publish, read_published
from model.gate import GateRecord
from model.manifest import AllScores, BaselineScores, Candidate, Manifest, Training
from model.scores import Scores
from model.storage import ObjectExists
from trainer.architectures.registry import BASELINE
from trainer.config.settings import Config
from trainer.data.examples import Examples
from trainer.evaluation.evaluate import Answers, answer, evaluate, reference
from trainer.evaluation.gate_measurement import Comparison, NotCompared, comparison, measure
from trainer.evaluation.served import read_comparison, score_served
from trainer.preparation import PreparedData
from trainer.report.page import Part, write_report
from trainer.run.cost import Cost
from trainer.run.identity import find_published, open_run, settings_sha256, version_store
from trainer.selection import ScoredCandidate
from trainer.split.provenance import UNREADABLE
from trainer.tracking.tracker import tracked

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Published:
    """A published version and its verdict.

    micro_f1_interval: half of its 95 % interval on the test part; None if an earlier attempt published the version.
    """

    uri: str
    manifest: Manifest
    manifest_sha256: str
    gate: GateRecord
    best_checkpoint: str | None = None
    mlflow_run_id: str | None = None
    micro_f1_interval: float | None = None


def report_earlier(config: Config, earlier: PublishedVersion, scratch: Path) -> Published:
    """Return the version that an earlier attempt has published, finish its tracking and delete its checkpoints.

    That attempt may have been killed in between.
    """
    manifest = earlier.manifest
    store = version_store(config, manifest.version)
    log.info("%s is published already, by an earlier attempt", store.uri)
    store.download(manifest.stored(REPORT), scratch / REPORT)
    served = read_comparison(store, manifest)
    published = Published(
        store.uri, manifest, earlier.manifest_sha256, measure(config.gate, manifest.scores, manifest.task, served)
    )
    with tracked(config.tracking) as tracker:
        tracker.begin(config, manifest.dataset, only_interrupted=True)
        tracker.published(manifest, scratch / REPORT, uri=store.uri, gate=published.gate)
    open_run(config, manifest.version).forget()
    return replace(published, mlflow_run_id=tracker.run_id)


def score_served_version(config: Config, data: PreparedData) -> tuple[PreparedData, Comparison]:
    """Return the served version's scores on the test part, or why there are none; and the data, with a note of that."""
    if not config.gate.served_uri:
        return data, None
    if data.served.not_compared is not None:
        return data, NotCompared(not_compared=data.served.not_compared)
    served = score_served(config.gate.served_uri, data.test, data.row_counts, manifest_sha256=config.gate.served_manifest_sha256)
    if not isinstance(served, NotCompared):
        return data, served
    note = f"{UNREADABLE}{served.not_compared}"
    log.warning("%s", note)
    return replace(data, facts=data.facts.model_copy(update={"notes": (*data.facts.notes, note)})), served


def make_manifest(
    config: Config,
    data: PreparedData,
    candidates: Sequence[ScoredCandidate],
    selected: ScoredCandidate,
    answers: Answers,
    *,
    cost: Cost,
    now: datetime,
) -> Manifest:
    """Return the version's manifest without its files. answers: of the selected candidate to the test part."""
    baseline = next(each for each in candidates if each.architecture is BASELINE.name)
    test = evaluate(selected.classifier, data.test, answers)
    baseline_test = test if baseline is selected else _score_on_test(baseline, data.test)
    return Manifest(
        schema_version=1 if data.train.label_required else 2,
        classifier=config.name,
        version=config.version or "",
        created_at=now,
        task=data.train.task,
        labels=data.train.labels,
        label_required=data.train.label_required,
        thresholds=tuple(map(float, selected.classifier.rule.thresholds)),
        max_length=selected.exported.max_length,
        precision=selected.exported.precision,
        files={},
        dataset=data.facts,
        training=_training(config, data, candidates, selected, cost),
        scores=AllScores(
            validation=selected.validation,
            test=test,
            baseline=BaselineScores(architecture=BASELINE.name, validation=baseline.validation, test=baseline_test),
            milliseconds_per_text=selected.milliseconds_per_text,
        ),
        reference=reference(selected.classifier, answers, max_length=selected.exported.max_length),
    )


def publish_version(
    config: Config,
    data: PreparedData,
    selected: ScoredCandidate,
    answers: Answers,
    manifest: Manifest,
    *,
    served: Comparison = None,
) -> Published:
    """Judge the version, write its report and upload it, unless another attempt at the same run was faster."""
    folder, rule = selected.exported.folder, selected.classifier.rule
    gate = measure(config.gate, manifest.scores, manifest.task, served)
    if compared := comparison(gate, len(data.test)):
        log.info("%s", compared)
    part = Part(data.test.targets, answers.probabilities, rule.assigned(answers.probabilities), answers.token_lengths)
    interval = write_report(
        folder / REPORT, manifest, part, data.train.label_counts(), data.facts.notes, comparison=compared, reading=data.reading
    )
    (folder / PARTS).write_bytes(data.seen.to_bytes())
    if served is not None:
        (folder / SERVED).write_text(f"{served.model_dump_json(indent=1)}\n")
    complete = manifest.model_copy(update={"files": describe(folder)})
    store, step = version_store(config, manifest.version), selected.exported.best_step
    log.info("publishing %s", store.uri)
    try:
        published = publish(folder, complete, store)
    except ObjectExists:
        published = find_published(config) or read_published(store)
        earlier = published.manifest
        gate = measure(config.gate, earlier.scores, earlier.task, read_comparison(store, earlier))
    best = f"step-{step}" if step else None
    return Published(
        store.uri, published.manifest, published.manifest_sha256, gate, best_checkpoint=best, micro_f1_interval=interval
    )


def _score_on_test(candidate: ScoredCandidate, test: Examples) -> Scores:
    answers = answer(candidate.classifier, test, f"scoring {candidate.architecture} on the test part")
    return evaluate(candidate.classifier, test, answers)


def _training(
    config: Config, data: PreparedData, candidates: Sequence[ScoredCandidate], selected: ScoredCandidate, cost: Cost
) -> Training:
    return Training(
        architecture=selected.architecture,
        base_model=selected.exported.base_model,
        seed=config.training.seed,
        epochs=selected.exported.epochs,
        balance=data.balance,
        code_version=release("labelwright"),
        settings_sha256=settings_sha256(config),
        seconds=cost.seconds,
        cpu_seconds=cost.cpu_seconds,
        gpu_seconds=sum(each.exported.gpu_seconds for each in candidates),
        peak_memory_bytes=cost.peak_memory_bytes,
        examples={"train": len(data.train), "validation": len(data.validation), "test": len(data.test)},
        candidates=tuple(
            Candidate(
                architecture=each.architecture,
                precision=each.exported.precision,
                validation_micro_f1=each.validation.micro_f1,
                milliseconds_per_text=each.milliseconds_per_text,
                seconds=each.exported.seconds,
                cpu_seconds=each.exported.cpu_seconds,
                gpu_seconds=each.exported.gpu_seconds,
                peak_memory_bytes=each.exported.peak_memory_bytes,
                chosen=each is selected,
            )
            for each in candidates
        ),
    )
