"""A version of the trainer can be loaded and served, and its report is complete."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from model.artifact import verify
from model.classifier import Classifier
from model.manifest import Manifest, Task
from tests.support.encoders import write_tiny_bert
from trainer.attempt import Attempt
from trainer.config.loading import load
from trainer.config.settings import Config
from trainer.data.reading import read_aligned
from trainer.evaluation.evaluate import answer, evaluate
from trainer.pipeline import run
from trainer.publishing import Published

WORDS = {"sport": "ball goal team match win", "food": "soup bread salt oven taste", "money": "bank loan rate price market"}


def write_texts(file: Path, *, several: bool, rows: int = 240) -> None:
    random = np.random.default_rng(0)
    texts, labels = [], []
    for _ in range(rows):
        own = sorted(random.choice(list(WORDS), size=random.integers(1, 3) if several else 1, replace=False))
        vocabulary = " ".join(WORDS[each] for each in own).split()
        texts.append(" ".join([*random.choice(vocabulary, 8), *random.choice(["the", "a", "of", "and"], 4)]))
        labels.append(own)
    pl.DataFrame({"text": texts, "labels": labels if several else [each[0] for each in labels]}).write_parquet(file)


def configured(file: Path, output: Path, **more: object) -> Config:
    settings = {
        "name": "tiny", "version": "v1", "output_dir": output.as_uri(), "dataset.uri": file.as_uri(),
        "dataset.text_columns": ["text"], "dataset.label_columns": ["labels"],
    }  # fmt: skip
    return load(None, settings | more)


@pytest.fixture(params=[True, False], ids=["multi-label", "single-label"])
def published(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Published, Path]:
    file = tmp_path / "texts.parquet"
    write_texts(file, several=request.param)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    config = configured(file, tmp_path / "models")
    return run(config, Attempt(), scratch=scratch, now=datetime(2026, 1, 1, tzinfo=UTC)), file


def test_the_server_loads_what_the_trainer_publishes_and_gives_the_right_labels(published: tuple[Published, Path]) -> None:
    version, _ = published
    classifier = Classifier.load(Path(version.uri.removeprefix("file://")))
    given = [each.labels[0] for each in classifier.predict(["the goal of the match", "salt and bread", "a loan rate"])]
    assert given == ["sport", "food", "money"]


def test_the_manifest_on_disk_is_the_one_that_was_returned(published: tuple[Published, Path]) -> None:
    version, _ = published
    assert verify(Path(version.uri.removeprefix("file://"))) == version.manifest


def test_the_manifests_scores_are_those_of_the_published_file(published: tuple[Published, Path], tmp_path: Path) -> None:
    version, file = published
    manifest: Manifest = version.manifest
    classifier = Classifier.load(Path(version.uri.removeprefix("file://")))
    config = configured(file, tmp_path / "models")
    again = tmp_path / "again"
    again.mkdir()
    examples = read_aligned(
        config.dataset,
        config.dataset.uri,
        labels=manifest.labels,
        task=manifest.task,
        label_required=manifest.label_required,
        scratch=again,
    ).examples
    scores = evaluate(classifier, examples, answer(classifier, examples, "scoring"))
    assert scores.micro_f1 >= 0.9
    assert abs(scores.micro_f1 - manifest.scores.test.micro_f1) < 0.1
    assert manifest.scores.test.texts == manifest.training.examples["test"]


def test_single_label_thresholds_are_zeros_and_every_text_gets_one_label(published: tuple[Published, Path]) -> None:
    version, _ = published
    classifier = Classifier.load(Path(version.uri.removeprefix("file://")))
    counts = {len(each.labels) for each in classifier.predict(["ball", "", "soup bank goal price bread"])}
    if version.manifest.task is Task.SINGLE_LABEL:
        assert set(version.manifest.thresholds) == {0}
        assert counts == {1}
    else:
        assert min(counts) >= 1


def test_auto_tries_both_architectures_and_publishes_the_faster_of_equals(tmp_path: Path) -> None:
    file, scratch, base = tmp_path / "texts.parquet", tmp_path / "scratch", tmp_path / "base"
    write_texts(file, several=True)
    scratch.mkdir()
    write_tiny_bert(base)
    config = configured(file, tmp_path / "models", **{"training.base_model": str(base), "training.num_epochs": 1})
    manifest = run(config, Attempt(), scratch=scratch, now=datetime(2026, 1, 1, tzinfo=UTC)).manifest
    tried = {each.architecture: each for each in manifest.training.candidates}
    assert set(tried) == {"linear", "transformer"}
    assert [each.chosen for each in tried.values()].count(True) == 1
    assert manifest.training.architecture == next(name for name, each in tried.items() if each.chosen)
    assert manifest.scores.baseline.architecture == "linear"
