"""Wrong labels that were planted are found; what models cannot know is not pretended."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from labelwright import demo_dataset
from model.manifest import Task
from trainer.analysis.disagreements import SHOWN, DisagreementKind, disagreements
from trainer.analysis.held_out import ENOUGH_TEXTS, held_out_probabilities, scope
from trainer.config.settings import Config, DatasetConfig
from trainer.data.examples import Examples
from trainer.data.reading import read_examples
from trainer.split import near_duplicates

CORRUPTED = 0.03
LIBRARIES = ("networkx", "polars", "pydantic", "sklearn")


def examples_of(texts: list[str], labels: list[int], folder: Path, *, task: Task = Task.SINGLE_LABEL) -> Examples:
    pl.DataFrame({"text": texts}).write_parquet(folder / "texts.parquet")
    targets = np.eye(max(labels) + 1, dtype=np.uint8)[labels]
    names = tuple(f"label-{at}" for at in range(targets.shape[1]))
    return Examples(folder / "texts.parquet", np.arange(len(texts)), names, csr_matrix(targets), task)


def invented(folder: Path, *, texts: int = 400, labels: int = 4) -> Examples:
    """Texts whose words tell their label."""
    random = np.random.default_rng(0)
    own = random.integers(0, labels, texts).tolist()
    words = [[f"word{label}x{at}" for at in random.integers(0, 30, 8)] for label in own]
    return examples_of([" ".join(each) for each in words], own, folder)


def corrupted(examples: Examples, share: float = CORRUPTED) -> tuple[Examples, NDArray[np.int64]]:
    """The examples with one label of some rows exchanged for a random other, and which rows those are."""
    random = np.random.default_rng(1)
    wrong = np.sort(random.choice(len(examples), round(share * len(examples)), replace=False))
    dense = examples.targets.toarray()
    for row in wrong:
        dense[row, random.choice(np.flatnonzero(dense[row]))] = 0
        dense[row, random.choice(np.flatnonzero(dense[row] == 0))] = 1
    return replace(examples, targets=csr_matrix(dense)), wrong


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Examples:
    """Docstrings of up to two labels each, a library and its area; of some libraries, so that the test stays short."""
    folder = tmp_path_factory.mktemp("docstrings")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo_dataset, "LIBRARIES", LIBRARIES)
        demo_dataset.write_dataset(folder / "docstrings.parquet")
    config = DatasetConfig(uri=str(folder / "docstrings.parquet"), text_columns=("text",), label_columns=("labels",))
    return read_examples(config, scratch=folder, seed=0).examples


def test_most_rows_at_the_top_of_the_list_are_labels_that_were_planted_in_real_texts(real: Examples) -> None:
    examples, wrong = corrupted(real)
    groups = near_duplicates.groups(examples, 0.7)

    found = disagreements(held_out_probabilities(examples, groups, Config()), examples.targets, examples.task)

    top = [each.position for each in found.worst[DisagreementKind.OTHER]]
    assert len(top) == SHOWN[DisagreementKind.OTHER]
    assert np.isin(top, wrong).mean() >= 0.9  # of rows at random it would be CORRUPTED


def test_a_planted_label_is_named_with_the_one_that_it_replaced(tmp_path: Path) -> None:
    examples = invented(tmp_path)
    planted, wrong = corrupted(examples)

    found = disagreements(held_out_probabilities(planted, np.arange(len(planted)), Config()), planted.targets, planted.task)

    top = found.worst[DisagreementKind.OTHER]
    assert {each.position for each in top} <= set(wrong.tolist())
    assert len(top) >= len(wrong) / 2  # the models are surer than usual of about half of them
    for each in top:
        assert [label for label, _ in each.suggested] == examples.targets[each.position].indices.tolist()
        assert [label for label, _ in each.doubted] == planted.targets[each.position].indices.tolist()


def test_a_copy_does_not_vouch_for_itself(tmp_path: Path) -> None:
    examples = invented(tmp_path, texts=300)
    random = np.random.default_rng(2)
    copied = " ".join(f"word{random.integers(0, 4)}x{at}" for at in random.integers(0, 30, 12)) + " odd one out"
    rows = [*examples.texts(), *[copied] * 6]
    labels = [*examples.targets.indices.tolist(), *[0] * 6]
    examples = examples_of(rows, labels, tmp_path)
    together = near_duplicates.groups(examples, 0.7)

    apart = held_out_probabilities(examples, np.arange(len(examples)), Config())
    kept = held_out_probabilities(examples, together, Config())

    assert len(set(together[-6:].tolist())) == 1
    assert apart[-6:, 0].min() > 0.9  # every fold's model has seen its copies
    assert kept[-6:, 0].max() < apart[-6:, 0].min()


def test_the_same_seed_gives_the_same_probabilities(tmp_path: Path) -> None:
    examples = invented(tmp_path, texts=200)

    first, second = (held_out_probabilities(examples, np.arange(200), Config()) for _ in range(2))

    assert np.array_equal(first, second)
    assert np.allclose(first.sum(axis=1), 1, atol=1e-5)


def test_rare_labels_and_their_rows_are_not_judged(tmp_path: Path) -> None:
    labels = [0] * 20 + [1] * 20 + [2] * (ENOUGH_TEXTS - 1)
    examples = examples_of([f"text {at}" for at in range(len(labels))], labels, tmp_path)

    part = scope(examples, seed=0)

    assert part.labels.tolist() == [0, 1]
    assert part.positions.tolist() == list(range(40))
    assert part.examples.targets.shape == (40, 2)
    assert not part.sampled


def test_more_texts_than_can_be_judged_are_sampled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.analysis.held_out.MOST_TEXTS", 30)
    examples = examples_of([f"text {at}" for at in range(100)], [0, 1] * 50, tmp_path)

    part = scope(examples, seed=0)

    assert part.sampled
    assert len(set(part.positions.tolist())) == len(part.examples) == 30
    assert part.examples.texts() == [f"text {at}" for at in part.positions]


def test_rows_are_distinguished_by_the_predictions_of_models() -> None:
    given = np.array([[1, 0], [0, 1]] * 50 + [[1, 0], [1, 0], [1, 1]], np.uint8)
    said = np.where(given == 1, 0.9, 0.1).astype(np.float32)
    said[-3:] = [[0.01, 0.99], [0.95, 0.99], [0.95, 0.01]]

    found = disagreements(said, csr_matrix(given), Task.MULTI_LABEL)

    assert [each.position for each in found.worst[DisagreementKind.OTHER]] == [100]
    assert [each.position for each in found.worst[DisagreementKind.MISSING]] == [101]
    assert [each.position for each in found.worst[DisagreementKind.SURPLUS]] == [102]
    assert found.worst[DisagreementKind.OTHER][0].score == pytest.approx(0.01 * 0.01, rel=1e-4)
    assert [label for label, _ in found.worst[DisagreementKind.SURPLUS][0].doubted] == [1]


def test_a_label_that_no_row_has_is_never_suggested() -> None:
    given = csr_matrix(np.array([[1, 0, 0], [0, 1, 0]] * 20, np.uint8))
    said = np.full((40, 3), 0.33, np.float32)

    for task in Task:
        found = disagreements(said, given, task)
        assert all(label != 2 for rows in found.worst.values() for each in rows for label, _ in each.suggested)
