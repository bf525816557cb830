from __future__ import annotations

import hashlib
import logging
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from onnx import ModelProto
from scipy.sparse import csr_matrix
from tokenizers import Tokenizer

from model.artifact import GRAPH, TOKENIZER
from model.classifier import Floats, OnnxModel, TextTokenizer, to_probabilities
from model.manifest import ArchitectureName, Precision, Task
from trainer.architectures.linear import fit as linear
from trainer.architectures.linear.onnx_graph import Scorer, to_onnx
from trainer.architectures.parity import ExportFailed
from trainer.config.settings import Config
from trainer.data.examples import Examples
from trainer.features.tfidf import Features

TOPICS = {
    "astronomy": ["galaxy", "telescope", "redshift", "star", "cluster", "dark", "matter", "halo"],
    "biology": ["protein", "gene", "cell", "membrane", "expression", "dark", "matter", "enzyme"],
    "computing": ["neural", "network", "gradient", "descent", "compiler", "cache", "star", "join"],
}
SHARED = ["we", "show", "that", "the", "of", "a", "new", "method", "for", "and", "results"]


def examples(folder: Path, *, count: int, task: Task, seed: int = 0, labels: tuple[str, ...] = tuple(TOPICS)) -> Examples:
    """Texts of words of their label's topic; multi-label, some are about two."""
    random = np.random.default_rng(seed)
    texts, rows = [], np.zeros((count, len(labels)), np.uint8)
    for row in range(count):
        several = 1 + int(task is Task.MULTI_LABEL and random.random() < 0.3)
        chosen = random.choice(len(labels), min(several, len(labels)), replace=False)
        rows[row, chosen] = 1
        words = [word for at in chosen for word in random.choice(TOPICS[labels[at]], 6)] + list(random.choice(SHARED, 8))
        random.shuffle(words)
        texts.append(" ".join(words))
    file = folder / f"{task}-{count}-{seed}.parquet"
    pl.DataFrame({"text": texts}).write_parquet(file)
    return Examples(file, np.arange(count), labels, csr_matrix(rows), task)


def answers(folder: Path, texts: list[str]) -> Floats:
    """Logits as the server gets them."""
    tokenizer = TextTokenizer(Tokenizer.from_file(str(folder / TOKENIZER)), 512)
    return OnnxModel(folder / GRAPH).logits(tokenizer.encode(texts))


def digest(folder: Path) -> list[str]:
    return [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in (GRAPH, TOKENIZER)]


def settings(**linear_settings: object) -> Config:
    return Config.model_validate({"linear": linear_settings})


def test_its_model_needs_one_core(tmp_path: Path) -> None:
    train, validation = (examples(tmp_path, count=60, task=Task.SINGLE_LABEL, seed=seed) for seed in (0, 1))

    linear.fit(train, validation, Config(), folder=tmp_path / "linear")

    assert not OnnxModel(tmp_path / "linear" / GRAPH).multicore


@pytest.mark.parametrize("task", list(Task))
def test_it_learns_what_the_texts_are_about(tmp_path: Path, task: Task) -> None:
    train, validation = examples(tmp_path, count=300, task=task), examples(tmp_path, count=60, task=task, seed=1)
    unseen = examples(tmp_path, count=200, task=task, seed=2)

    exported = linear.fit(train, validation, Config(), folder=tmp_path / "linear")

    probabilities = to_probabilities(answers(exported.folder, unseen.texts()), task)
    truth = unseen.targets.toarray() == 1
    given = probabilities > 0.5
    assert (given == truth).mean() > 0.95
    # And the probabilities mean what they say: where it is unsure it is wrong, where it is sure it is not.
    assert np.abs(probabilities.mean(axis=0) - truth.mean(axis=0)).max() < 0.1
    assert exported.architecture is ArchitectureName.LINEAR
    assert exported.precision is Precision.INT8
    assert exported.base_model is None
    assert exported.epochs == Config().linear.passes
    assert exported.seconds > 0


