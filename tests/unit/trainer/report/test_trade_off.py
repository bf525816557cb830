from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.manifest import ArchitectureName, Candidate, Precision
from trainer.report.trade_off import reading, score_against_cost


def tried(architecture: str, score: float, milliseconds: float, **others: Any) -> Candidate:
    return Candidate.model_validate(
        {
            "architecture": architecture,
            "precision": "int8",
            "validation_micro_f1": score,
            "milliseconds_per_text": milliseconds,
            "seconds": 10.0,
            "chosen": False,
            **others,
        }
    )


LINEAR = tried("linear", 0.61, 0.2, cpu_seconds=80.0)
TRANSFORMER = tried("transformer", 0.672, 6.0, cpu_seconds=9400.0, chosen=True)


def texts(svg: str) -> list[str]:
    return [each.text or "" for each in ElementTree.fromstring(svg).findall(".//{*}text")]


@pytest.mark.parametrize(
    ("models", "told"),
    [
        pytest.param([LINEAR], "Only one model was fitted, so there is no comparison.", id="one"),
        pytest.param(
            [LINEAR, TRANSFORMER],
            "The transformer model gains 0.062 micro-F1 on the linear model; it takes 30 times the time per text "
            "and 118 times the CPU-seconds to train.",
            id="two",
        ),
        pytest.param(
            [LINEAR, TRANSFORMER.model_copy(update={"gpu_seconds": 5120.0, "cpu_seconds": 240.0})],
            "30 times the time per text and 3.0 times the CPU-seconds to train, and 5,120 GPU-seconds.",
            id="on-gpus",
        ),
        pytest.param(
            [LINEAR, TRANSFORMER, TRANSFORMER.model_copy(update={"precision": Precision.FP32, "validation_micro_f1": 0.68})],
            "The transformer (fp32) model gains 0.070 micro-F1 on the linear model",
            id="three",
        ),
        pytest.param(
            [LINEAR, TRANSFORMER.model_copy(update={"validation_micro_f1": 0.5})],
            "The linear model is the best and the fastest.",
            id="nothing-gained",
        ),
        pytest.param(
            [LINEAR.model_copy(update={"cpu_seconds": 0.0}), TRANSFORMER],
            "it takes 30 times the time per text. Higher",
            id="not-measured",
        ),
    ],
)
def test_the_sentence_says_what_the_gain_costs(models: list[Candidate], told: str) -> None:
    assert told in reading(models)


def test_every_model_is_a_named_point_on_both_axes() -> None:
    shown = texts(score_against_cost([LINEAR, TRANSFORMER]))

    assert shown.count("linear") == shown.count("transformer") == 2
    assert {"CPU-seconds of training", "milliseconds per text", "validation micro-F1"} <= set(shown)


def test_a_cost_that_was_not_measured_has_no_axis() -> None:
    older = [each.model_copy(update={"cpu_seconds": 0.0}) for each in (LINEAR, TRANSFORMER)]

    assert "CPU-seconds of training" not in texts(score_against_cost(older))
    assert score_against_cost([LINEAR.model_copy(update={"cpu_seconds": 0.0, "milliseconds_per_text": 0.0})]) == ""


costs = st.just(0.0) | st.floats(1e-3, 1e7)


@settings(max_examples=20)
@given(
    st.lists(
        st.builds(
            tried,
            st.sampled_from(ArchitectureName),
            st.floats(0, 1),
            costs,
            cpu_seconds=costs,
            gpu_seconds=costs,
            chosen=st.booleans(),
        ),
        min_size=1,
        max_size=3,
    )
)
def test_any_costs_and_scores_can_be_drawn_and_described(models: list[Candidate]) -> None:
    drawn = score_against_cost(models)

    measured = sum((each.cpu_seconds > 0) + (each.milliseconds_per_text > 0) for each in models)
    assert drawn.count("<title>") == measured
    assert reading(models).endswith("a ring marks the published model.")
