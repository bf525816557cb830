"""What keeps a version from being served although it is good enough: a dataset that is not what it was, and nothing learned."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from model.gate import DataChange, GateScores, LabelFall, best_constant, has_fallen, label_has_fallen, suspicions
from model.manifest import LabelScores, Scores, Task


def measured(**more: Any) -> GateScores:
    """Scores of a version that is as good as the served one."""
    known: dict[str, Any] = {
        "score": "micro-f1", "value": 0.9, "baseline": 0.9, "micro_f1": 0.9, "macro_f1": 0.9, "tolerance": 0.005,
        "texts": 600, "constant": 0.3, "served_version": "v1", "served_value": 0.9,
    }  # fmt: skip
    return GateScores(**{**known, **more})


def change(**more: Any) -> DataChange:
    """A dataset that did not change."""
    known: dict[str, Any] = {
        "score_before": 0.9, "texts_before": 600, "score": 0.9, "texts": 600, "labelled_before": 6000, "labelled": 6000,
        "rows_before": 6000, "rows": 6000, "used": 6000,
    }  # fmt: skip
    return DataChange(**{**known, **more})


CATS = LabelFall(label="cats", texts_before=40, recall_before=0.95, texts=41, recall=0.0)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        pytest.param({}, None, id="unchanged"),
        pytest.param({"score": 0.88}, None, id="a-fall-that-chance-explains"),
        pytest.param({"score": 0.8}, "scored micro-F1 0.9000 on its own test part", id="a-fall-that-chance-does-not-explain"),
        pytest.param({"score": 0.0, "texts": 3, "texts_before": 3}, None, id="too-few-texts-to-tell"),
        pytest.param({"score": 0.0, "texts": 0}, None, id="no-text-with-a-label-that-it-knows"),
        pytest.param(
            {"fallen": (CATS,), "fallen_count": 1},
            "finds 'cats' in 0% of the 41 texts that carry it, before in 95% of 40",
            id="one-label-fell",
        ),
        pytest.param({"lost": ("rare",), "lost_count": 1, "lost_share": 0.01}, None, id="a-rare-label-is-gone"),
        pytest.param(
            {"lost": ("fish", "birds"), "lost_count": 2, "lost_share": 0.4},
            "lacks the labels 'fish', 'birds', which were 40% of the labels",
            id="frequent-labels-are-gone",
        ),
        pytest.param(
            {"labelled": 3000, "used": 3000},
            "3,000 different texts have a label, the dataset of the served version v1 had 6,000",
            id="half-of-the-labels-are-missing",
        ),
        pytest.param(
            {"labelled": 6000, "rows": 12000, "used": 6000},
            "6,000 of 12,000 rows have a text and a label, 50%; in the dataset of the served version v1 at least 100%",
            id="half-of-a-dataset-that-grew-is-not-labelled",
        ),
        pytest.param({"labelled": 9000, "rows": 9000, "used": 9000}, None, id="a-dataset-that-grew"),
        pytest.param({"labelled": 4500, "rows": 4500, "used": 4500}, None, id="a-dataset-that-shrank-a-little"),
        pytest.param({"labelled": 6000, "rows": 60000, "used": 60000}, None, id="texts-that-are-there-ten-times"),
        pytest.param({"labelled_before": None, "labelled": 10}, None, id="a-served-version-that-does-not-say"),
        pytest.param({"labelled": None, "used": 10}, None, id="a-sample"),
    ],
)
def test_a_dataset_is_suspicious(data: dict[str, Any], words: str | None) -> None:
    found = suspicions(measured(data=change(**data)))
    if words is None:
        assert found == ()
    else:
        (sentence,) = found
        assert words in sentence
    assert suspicions(measured(data=change(**data), served_may_fall=True)) == ()
    assert suspicions(measured(data=change(**data), minimum=0.1)) == ()


@pytest.mark.parametrize(
    ("micro_f1", "texts", "suspicious"),
    [
        pytest.param(0.31, 600, True, id="as-good-as-a-constant"),
        pytest.param(0.1, 600, True, id="worse-than-a-constant"),
        pytest.param(0.36, 600, False, id="better-by-more-than-chance"),
        pytest.param(1.0, 5, False, id="five-of-five-are-right"),
        pytest.param(0.5, 5, True, id="half-of-five-are-right"),
    ],
)
def test_a_version_that_is_no_better_than_a_constant_learned_nothing(micro_f1: float, texts: int, suspicious: bool) -> None:
    found = suspicions(measured(micro_f1=micro_f1, texts=texts, constant=0.3, served_value=None))
    assert bool(found) is suspicious
    assert not found or "the version learned nothing" in found[0]


def test_names_of_labels_are_shown_escaped() -> None:
    (sentence,) = suspicions(measured(data=change(lost=("a\x1b[31m\nb",), lost_count=1, lost_share=0.5)))
    assert sentence.isprintable()


def scores_of(supports: list[int], texts: int) -> Scores:
    labels = {str(at): LabelScores(precision=0, recall=0, f1=0, support=each) for at, each in enumerate(supports)}
    return Scores(
        micro_f1=0, macro_f1=0, samples_f1=0, weighted_f1=0, subset_accuracy=0, average_precision=0, texts=texts, per_label=labels
    )


@pytest.mark.parametrize(
    ("supports", "texts", "task", "expected"),
    [
        pytest.param([60, 30, 10], 100, Task.SINGLE_LABEL, 0.6, id="the-most-frequent-label"),
        pytest.param([90, 80, 5], 100, Task.MULTI_LABEL, 2 * 170 / 375, id="the-two-that-most-texts-carry"),
        pytest.param([10, 10, 10], 100, Task.MULTI_LABEL, 60 / 330, id="all-of-equally-frequent-labels"),
        pytest.param([0, 0], 10, Task.MULTI_LABEL, 0.0, id="no-text-carries-a-label"),
    ],
)
def test_the_best_constant_answer_is_that_of_the_most_frequent_labels(
    supports: list[int], texts: int, task: Task, expected: float
) -> None:
    assert best_constant(scores_of(supports, texts), task) == pytest.approx(expected)


@pytest.mark.parametrize("texts", [30, 300, 3000])
@pytest.mark.parametrize("share", [0.3, 0.7, 0.95, 1.0])
def test_two_draws_of_the_same_texts_seldom_look_like_a_fall(share: float, texts: int) -> None:
    random = np.random.default_rng(0)
    drawn = random.binomial(texts, share, (2000, 2)) / texts
    known = {"texts_before": texts, "texts": texts}
    falls = sum(has_fallen(DataChange(score_before=a, score=b, **known), tolerance=0.0) for a, b in drawn)
    labels = sum(label_has_fallen(LabelFall(label="x", recall_before=a, recall=b, **known), labels=1) for a, b in drawn)
    assert falls <= 10
    assert labels <= 2
