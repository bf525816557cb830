"""The whole run on one screen: labelled texts to a published version."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime
from importlib.metadata import version as release
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from model.artifact import (
    GRAPH,
    PARTS,
    REPORT,
    SERVED,
    TOKENIZER,
    PublishedVersion,
    describe,
    publish,
    read_published,
    require_writable,
)
from model.classifier import Classifier, OnnxModel, PredictionRule, TextTokenizer
from model.gate import GateScores
from model.manifest import AllScores, ArchitectureName, BaselineScores, Candidate, Dataset, Manifest, Scores, TestSet, Training
from model.storage import ObjectExists, StorageRejected, open_store
from trainer.architectures.base import Exported
from trainer.architectures.linear import fit as linear
from trainer.attempt import Attempt
from trainer.balance.strategies import Balanced, balance
from trainer.config.settings import Config
from trainer.data.examples import Examples
from trainer.data.reading import read_examples, read_test_examples
from trainer.data.summary import NOTHING_READ, ReadingSummary
from trainer.errors import ConfigRejected
from trainer.evaluation.evaluate import Answers, answer, evaluate, milliseconds_per_text, reference
from trainer.evaluation.gate import ServedScores, comparison, judge, shortcomings
from trainer.evaluation.served import Used, score_served, served_then
from trainer.evaluation.thresholds import choose_thresholds
from trainer.report.page import Part, write_report
from trainer.run.checkpoints import Checkpoints
from trainer.run.cost import Cost
from trainer.run.identity import begin, find_published, open_run, settings_sha256, version_store
from trainer.split.provenance import UNREADABLE, ServedHistory, TextProvenance
from trainer.split.split import DatasetSplit, few_texts, split_dataset
from trainer.tracking.tracker import tracked
from trainer.tracking.training_metrics import Phase

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Published:
    """A version that can be served, where it is, and what is known of how it came to be.

    micro_f1_interval: half of its 95 % interval on the test part; none where an earlier attempt published.
    """

    uri: str
    manifest: Manifest
    manifest_sha256: str
    gate: GateScores
    best_checkpoint: str | None = None
    mlflow_run_id: str | None = None
    micro_f1_interval: float | None = None


@dataclass(frozen=True, eq=False)
class Data:
    """The dataset, divided, and what was found out about it.

    seen: the texts of each part, before balancing. served: what the served version says of those that it has seen. used: how
    much of the dataset is in the parts. reading: how the dataset was read.
    """

    facts: Dataset
    train: Examples
    validation: Examples
    test: Examples
    balance: str
    seen: TextProvenance
    served: ServedHistory
    used: Used
    reading: ReadingSummary = NOTHING_READ


@dataclass(frozen=True, eq=False)
class Tried:
    """An architecture that was fitted and scored on validation, as it would be served."""

    exported: Exported
    classifier: Classifier
    validation: Scores
    milliseconds_per_text: float


def run(config: Config, attempt: Attempt, *, scratch: Path, now: datetime) -> Published:
    """Train and publish one version, or find that an earlier attempt has.

    Raises ConfigRejected, DatasetRejected, StorageError, Terminated.
    """
    cost = Cost()
    if already := find_published(config):
        return _found(config, already, scratch)
    check(config, scratch)
    with tracked(config.tracking) as tracker:
        data = prepare(config, attempt, scratch)
        test = data.facts.test
        begun = begin(
            config,
            dataset_sha256=data.facts.sha256,
            test_sha256=test.sha256 if test else None,
            seen_sha256=data.served.sha256,
            now=now,
        )
        config = config.model_copy(update={"version": begun.version})
        tracker.begin(config, data.facts)
        attempt = replace(attempt, checkpoints=Checkpoints(begun.store), tracker=tracker)
        with the_others(config, attempt):
            tried = [measure(each, data, attempt) for each in fit(config, data, attempt, scratch)]
            published = conclude(config, data, tried, attempt, cost=cost, now=now)
    begun.forget()
    return published


def check(config: Config, scratch: Path) -> None:
    """Better known now than at the end: whether a version can be written, and whether the base model can be used."""
    try:
        require_writable(open_store(f"{config.output_dir.rstrip('/')}/{config.name}/"))
    except StorageRejected as error:
        raise ConfigRejected(f"output_dir is {config.output_dir!r}: {error}") from error
    if transformer_is_wanted(config):
        from trainer.architectures.transformer import fit as transformer

        transformer.require_base_model(config, scratch=scratch)


def assist(config: Config, attempt: Attempt, *, scratch: Path) -> None:
    """Do the part of one of several processes that is not the first: train with it, and wait until it has published."""
    if find_published(config) or not transformer_is_wanted(config):
        log.info("this process has nothing to do")
        return
    data = prepare(config, attempt, scratch)
    attempt = replace(attempt, checkpoints=Checkpoints(open_run(config, config.version or "").store))
    with the_others(config, attempt):
        from trainer.architectures.transformer import fit as transformer

        transformer.assist(data.train, data.validation, config, folder=scratch / "transformer", attempt=attempt)


def the_others(config: Config, attempt: Attempt) -> AbstractContextManager[None]:
    """Around what the processes of one training do, from when all have come until the first has published."""
    if attempt.processes.count > 1 and config.version is None:
        raise ConfigRejected(f"version is not set: the {attempt.processes.count} processes have to agree on one")
    if attempt.processes.count == 1 or not transformer_is_wanted(config):
        return nullcontext()
    from trainer.architectures.transformer.distributed import until_published  # torch takes seconds to import

    return until_published()


def conclude(config: Config, data: Data, tried: list[Tried], attempt: Attempt, *, cost: Cost, now: datetime) -> Published:
    """Choose, score on the test part, publish and tell."""
    chosen = choose(tried, config)
    attempt.metrics.phase(Phase.EVALUATING)
    answers = answer(chosen.classifier, data.test, "scoring the test part")
    data, served = beside_the_served(config, data)
    manifest = write_down(config, data, tried, chosen, answers, cost=cost, now=now)
    attempt.metrics.phase(Phase.PUBLISHING)
    published = hand_over(config, data, chosen, answers, manifest, served=served)
    for each in shortcomings(published.gate):
        log.warning("%s", each)
    report = chosen.exported.folder / REPORT
    attempt.tracker.published(published.manifest, report, uri=published.uri, gate=published.gate)
    return replace(published, mlflow_run_id=attempt.tracker.run_id)


def beside_the_served(config: Config, data: Data) -> tuple[Data, ServedScores | str | None]:
    """The served version's scores on the same test part; if it cannot be read, why not, and the data with a note of it."""
    if not config.gate.served_uri:
        return data, None
    if not data.served.readable:
        return data, data.served.note.removeprefix(UNREADABLE)
    found = score_served(config.gate.served_uri, data.test, data.used, manifest_sha256=config.gate.served_manifest_sha256)
    if isinstance(found, ServedScores):
        return data, found
    log.warning("%s", found)
    noted = data.facts.model_copy(update={"notes": (*data.facts.notes, found)})
    return replace(data, facts=noted), found.removeprefix(UNREADABLE)


