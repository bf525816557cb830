"""The steps of a training run, from labelled texts to a published version."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from model.artifact import REPORT, require_writable
from model.storage import StorageRejected, open_store
from trainer.architectures import registry
from trainer.architectures.base import Exported
from trainer.attempt import Attempt
from trainer.config.settings import Config
from trainer.errors import ConfigRejected
from trainer.evaluation.evaluate import answer
from trainer.preparation import PreparedData, prepare
from trainer.publishing import Published, make_manifest, publish_version, report_earlier, score_served_version
from trainer.run.checkpoint_store import Checkpoints
from trainer.run.cost import Cost
from trainer.run.identity import begin, find_published, open_run
from trainer.selection import ScoredCandidate, score_candidate, select
from trainer.tracking.tracker import tracked
from trainer.tracking.training_metrics import Phase

log = logging.getLogger(__name__)


def run(config: Config, attempt: Attempt, *, scratch: Path, now: datetime) -> Published:
    """Train and publish one version, or return the version that an earlier attempt published.

    Raises ConfigRejected, DatasetRejected, ExportFailed, StorageError, Terminated.
    """
    cost = Cost()
    if earlier := find_published(config):
        return report_earlier(config, earlier, scratch)
    check(config, scratch)
    _identify(config, attempt)
    with tracked(config.tracking) as tracker:
        data = prepare(config, attempt, scratch)
        test, corrections = data.facts.test, data.facts.corrections
        this_run = begin(
            config,
            dataset_sha256=data.facts.own_sha256,
            test_sha256=test.sha256 if test else None,
            corrections_sha256=corrections.sha256 if corrections else None,
            seen_sha256=data.served.sha256,
            now=now,
        )
        config = config.model_copy(update={"version": this_run.version})
        _identify(config, attempt)
        tracker.begin(config, data.facts)
        attempt = replace(attempt, checkpoints=Checkpoints(this_run.store), tracker=tracker)
        with registry.process_group(config, attempt.processes):
            candidates = []
            for exported in fit(config, data, attempt, scratch):
                attempt.metrics.phase(Phase.EVALUATING)
                candidates.append(score_candidate(exported, data.validation))
            published = conclude(config, data, candidates, attempt, cost=cost, now=now)
    this_run.forget()
    return published


def train_as_worker(config: Config, attempt: Attempt, *, scratch: Path) -> None:
    """On every rank but 0: train together with rank 0, and wait until it has published."""
    distributed = [each for each in registry.architectures_to_fit(config) if each.distributed]
    if find_published(config):
        log.info("the version is published already: this process has nothing to do")
        return
    if not distributed:
        log.info("rank 0 trains alone: this process has nothing to do")
        return
    _identify(config, attempt)
    data = prepare(config, attempt, scratch)
    attempt = replace(attempt, checkpoints=Checkpoints(open_run(config, config.version or "").store))
    with registry.process_group(config, attempt.processes):
        for each in distributed:
            each.train_as_worker(data.train, data.validation, config, folder=scratch / each.name, attempt=attempt)


def _identify(config: Config, attempt: Attempt) -> None:
    """Name the version in the metrics, as soon as it has a name."""
    if config.version:
        attempt.metrics.identify(config.name, config.version)


def check(config: Config, scratch: Path) -> None:
    """Check, before any work, that a version can be written and each architecture can be fitted.

    Raises ConfigRejected, StorageError.
    """
    try:
        require_writable(open_store(f"{config.output_dir.rstrip('/')}/{config.name}/"))
    except StorageRejected as error:
        raise ConfigRejected(f"output_dir is {config.output_dir!r}: {error}") from error
    for each in registry.architectures_to_fit(config):
        each.check(config, scratch=scratch)


def fit(config: Config, data: PreparedData, attempt: Attempt, scratch: Path) -> Iterator[Exported]:
    """Fit and export the configured architectures, one after the other."""
    for each in registry.architectures_to_fit(config):
        attempt.metrics.phase(Phase.FITTING)
        yield each.fit(data.train, data.validation, config, folder=scratch / each.name, attempt=attempt)


def conclude(
    config: Config,
    data: PreparedData,
    candidates: Sequence[ScoredCandidate],
    attempt: Attempt,
    *,
    cost: Cost,
    now: datetime,
) -> Published:
    """Select a candidate, score it and the served version on the test part, and publish it."""
    selected = select(candidates, config.training)
    attempt.metrics.phase(Phase.EVALUATING)
    answers = answer(selected.classifier, data.test, "scoring the test part")
    data, served = score_served_version(config, data)
    manifest = make_manifest(config, data, candidates, selected, answers, cost=cost, now=now)
    attempt.metrics.phase(Phase.PUBLISHING)
    published = publish_version(config, data, selected, answers, manifest, served=served)
    if not (verdict := published.gate.verdict).passed:
        log.warning("%s", verdict.message)
    report = selected.exported.folder / REPORT
    attempt.tracker.published(published.manifest, report, uri=published.uri, gate=published.gate)
    return replace(published, mlflow_run_id=attempt.tracker.run_id)