def test_the_same_seed_gives_the_same_bytes_whatever_the_number_of_threads(tmp_path: Path) -> None:
    train, validation = (examples(tmp_path, count=200, task=Task.MULTI_LABEL, seed=each) for each in (0, 1))
    available = os.sched_getaffinity(0)
    first = linear.fit(train, validation, Config(), folder=tmp_path / "first")
    try:
        os.sched_setaffinity(0, {min(available)})
        second = linear.fit(train, validation, Config(), folder=tmp_path / "second")
    finally:
        os.sched_setaffinity(0, available)

    assert digest(first.folder) == digest(second.folder)


def test_another_seed_gives_other_weights(tmp_path: Path) -> None:
    train, validation = (examples(tmp_path, count=100, task=Task.MULTI_LABEL, seed=each) for each in (0, 1))
    first = linear.fit(train, validation, Config(), folder=tmp_path / "first")
    second = linear.fit(train, validation, Config.model_validate({"training": {"seed": 1}}), folder=tmp_path / "second")

    assert digest(first.folder)[0] != digest(second.folder)[0]


@pytest.mark.parametrize("task", list(Task))
def test_six_texts_and_two_labels_are_enough(tmp_path: Path, task: Task) -> None:
    few = examples(tmp_path, count=6, task=task, labels=("astronomy", "computing"))

    exported = linear.fit(few.select(np.arange(4)), few.select(np.arange(4, 6)), Config(), folder=tmp_path / "linear")

    assert np.isfinite(answers(exported.folder, ["", "telescope", "anything else"])).all()


def test_texts_without_any_word_still_give_a_classifier(tmp_path: Path) -> None:
    examples(tmp_path, count=6, task=Task.SINGLE_LABEL)
    file = tmp_path / "empty.parquet"
    pl.DataFrame({"text": ["", " ", "!", "?", "a", "b"]}).write_parquet(file)
    empty = Examples(file, np.arange(6), ("x", "y"), csr_matrix(np.eye(2, dtype=np.uint8)[[0, 0, 0, 0, 1, 1]]), Task.SINGLE_LABEL)

    exported = linear.fit(empty, empty, Config(), folder=tmp_path / "linear")

    assert answers(exported.folder, ["anything"]).argmax() == 0


def test_a_label_that_validation_lacks_is_still_found(tmp_path: Path) -> None:
    train, validation = (examples(tmp_path, count=300, task=Task.MULTI_LABEL, seed=each) for each in (0, 1))
    without = validation.select(np.flatnonzero(validation.targets.toarray()[:, 1] == 0))

    exported = linear.fit(train, without, Config(), folder=tmp_path / "linear")

    logits = answers(exported.folder, ["gene expression of a membrane protein in the cell", "galaxy redshift star telescope"])
    assert np.isfinite(logits).all()
    assert logits[0, 1] > logits[0, [0, 2]].max()
    assert logits[0, 1] > logits[1, 1]


def test_no_more_features_than_asked_for(tmp_path: Path) -> None:
    train = examples(tmp_path, count=100, task=Task.MULTI_LABEL)

    exported = linear.fit(train, train, settings(max_features=5), folder=tmp_path / "linear")

    tokenizer = Tokenizer.from_file(str(exported.folder / TOKENIZER))
    assert tokenizer.get_vocab_size() <= 5 + 2


def test_a_graph_that_differs_from_what_was_fitted_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train = examples(tmp_path, count=50, task=Task.MULTI_LABEL)

    def wrong(features: Features, scorer: Scorer) -> ModelProto:
        return to_onnx(features, replace(scorer, scale=scorer.scale * 2))

    monkeypatch.setattr("trainer.architectures.linear.fit.to_onnx", wrong)

    with pytest.raises(ExportFailed, match="differs from the fitted model by"):
        linear.fit(train, train, Config(), folder=tmp_path / "linear")


def test_it_says_how_far_it_is(tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> None:
    train = examples(tmp_path, count=50, task=Task.MULTI_LABEL)

    with caplog.at_level(logging.INFO):
        linear.fit(train, train, settings(passes=3), folder=tmp_path / "linear")

    assert "tokenized 50 texts" in caplog.text
    assert "as features" in caplog.text
    assert capsys.readouterr().out == ""