def _found(config: Config, earlier: PublishedVersion, scratch: Path) -> Published:
    """An earlier attempt has published and may not have lived to tell: told again, and what it left is tidied up."""
    manifest = earlier.manifest
    store = version_store(config, manifest.version)
    log.info("%s is published already, by an earlier attempt", store.uri)
    store.download(manifest.stored(REPORT), scratch / REPORT)
    served = served_then(store, manifest)
    published = Published(
        store.uri, manifest, earlier.manifest_sha256, judge(config.gate, manifest.scores, manifest.task, served)
    )
    with tracked(config.tracking) as tracker:
        tracker.begin(config, manifest.dataset, only_interrupted=True)
        tracker.published(manifest, scratch / REPORT, uri=store.uri, gate=published.gate)
    open_run(config, manifest.version).forget()
    return replace(published, mlflow_run_id=tracker.run_id)


def prepare(config: Config, attempt: Attempt, scratch: Path) -> Data:
    """Read the dataset, divide it and balance the training part; a given test set is taken as it is."""
    attempt.metrics.phase(Phase.READING)
    log.info("reading %s", config.dataset.uri)
    for folder in ("dataset", "test"):
        (scratch / folder).mkdir()
    loaded = read_examples(config.dataset, scratch=scratch / "dataset", seed=config.training.seed)
    examples, facts, notes, test = loaded.examples, loaded.facts, loaded.notes, None
    if config.dataset.test_uri:
        given = read_test_examples(config.dataset, like=examples, scratch=scratch / "test")
        test, notes = given.examples, (*notes, *(f"test set: {note}" for note in given.notes))
        found = TestSet(uri=given.facts.uri, sha256=given.facts.sha256, rows=given.facts.rows)
        facts = facts.model_copy(update={"test": found})
    attempt.metrics.phase(Phase.SPLITTING)
    divided = split_dataset(examples, config, given=test)
    balanced = balance(divided.parts.train, config.balance, seed=config.training.seed)
    notes = (*notes, *divided.notes, *balanced.notes)
    for note in notes:
        log.info("%s", note)
    data = _data(config, facts.model_copy(update={"notes": notes}), divided, balanced, test)
    return replace(data, reading=loaded.reading)


