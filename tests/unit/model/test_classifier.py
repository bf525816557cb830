"""From texts to labels, without a server."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from model.artifact import GRAPH, MANIFEST, TOKENIZER, ArtifactRejected, to_json
from model.classifier import (
    MAX_BATCH_TOKENS,
    MULTICORE,
    Classifier,
    Floats,
    OnnxModel,
    PredictionRule,
    Selection,
    to_probabilities,
)
from model.manifest import Task
from tests.support.versions import LABELS, make_manifest, make_version, write_graph, write_tokenizer

COUNT = 5
NAMES = tuple(f"label{at}" for at in range(COUNT))
shares = st.floats(0, 1, width=32)
rows = arrays(np.float32, st.tuples(st.integers(0, 6), st.just(COUNT)), elements=shares)
thresholds = arrays(np.float32, COUNT, elements=shares)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    return Classifier.load(make_version(tmp_path_factory.mktemp("version")))


def multi(own: Floats) -> PredictionRule:
    return PredictionRule(Task.MULTI_LABEL, NAMES, own)


def single() -> PredictionRule:
    return PredictionRule(Task.SINGLE_LABEL, NAMES, np.zeros(COUNT, np.float32))


# --- how probabilities become labels ---


@given(rows, thresholds, st.none() | st.integers(1, 9), st.none() | shares)
def test_labels_come_with_their_probability_the_highest_first(
    probabilities: Floats, own: Floats, top_k: int | None, threshold: float | None
) -> None:
    for rule in (multi(own), single()):
        predictions = rule.predictions(probabilities, Selection(top_k=top_k, threshold=threshold))

        assert len(predictions) == len(probabilities)
        for row, found in zip(probabilities, predictions, strict=True):
            assert list(found.scores) == sorted(found.scores, reverse=True)
            assert list(found.scores) == [row[NAMES.index(label)] for label in found.labels]
            assert len(set(found.labels)) == len(found.labels)


@given(rows, thresholds)
def test_multi_label_gives_what_reaches_its_own_threshold_or_else_the_best(probabilities: Floats, own: Floats) -> None:
    for row, found in zip(probabilities, multi(own).predictions(probabilities), strict=True):
        passing = {NAMES[at] for at in range(COUNT) if row[at] >= own[at]}

        assert set(found.labels) == (passing or {NAMES[int(row.argmax())]})


@given(rows, thresholds, st.integers(1, 9))
def test_where_no_label_is_required_only_what_reaches_its_threshold_is_given(
    probabilities: Floats, own: Floats, top_k: int
) -> None:
    rule = PredictionRule(Task.MULTI_LABEL, NAMES, own, label_required=False)

    for row, found in zip(probabilities, rule.predictions(probabilities), strict=True):
        assert set(found.labels) == {NAMES[at] for at in range(COUNT) if row[at] >= own[at]}
    assert [found.labels for found in rule.predictions(probabilities, Selection(top_k=top_k))] == [
        found.labels for found in multi(own).predictions(probabilities, Selection(top_k=top_k))
    ]


@given(rows)
def test_single_label_gives_the_most_probable_label(probabilities: Floats) -> None:
    for row, found in zip(probabilities, single().predictions(probabilities), strict=True):
        assert found.labels == (NAMES[int(row.argmax())],)


@given(rows, thresholds, shares)
def test_a_threshold_replaces_the_labels_own_and_may_leave_none(probabilities: Floats, own: Floats, threshold: float) -> None:
    for rule in (multi(own), single()):
        for row, found in zip(probabilities, rule.predictions(probabilities, Selection(threshold=threshold)), strict=True):
            assert set(found.labels) == {NAMES[at] for at in range(COUNT) if row[at] >= threshold}


@given(rows, thresholds, st.integers(1, 9))
def test_top_k_alone_gives_exactly_that_many(probabilities: Floats, own: Floats, top_k: int) -> None:
    for rule in (multi(own), single()):
        assert [len(each.labels) for each in rule.predictions(probabilities, Selection(top_k=top_k))] == [
            min(top_k, COUNT)
        ] * len(probabilities)


@given(rows, thresholds, st.integers(1, 9), shares)
def test_top_k_bounds_what_a_threshold_gives(probabilities: Floats, own: Floats, top_k: int, threshold: float) -> None:
    unbounded = multi(own).predictions(probabilities, Selection(threshold=threshold))
    bounded = multi(own).predictions(probabilities, Selection(threshold=threshold, top_k=top_k))

    assert [each.labels for each in bounded] == [each.labels[:top_k] for each in unbounded]


def test_equal_probabilities_come_in_the_order_of_the_labels() -> None:
    (found,) = multi(np.full(COUNT, 0.5, np.float32)).predictions(np.full((1, COUNT), 0.5, np.float32))

    assert found.labels == NAMES


# --- logits to probabilities ---


@given(arrays(np.float32, (3, COUNT), elements=st.floats(-(2.0**99), 2.0**99, width=32)))
def test_probabilities_are_shares_however_large_the_logits(logits: Floats) -> None:
    for task in Task:
        probabilities = to_probabilities(logits, task)

        assert probabilities.dtype == np.float32
        assert ((probabilities >= 0) & (probabilities <= 1)).all()
    assert probabilities.sum(axis=1) == pytest.approx([1, 1, 1], abs=1e-5)


@pytest.mark.parametrize("task", list(Task))
def test_no_logits_give_no_probabilities(task: Task) -> None:
    assert to_probabilities(np.zeros((0, COUNT), np.float32), task).shape == (0, COUNT)


# --- a loaded version ---


def test_a_text_gets_the_labels_that_it_names(classifier: Classifier) -> None:
    found = classifier.predict(["stat.ML and cs.LG", "math.CO"])

    assert [set(each.labels) for each in found] == [{"cs.LG", "stat.ML"}, {"math.CO"}]


def test_a_version_that_requires_no_label_answers_with_none(tmp_path: Path) -> None:
    classifier = Classifier.load(make_version(tmp_path, labels=("spam",), label_required=False))

    assert [found.labels for found in classifier.predict(["spam", "a letter"])] == [("spam",), ()]


def test_no_texts_get_no_predictions(classifier: Classifier) -> None:
    assert classifier.predict([]) == []
    assert classifier.probabilities([]).shape == (0, len(LABELS))


texts = st.lists(st.lists(st.sampled_from([*LABELS, "and", "🙂", "\0"]), max_size=20).map(" ".join), min_size=1, max_size=20)


@given(texts)
def test_a_texts_answer_does_not_depend_on_its_neighbours(classifier: Classifier, texts: list[str]) -> None:
    together = classifier.probabilities(texts)
    alone = np.concatenate([classifier.probabilities([text]) for text in texts])

    np.testing.assert_array_equal(together, alone)


def test_answers_come_in_the_order_of_the_texts_across_batches(classifier: Classifier) -> None:
    several_batches = [f"{LABELS[at % 3]} {'and ' * (at % 17)}" for at in range(MAX_BATCH_TOKENS // 4)]

    assert [each.labels[0] for each in classifier.predict(several_batches)] == [
        LABELS[at % 3] for at in range(len(several_batches))
    ]


@given(st.text())
def test_any_text_is_answered(classifier: Classifier, text: str) -> None:
    (found,) = classifier.predict([text])

    assert len(found.labels) >= 1


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("\0", id="nul"),
        pytest.param("👩‍👩‍👧‍👦" * 1000, id="emoji"),
        pytest.param("\u202e\u05e9\u05dc\u05d5\u05dd", id="right-to-left"),
        pytest.param("word " * 20_000, id="100000-characters"),
    ],
)
def test_odd_texts_get_the_most_probable_label(classifier: Classifier, text: str) -> None:
    assert len(classifier.predict([text])[0].labels) == 1


def test_what_is_longer_than_the_model_reads_is_cut_and_says_so(classifier: Classifier) -> None:
    short, long = classifier.tokenizer.encode(["and " * 16, "and " * 17])

    assert (len(short.ids), short.truncated) == (16, False)
    assert (len(long.ids), long.truncated) == (16, True)


# --- cores ---


@pytest.mark.parametrize(
    ("producer", "value", "multicore"),
    [
        pytest.param("labelwright", "false", False, id="one-core"),
        pytest.param("labelwright", "true", True, id="several-cores"),
        pytest.param("pytorch", None, True, id="exported-by-an-earlier-release"),
        pytest.param("labelwright", None, False, id="linear-of-an-earlier-release"),
    ],
)
def test_a_models_metadata_decides_whether_a_lone_text_may_use_several_cores(
    tmp_path: Path, producer: str, value: str | None, multicore: bool
) -> None:
    write_graph(tmp_path / GRAPH, 3)
    model = onnx.load(tmp_path / GRAPH)
    model.producer_name = producer
    onnx.helper.set_model_props(model, {} if value is None else {MULTICORE: value})
    onnx.save(model, tmp_path / GRAPH)

    assert OnnxModel(tmp_path / GRAPH, threads_alone=2).multicore is multicore


# --- versions whose parts do not fit ---


def with_files(folder: Path) -> Path:
    """The folder with a manifest that is right about its files, whatever they are."""
    (folder / MANIFEST).write_bytes(to_json(make_manifest(folder)))
    return folder


def test_a_tokenizer_with_ids_beyond_the_graphs_table_is_refused(tmp_path: Path) -> None:
    folder = make_version(tmp_path)
    write_tokenizer(folder / TOKENIZER, [f"word{at}" for at in range(30_000)])

    with pytest.raises(ArtifactRejected, match=r"has token ids up to 30000, for which .* has no embedding"):
        Classifier.load(with_files(folder))


def test_a_graph_of_other_labels_is_refused(tmp_path: Path) -> None:
    folder = make_version(tmp_path)
    write_graph(folder / GRAPH, 7)

    with pytest.raises(ArtifactRejected, match=r"gives logits \[2, 7\] for 2 texts; the manifest names 3 labels"):
        Classifier.load(with_files(folder))


@pytest.mark.parametrize("name", [GRAPH, TOKENIZER])
@pytest.mark.parametrize("content", [pytest.param(b"", id="empty"), pytest.param(b"{}", id="something-else")])
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    folder = make_version(tmp_path)
    (folder / name).write_bytes(content)

    with pytest.raises(ArtifactRejected, match="cannot be loaded"):
        Classifier.load(with_files(folder))
