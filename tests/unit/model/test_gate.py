"""Rule of the gate, and suspicions that hold a version although its score is good enough."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.gate import (
    DataChange,
    GateRecord,
    GateRule,
    LabelFall,
    best_constant,
    has_fallen,
    judge,
    label_has_fallen,
    suspicions,
)
from model.manifest import Task
from model.run_result import MAX_RESULT_BYTES, RunResult, write
from model.scores import LabelScores, ScoreName, Scores

RULE = GateRule()


def measured(micro_f1: float = 0.9, served: float | None = 0.9, **more: Any) -> GateRecord:
    """The record of a version that is as good as the served one."""
    scores = dict.fromkeys(ScoreName, micro_f1)
    theirs = {} if served is None else {"served_version": "v1", "served_scores": dict.fromkeys(ScoreName, served)}
    known: dict[str, Any] = {"scores": scores, "baseline_scores": scores, "texts": 600, "constant": 0.3, "rule": RULE, **theirs}
    return GateRecord(**{**known, **more})


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
            "finds 'cats' in 0% of its 41 texts, down from 95% of 40",
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
            "3,000 distinct texts have a label; the dataset of the served version v1 had 6,000",
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
    found = suspicions(measured(data=change(**data)), RULE)
    if words is None:
        assert found == ()
    else:
        (sentence,) = found
        assert words in sentence
    assert suspicions(measured(data=change(**data)), GateRule(served_may_fall=True)) == ()
    assert suspicions(measured(data=change(**data)), GateRule(minimum=0.1)) == ()


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
    found = suspicions(measured(micro_f1, None, texts=texts, constant=0.3), RULE)
    assert bool(found) is suspicious
    assert not found or "the version learned nothing" in found[0]


def test_names_of_labels_are_shown_escaped() -> None:
    (sentence,) = suspicions(measured(data=change(lost=("a\x1b[31m\nb",), lost_count=1, lost_share=0.5)), RULE)
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


shares = st.floats(0, 1)
rules = st.builds(
    GateRule,
    score=st.sampled_from(ScoreName),
    minimum=st.none() | shares,
    tolerance=shares,
    served_may_fall=st.booleans(),
)
five_scores = st.fixed_dictionaries(dict.fromkeys(ScoreName, shares))
records = st.builds(
    GateRecord,
    scores=five_scores,
    baseline_scores=five_scores,
    served_scores=st.just({}) | five_scores,
    served_version=st.none() | st.just("v1"),
    not_compared=st.none() | st.just("manifest.json is gone"),
    texts=st.none() | st.integers(0, 10**6),
    constant=st.none() | shares,
    data=st.none() | st.builds(change, score=shares, texts=st.integers(0, 1000), lost_share=shares),
    rule=rules,
)
# What an earlier release wrote, which measured the score of its rule alone.
earlier_records = st.fixed_dictionaries(
    {
        "score": st.sampled_from([each.value for each in ScoreName]),
        **dict.fromkeys(("value", "baseline", "micro_f1", "macro_f1", "tolerance"), shares),
    },
    optional={"minimum": shares, "served_value": shares, "served_version": st.just("v1"), "served_may_fall": st.booleans()},
)


@given(record=records, rule=rules, version=st.sampled_from(["", "v2"]), approve=st.sampled_from([None, "v1", "v2"]))
def test_every_record_gets_a_verdict_by_every_rule_and_the_same_one_each_time(
    record: GateRecord, rule: GateRule, version: str, approve: str | None
) -> None:
    verdict = judge(record, rule, version=version, approve=approve)
    again = judge(
        GateRecord.model_validate_json(record.model_dump_json(exclude_none=True)), rule, version=version, approve=approve
    )
    assert verdict == again
    assert verdict.message.startswith(
        {"Published": ("passes: ", "approved by "), "Held": "held: ", "Rejected": "refused: "}[verdict.state]
    )
    assert verdict.score is rule.score


@given(record=records, rule=rules)
def test_a_version_passes_if_it_reaches_the_minimum_is_not_behind_and_is_not_suspicious(
    record: GateRecord, rule: GateRule
) -> None:
    ours, theirs = record.scores[rule.score], record.served_scores.get(rule.score)
    reaches = rule.minimum is None or ours >= rule.minimum - 1e-9
    keeps_up = theirs is None or ours >= theirs - rule.tolerance - 1e-9
    assert judge(record, rule).passed is (reaches and keeps_up and not suspicions(record, rule))


@given(record=records, rule=rules, minimum=shares)
def test_a_lower_minimum_refuses_nothing_that_a_higher_one_accepts(record: GateRecord, rule: GateRule, minimum: float) -> None:
    low, high = sorted((minimum, rule.minimum or 0.0))
    accepted = judge(record, rule.model_copy(update={"minimum": high})).passed
    assert not accepted or judge(record, rule.model_copy(update={"minimum": low})).passed


@given(content=earlier_records, rule=rules)
def test_a_record_of_an_earlier_release_is_judged_by_the_score_that_it_holds(content: dict[str, Any], rule: GateRule) -> None:
    record = GateRecord.model_validate(content)
    verdict = judge(record, rule)
    assert record.rule.score == content["score"]
    assert record.has_score(rule.score) is (rule.score == content["score"])
    assert verdict.score == content["score"]
    assert (f"({rule.score} was not measured)" in verdict.message) is (rule.score != content["score"])


def test_the_longest_record_fits_into_a_termination_message(tmp_path: Path) -> None:
    scores = dict.fromkeys(ScoreName, 0.1234567890123456)
    fall = LabelFall(label="\U0001f408" * 40, texts_before=10**6, recall_before=1 / 3, texts=10**6, recall=1 / 7)
    data = change(fallen=(fall,) * 3, fallen_count=10**4, lost=("\U0001f408" * 40,) * 3, lost_count=10**4, lost_share=1 / 3)
    rule = GateRule(score=ScoreName.SAMPLES_F1, minimum=0.1234567890123456, tolerance=0.1234567890123456)
    names = {"classifier": "c" * 40, "version": "v" * 60, "artifact_uri": f"s3://{'b' * 63}/{'p' * 400}/"}
    record = measured(scores=scores, baseline_scores=scores, served_scores=scores, data=data, rule=rule, served_version="v" * 60)
    digests = dict.fromkeys(("manifest_sha256", "dataset_sha256", "test_sha256"), "0" * 64)
    for each in (record, record.model_copy(update={"data": None, "served_scores": {}, "not_compared": "é" * 600})):
        write(RunResult(exit_code=0, message="é" * 5000, gate=each, **names, **digests), tmp_path / "result")
        assert (tmp_path / "result").stat().st_size <= MAX_RESULT_BYTES
        assert RunResult.model_validate_json((tmp_path / "result").read_bytes()).gate == each
