"""The whole run on one screen: labelled texts to a published version."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version as release
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from model.artifact import GRAPH, REPORT, TOKENIZER, describe, publish, require_unpublished, require_writable
from model.classifier import Classifier, Decision, Encoder, Graph
from model.manifest import AllScores, Architecture, BaselineScores, Candidate, Dataset, Manifest, Scores, TestSet, Training
from model.storage import ObjectStore, open_store
from trainer import near_duplicates
from trainer.architectures import linear
from trainer.architectures.exported import Exported
from trainer.checkpoints import Checkpoints
from trainer.config import Config
from trainer.cost import Cost
from trainer.evaluation import Answers, answer, evaluate, milliseconds_per_text, reference
from trainer.examples import Examples
from trainer.report import Part, write_report
from trainer.sources import read_examples, read_test_examples
from trainer.splitting import Parts, split
from trainer.thresholds import choose_thresholds

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Published:
    """A version that can be served, and where it is."""

    uri: str
    manifest: Manifest


@dataclass(frozen=True, eq=False)
class Data:
    """The dataset, divided, and what was found out about it."""

    facts: Dataset
    train: Examples
    validation: Examples
    test: Examples


@dataclass(frozen=True, eq=False)
class Tried:
    """An architecture that was fitted and scored on validation, as it would be served."""

    exported: Exported
    classifier: Classifier
    validation: Scores
    milliseconds_per_text: float


def run(config: Config, *, scratch: Path, now: datetime) -> Published:
    """Train and publish one version. Raises ConfigRejected, DatasetRejected, StorageError."""
    cost = Cost()
    config = config.model_copy(update={"version": config.version or f"{now:%Y%m%d-%H%M%S}"})
    store = open_store(f"{config.output_dir.rstrip('/')}/{config.name}/{config.version}/")
    require_unpublished(store)
    require_writable(open_store(f"{config.output_dir.rstrip('/')}/{config.name}/"))  # better known now than at the end
    data = prepare(config, scratch)
    checkpoints = Checkpoints.of(config, dataset_sha256=data.facts.sha256)
    tried = [measure(each, data) for each in fit(config, data, checkpoints, scratch)]
    chosen = choose(tried, config)
    answers = answer(chosen.classifier, data.test, "scoring the test part")
    manifest = write_down(config, data, tried, chosen, answers, cost=cost, now=now)
    published = hand_over(data, chosen, answers, manifest, store)
    checkpoints.clear()
    return published


def prepare(config: Config, scratch: Path) -> Data:
    """Read the dataset and divide it; a given test set is taken as it is."""
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
    groups = near_duplicates.groups(examples, config.split.near_duplicates)
    parts = split(examples, groups, config.split, seed=config.training.seed, with_test=test is None)
    notes = (*notes, *parts.notes)
    for note in notes:
        log.info("%s", note)
    return _data(facts.model_copy(update={"notes": notes}), parts, test)


def _data(facts: Dataset, parts: Parts, given: Examples | None) -> Data:
    test = given if given is not None else parts.test
    assert test is not None  # noqa: S101 - split makes one unless it was told that there is one
    sizes = [f"{len(each):,}" for each in (parts.train, parts.validation, test)]
    log.info("%s texts to train on, %s to validate, %s to test, %d labels", *sizes, len(parts.train.labels))
    return Data(facts, parts.train, parts.validation, test)


def fit(config: Config, data: Data, checkpoints: Checkpoints, scratch: Path) -> Iterator[Exported]:
    """The linear model, which every other is measured against, and the transformer if it is asked for."""
    wanted = config.training.architecture != "linear" and config.training.base_model
    if wanted:
        from trainer.architectures import transformer  # torch takes seconds to import

        transformer.require_base_model(config, scratch=scratch)
    yield linear.fit(data.train, data.validation, config, folder=scratch / "linear")
    if wanted:
        yield transformer.fit(data.train, data.validation, config, folder=scratch / "transformer", checkpoints=checkpoints)


def measure(exported: Exported, data: Data) -> Tried:
    """Choose thresholds on validation and score it, on the exported file."""
    encoder = Encoder(Tokenizer.from_file(str(exported.folder / TOKENIZER)), exported.max_length)
    graph, labels, task = Graph(exported.folder / GRAPH), data.train.labels, data.train.task
    unset = Classifier(encoder, graph, Decision(task, labels, np.zeros(len(labels), np.float32)))
    answers = answer(unset, data.validation, f"scoring {exported.architecture} on validation")
    thresholds = choose_thresholds(answers.probabilities, data.validation.targets, task)
    classifier = Classifier(encoder, graph, Decision(task, labels, thresholds))
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
    baseline = next(each for each in tried if each.exported.architecture is Architecture.LINEAR)
    test = evaluate(chosen.classifier, data.test, answers)
    baseline_test = test if baseline is chosen else _score_test(baseline, data.test)
    return Manifest(
        schema_version=1,
        classifier=config.name,
        version=config.version,
        created_at=now,
        task=data.train.task,
        labels=data.train.labels,
        thresholds=tuple(map(float, chosen.classifier.decision.thresholds)),
        max_length=chosen.exported.max_length,
        precision=chosen.exported.precision,
        files={},
        dataset=data.facts,
        training=_training(config, data, tried, chosen, cost),
        scores=AllScores(
            validation=chosen.validation,
            test=test,
            baseline=BaselineScores(architecture=Architecture.LINEAR, validation=baseline.validation, test=baseline_test),
            milliseconds_per_text=chosen.milliseconds_per_text,
        ),
        reference=reference(chosen.classifier, answers, max_length=chosen.exported.max_length),
    )


def hand_over(data: Data, chosen: Tried, answers: Answers, manifest: Manifest, store: ObjectStore) -> Published:
    """Write the report beside the graph and publish the folder."""
    folder, decision = chosen.exported.folder, chosen.classifier.decision
    part = Part(data.test.targets, answers.probabilities, decision.assigned(answers.probabilities), answers.token_lengths)
    write_report(folder / REPORT, manifest, part, data.train.label_counts(), data.facts.notes)
    complete = manifest.model_copy(update={"files": describe(folder)})
    log.info("publishing %s", store.uri)
    return Published(publish(folder, complete, store), complete)


def _score_test(tried: Tried, test: Examples) -> Scores:
    answers = answer(tried.classifier, test, f"scoring {tried.exported.architecture} on the test part")
    return evaluate(tried.classifier, test, answers)


def _training(config: Config, data: Data, tried: list[Tried], chosen: Tried, cost: Cost) -> Training:
    return Training(
        architecture=chosen.exported.architecture,
        base_model=chosen.exported.base_model,
        seed=config.training.seed,
        epochs=chosen.exported.epochs,
        balance="none",
        code_version=release("labelwright"),
        seconds=cost.seconds,
        cpu_seconds=cost.cpu_seconds,
        peak_memory_bytes=cost.peak_memory_bytes,
        examples={"train": len(data.train), "validation": len(data.validation), "test": len(data.test)},
        candidates=tuple(
            Candidate(
                architecture=each.exported.architecture,
                precision=each.exported.precision,
                validation_micro_f1=each.validation.micro_f1,
                milliseconds_per_text=each.milliseconds_per_text,
                seconds=each.exported.seconds,
                chosen=each is chosen,
            )
            for each in tried
        ),
    )