def _data(config: Config, facts: Dataset, divided: DatasetSplit, balanced: Balanced, given: Examples | None) -> Data:
    parts = divided.parts
    test = given if given is not None else parts.test
    assert test is not None  # noqa: S101 - split makes one unless it was told that there is one
    if few := few_texts(test):
        log.warning("%s", few)
        facts = facts.model_copy(update={"notes": (*facts.notes, few)})
    sizes = [f"{len(each):,}" for each in (balanced.examples, parts.validation, test)]
    log.info("%s texts to train on, %s to validate, %s to test, %d labels", *sizes, len(parts.train.labels))
    rows = sum(len(each) for each in (parts.train, parts.validation, parts.test) if each is not None)
    texts = len(divided.seen.trained) + (len(divided.seen.tested) if given is None else 0)
    used = Used(facts.rows, rows, texts if config.dataset.sample_count is None else None)
    return Data(facts, balanced.examples, parts.validation, test, balanced.description, divided.seen, divided.served, used)


def transformer_is_wanted(config: Config) -> bool:
    """Whether an encoder is to be fine-tuned."""
    return config.training.architecture != "linear" and config.training.base_model is not None


def fit(config: Config, data: Data, attempt: Attempt, scratch: Path) -> Iterator[Exported]:
    """The transformer if it is asked for, and the linear model, which every other is measured against.

    The transformer first: it is what an interrupted run goes on with, and other processes may be waiting for it.
    """
    attempt.metrics.phase(Phase.FITTING)
    if transformer_is_wanted(config):
        from trainer.architectures.transformer import fit as transformer

        yield transformer.fit(data.train, data.validation, config, folder=scratch / "transformer", attempt=attempt)
    yield linear.fit(data.train, data.validation, config, folder=scratch / "linear")


def measure(exported: Exported, data: Data, attempt: Attempt) -> Tried:
    """Choose thresholds on validation and score it, on the exported file."""
    attempt.metrics.phase(Phase.EVALUATING)
    tokenizer = TextTokenizer(Tokenizer.from_file(str(exported.folder / TOKENIZER)), exported.max_length)
    graph, labels, task = OnnxModel(exported.folder / GRAPH), data.train.labels, data.train.task
    rule = PredictionRule(task, labels, np.zeros(len(labels), np.float32), data.train.label_required)
    unset = Classifier(tokenizer, graph, rule)
    answers = answer(unset, data.validation, f"scoring {exported.architecture} on validation")
    thresholds = choose_thresholds(answers.probabilities, data.validation.targets, task)
    classifier = Classifier(tokenizer, graph, replace(rule, thresholds=thresholds))
    scores = evaluate(classifier, data.validation, answers)
    tried = Tried(exported, classifier, scores, milliseconds_per_text(classifier, data.validation))
    log.info(
        "%s: validation micro-F1 %.4f, %.2f ms a text, fitted in %.0f s",
        exported.architecture, scores.micro_f1, tried.milliseconds_per_text, exported.seconds,
    )  # fmt: skip
    return tried


def choose(tried: list[Tried], config: Config) -> Tried:
    """The one that was asked for; with `auto`, the fastest to answer within tolerance of the best."""
    if config.training.architecture != "auto":
        return next(each for each in tried if each.exported.architecture == config.training.architecture)
    enough = max(each.validation.micro_f1 for each in tried) - config.training.tolerance
    return min((each for each in tried if each.validation.micro_f1 >= enough), key=lambda each: each.milliseconds_per_text)


