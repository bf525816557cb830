from __future__ import annotations

from pathlib import Path

import pytest

from model.manifest import AllScores, Task
from model.scores import ScoreName
from tests.support.versions import make_manifest
from trainer.config.settings import GateConfig
from trainer.evaluation.gate_measurement import NotCompared, ServedScores, measure


@pytest.fixture
def scores(tmp_path: Path) -> AllScores:
    """Micro-F1 0.9, macro-F1 0.7, subset accuracy 0.8; the baseline's are 0.9 and 0.8."""
    made = make_manifest(tmp_path).scores
    return made.model_copy(update={"test": made.test.model_copy(update={"macro_f1": 0.7})})


def served(scores: AllScores, micro_f1: float) -> ServedScores:
    return ServedScores(version="v1", uri="s3://m/v1/", scores=scores.test.model_copy(update={"micro_f1": micro_f1}))


@pytest.mark.parametrize(
    ("minimum", "passed"),
    [
        pytest.param(None, None, id="no-minimum"),
        pytest.param(0.0, True, id="anything-goes"),
        pytest.param(0.9, True, id="just-reached"),
        pytest.param(0.9001, False, id="just-missed"),
    ],
)
def test_the_gate_asks_for_the_minimum_on_the_test_part(minimum: float | None, passed: bool | None, scores: AllScores) -> None:
    assert measure(GateConfig(minimum=minimum), scores, Task.MULTI_LABEL).passed is passed


@pytest.mark.parametrize(
    ("value", "passed"),
    [
        pytest.param(0.8, True, id="better"),
        pytest.param(0.905, True, id="behind-by-the-tolerance"),
        pytest.param(0.9051, False, id="behind-by-more"),
    ],
)
def test_the_gate_compares_with_the_served_version(value: float, passed: bool, scores: AllScores) -> None:
    found = measure(GateConfig(tolerance=0.005), scores, Task.MULTI_LABEL, served(scores, value))
    assert (found.passed, found.served_version, found.served_scores[ScoreName.MICRO_F1]) == (passed, "v1", value)


def test_the_reason_for_no_comparison_is_reported_beside_the_scores(scores: AllScores) -> None:
    why = "s3://models/pets/v1/manifest.json has SHA-256 1, expected 2: it is not the manifest that was published"
    found = measure(GateConfig(minimum=0.5), scores, Task.MULTI_LABEL, NotCompared(not_compared=why))
    assert (found.passed, found.served_scores, found.not_compared) == (True, {}, why)
    assert found.verdict.message == (
        "passes: micro-f1 0.9000 reaches gate.minimum 0.5, was not compared with the served version, which could not be read: "
        f"{why}"
    )


def test_a_long_reason_is_cut_so_that_it_fits_into_a_result(scores: AllScores) -> None:
    found = measure(GateConfig(), scores, Task.MULTI_LABEL, NotCompared(not_compared="x" * 10_000))
    assert found.not_compared is not None
    assert len(found.not_compared) == 600


def test_a_version_better_than_the_served_one_still_has_to_reach_the_minimum(scores: AllScores) -> None:
    found = measure(GateConfig(minimum=0.95), scores, Task.MULTI_LABEL, served(scores, 0.1))
    assert not found.passed
    assert found.verdict.message == "refused: micro-f1 0.9000 is below gate.minimum 0.95 (the served version v1: 0.1000)"


def test_why_a_version_fails_names_both_versions_values(scores: AllScores) -> None:
    verdict = measure(GateConfig(), scores, Task.MULTI_LABEL, served(scores, 0.95)).verdict
    assert verdict.message == (
        "refused: micro-f1 0.9000 is 0.0500 behind the served version v1 (0.9500 on the same texts), "
        "more than gate.tolerance 0.005"
    )


@pytest.mark.parametrize(
    ("score", "value", "baseline"),
    [
        pytest.param(ScoreName.MICRO_F1, 0.9, 0.9, id="micro-f1"),
        pytest.param(ScoreName.MACRO_F1, 0.7, 0.9, id="macro-f1"),
        pytest.param(ScoreName.SAMPLES_F1, 0.9, 0.9, id="samples-f1"),
        pytest.param(ScoreName.WEIGHTED_F1, 0.9, 0.9, id="weighted-f1"),
        pytest.param(ScoreName.ACCURACY, 0.8, 0.8, id="accuracy"),
    ],
)
def test_the_score_that_was_chosen_decides(score: ScoreName, value: float, baseline: float, scores: AllScores) -> None:
    found = measure(GateConfig(score=score, minimum=0.75), scores, Task.MULTI_LABEL, served(scores, 0.9))
    assert (found.scores[score], found.baseline_scores[score]) == (value, baseline)
    assert found.scores.keys() == found.baseline_scores.keys() == found.served_scores.keys() == set(ScoreName)
    assert found.passed is (score != "macro-f1")
