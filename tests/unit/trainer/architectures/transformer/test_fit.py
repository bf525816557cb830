from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from model.artifact import GRAPH, TOKENIZER
from model.classifier import Classifier, OnnxModel, PredictionRule, TextTokenizer
from model.manifest import ArchitectureName, Precision, Task
from tests.support.encoders import pet_examples, training, write_tiny_bert
from trainer.architectures.base import Exported
from trainer.architectures.transformer import fit as transformer
from trainer.architectures.transformer.validation import micro_f1_of
from trainer.attempt import Attempt
from trainer.data.examples import Examples
from trainer.evaluation.evaluate import answer


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """The networks are so small that threads would only wait for each other."""
    torch.set_num_threads(1)


@pytest.fixture(scope="module", params=list(Task))
def task(request: pytest.FixtureRequest) -> Task:
    chosen: Task = request.param
    return chosen


@pytest.fixture(scope="module")
def fitted(task: Task, tmp_path_factory: pytest.TempPathFactory) -> tuple[Exported, Examples]:
    """A tiny encoder that was fitted to pets, and the examples that it was validated with."""
    folder = tmp_path_factory.mktemp(task)
    torch.set_num_threads(1)
    train, validation = pet_examples(folder, count=480, task=task), pet_examples(folder, count=96, task=task, seed=1)
    config = training(write_tiny_bert(folder / "bert"), num_epochs=8)
    exported = transformer.fit(train, validation, config, folder=folder / "fitted", attempt=Attempt())
    return exported, validation


def served(exported: Exported) -> tuple[OnnxModel, TextTokenizer]:
    tokenizer = Tokenizer.from_file(str(exported.folder / TOKENIZER))
    return OnnxModel(exported.folder / GRAPH), TextTokenizer(tokenizer, exported.max_length)


def test_what_is_exported_has_learned_the_labels(fitted: tuple[Exported, Examples]) -> None:
    exported, validation = fitted
    assert micro_f1_of(*served(exported), validation) > 0.9


def test_texts_without_a_label_are_learned_and_given_none(tmp_path: Path) -> None:
    train, validation = (
        replace(pet_examples(tmp_path, count=count, task=Task.MULTI_LABEL, seed=seed), label_required=False)
        for count, seed in ((480, 0), (96, 1))
    )
    exported = transformer.fit(
        train, validation, training(write_tiny_bert(tmp_path / "bert"), num_epochs=8), folder=tmp_path / "f", attempt=Attempt()
    )
    graph, tokenizer = served(exported)
    rule = PredictionRule(Task.MULTI_LABEL, train.labels, np.full(3, 0.5, np.float32), label_required=False)

    answers = answer(Classifier(tokenizer, graph, rule), validation, "scoring")

    given, without = rule.assigned(answers.probabilities).any(axis=1), validation.without_label()
    assert without.sum() >= 10
    assert given[without].mean() < 0.1
    assert given[~without].mean() > 0.9
    assert micro_f1_of(graph, tokenizer, validation) > 0.9


def test_the_export_says_how_it_was_made(fitted: tuple[Exported, Examples]) -> None:
    exported, _ = fitted
    assert exported.architecture is ArchitectureName.TRANSFORMER
    assert exported.max_length == 32
    assert 0 < exported.epochs <= 8
    assert exported.seconds > 0


def test_the_folder_holds_graph_and_tokenizer_and_nothing_else(fitted: tuple[Exported, Examples]) -> None:
    exported, _ = fitted
    assert sorted(path.name for path in exported.folder.iterdir()) == [GRAPH, TOKENIZER]


def test_the_graph_knows_its_label_count(fitted: tuple[Exported, Examples]) -> None:
    exported, validation = fitted
    graph, _ = served(exported)
    assert graph.label_count == len(validation.labels)


def test_padding_does_not_change_a_text_s_logits(fitted: tuple[Exported, Examples]) -> None:
    exported, validation = fitted
    graph, tokenizer = served(exported)
    encodings = tokenizer.encode(validation.texts()[:20])
    alone = np.concatenate([graph.logits([each]) for each in encodings])
    tolerance = 1e-4 if exported.precision is Precision.FP32 else 0  # int8 scales a call's activations together: one a call
    np.testing.assert_allclose(graph.logits(encodings), alone, atol=tolerance)


def test_the_tokenizer_neither_pads_nor_cuts_by_itself(fitted: tuple[Exported, Examples]) -> None:
    exported, _ = fitted
    tokenizer = Tokenizer.from_file(str(exported.folder / TOKENIZER))
    assert tokenizer.padding is None
    assert tokenizer.truncation is None


def test_nothing_is_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    examples = pet_examples(tmp_path, count=32, task=Task.SINGLE_LABEL)
    config = training(write_tiny_bert(tmp_path / "bert"), num_epochs=1)
    transformer.fit(examples, examples, config, folder=tmp_path / "fitted", attempt=Attempt())
    assert capfd.readouterr().out == ""


def test_the_same_seed_gives_the_same_model(tmp_path: Path) -> None:
    examples = pet_examples(tmp_path, count=64, task=Task.MULTI_LABEL)
    config = training(write_tiny_bert(tmp_path / "bert"), num_epochs=1)
    logits = []
    for attempt in ("first", "second"):
        exported = transformer.fit(examples, examples, config, folder=tmp_path / attempt, attempt=Attempt())
        graph, tokenizer = served(exported)
        logits.append(graph.logits(tokenizer.encode(examples.texts())))
    np.testing.assert_array_equal(logits[0], logits[1])


def test_a_shorter_model_lowers_the_maximum_length(tmp_path: Path) -> None:
    examples = pet_examples(tmp_path, count=32, task=Task.SINGLE_LABEL)
    config = training(write_tiny_bert(tmp_path / "bert", positions=10), num_epochs=1)
    exported = transformer.fit(examples, examples, config, folder=tmp_path / "fitted", attempt=Attempt())
    assert exported.max_length == 10