def write_down(
    config: Config, data: Data, tried: list[Tried], chosen: Tried, answers: Answers, *, cost: Cost, now: datetime
) -> Manifest:
    """Everything about the version, but its files."""
    baseline = next(each for each in tried if each.exported.architecture is ArchitectureName.LINEAR)
    test = evaluate(chosen.classifier, data.test, answers)
    baseline_test = test if baseline is chosen else _score_test(baseline, data.test)
    return Manifest(
        schema_version=1 if data.train.label_required else 2,
        classifier=config.name,
        version=config.version or "",
        created_at=now,
        task=data.train.task,
        labels=data.train.labels,
        label_required=data.train.label_required,
        thresholds=tuple(map(float, chosen.classifier.rule.thresholds)),
        max_length=chosen.exported.max_length,
        precision=chosen.exported.precision,
        files={},
        dataset=data.facts,
        training=_training(config, data, tried, chosen, cost),
        scores=AllScores(
            validation=chosen.validation,
            test=test,
            baseline=BaselineScores(architecture=ArchitectureName.LINEAR, validation=baseline.validation, test=baseline_test),
            milliseconds_per_text=chosen.milliseconds_per_text,
        ),
        reference=reference(chosen.classifier, answers, max_length=chosen.exported.max_length),
    )


def hand_over(
    config: Config, data: Data, chosen: Tried, answers: Answers, manifest: Manifest, *, served: ServedScores | str | None = None
) -> Published:
    """Write the report beside the graph and publish the folder, unless another attempt at the same run was faster."""
    folder, rule = chosen.exported.folder, chosen.classifier.rule
    gate = judge(config.gate, manifest.scores, manifest.task, served)
    if compared := comparison(gate, len(data.test)):
        log.info("%s", compared)
    part = Part(data.test.targets, answers.probabilities, rule.assigned(answers.probabilities), answers.token_lengths)
    interval = write_report(
        folder / REPORT, manifest, part, data.train.label_counts(), data.facts.notes, comparison=compared, reading=data.reading
    )
    (folder / PARTS).write_bytes(data.seen.to_bytes())
    if isinstance(served, ServedScores):
        (folder / SERVED).write_text(f"{served.model_dump_json(indent=1)}\n")
    complete = manifest.model_copy(update={"files": describe(folder)})
    store, step = version_store(config, manifest.version), chosen.exported.best_step
    log.info("publishing %s", store.uri)
    try:
        published = publish(folder, complete, store)
    except ObjectExists:
        published = find_published(config) or read_published(store)
        gate = judge(
            config.gate,
            published.manifest.scores,
            published.manifest.task,
            served_then(store, published.manifest),
        )
    best = f"step-{step}" if step else None
    return Published(
        store.uri, published.manifest, published.manifest_sha256, gate, best_checkpoint=best, micro_f1_interval=interval
    )


def _score_test(tried: Tried, test: Examples) -> Scores:
    answers = answer(tried.classifier, test, f"scoring {tried.exported.architecture} on the test part")
    return evaluate(tried.classifier, test, answers)


def _training(config: Config, data: Data, tried: list[Tried], chosen: Tried, cost: Cost) -> Training:
    return Training(
        architecture=chosen.exported.architecture,
        base_model=chosen.exported.base_model,
        seed=config.training.seed,
        epochs=chosen.exported.epochs,
        balance=data.balance,
        code_version=release("labelwright"),
        settings_sha256=settings_sha256(config),
        seconds=cost.seconds,
        cpu_seconds=cost.cpu_seconds,
        gpu_seconds=sum(each.exported.gpu_seconds for each in tried),
        peak_memory_bytes=cost.peak_memory_bytes,
        examples={"train": len(data.train), "validation": len(data.validation), "test": len(data.test)},
        candidates=tuple(
            Candidate(
                architecture=each.exported.architecture,
                precision=each.exported.precision,
                validation_micro_f1=each.validation.micro_f1,
                milliseconds_per_text=each.milliseconds_per_text,
                seconds=each.exported.seconds,
                cpu_seconds=each.exported.cpu_seconds,
                gpu_seconds=each.exported.gpu_seconds,
                peak_memory_bytes=each.exported.peak_memory_bytes,
                chosen=each is chosen,
            )
            for each in tried
        ),
    )
