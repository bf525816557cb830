"""Labels of a correction: which a text of the classifier may have."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.api.labels import FRESH_SECONDS, LabelRule, Labels, check
from gateway.api.problems import Problem
from tests.support.answers import ChosenResponse, answering

KNOWN = frozenset({"cs.LG", "stat.ML", "math.CO"})
SEVERAL = LabelRule(KNOWN, single=False, required=True)


@pytest.mark.parametrize(
    ("labels", "rule", "allow_new"),
    [
        pytest.param(["cs.LG", "stat.ML"], SEVERAL, False, id="several"),
        pytest.param(["cs.LG", "gone"], SEVERAL, False, id="of-the-version-that-predicted"),
        pytest.param([], LabelRule(KNOWN, single=False, required=False), False, id="none"),
        pytest.param(["cs.LG"], LabelRule(KNOWN, single=True, required=True), False, id="one-of-a-single-label-task"),
        pytest.param(["new"], SEVERAL, True, id="new-where-allowed"),
    ],
)
def test_labels_that_a_text_may_have_pass(labels: list[str], rule: LabelRule, allow_new: bool) -> None:
    check(labels, rule, predicted=["gone"], allow_new=allow_new)


@pytest.mark.parametrize(
    ("labels", "rule", "allow_new", "sentence"),
    [
        pytest.param(["new"], SEVERAL, False, 'labels has "new": expected labels of the classifier, such as cs.LG', id="new"),
        pytest.param(
            ["cs.LG "], SEVERAL, True, "expected 1 to 200 characters, without blanks at the ends", id="new-with-a-blank"
        ),
        pytest.param(["x" * 201], SEVERAL, True, "expected 1 to 200 characters", id="new-and-long"),
        pytest.param([], SEVERAL, True, "labels is empty: expected at least one", id="none"),
        pytest.param(
            ["cs.LG", "stat.ML"],
            LabelRule(KNOWN, single=True, required=True),
            True,
            "labels has 2 labels: expected one",
            id="two",
        ),
        pytest.param(["a\x1b[31m"], SEVERAL, False, "\\x1b", id="escaped"),
    ],
)
def test_other_labels_are_refused_with_what_was_expected(
    labels: list[str], rule: LabelRule, allow_new: bool, sentence: str
) -> None:
    with pytest.raises(Problem) as refused:
        check(labels, rule, predicted=(), allow_new=allow_new)
    assert (refused.value.status, refused.value.kind) == (422, "labels-refused")
    assert sentence in str(refused.value)


def test_of_many_labels_those_alike_are_named() -> None:
    rule = LabelRule(frozenset(f"label {at}" for at in range(5000)) | {"machine learning"}, single=False, required=True)
    with pytest.raises(Problem, match=r"such as machine learning\."):
        check(["machine lerning"], rule, predicted=(), allow_new=False)
    with pytest.raises(Problem, match=r"of which it has 5001\."):
        check(["???"], rule, predicted=(), allow_new=False)


def published(*labels: str, task: str = "multi-label", **more: Any) -> dict[str, Any]:
    return {"name": "papers", "parameters": {"labels": list(labels), "task": task, **more}}


async def asked(server: ChosenResponse, *steps: tuple[int, Any, float]) -> list[LabelRule | str]:
    """Ask for the rule at each step, whose predictor answers with this status and body, at this time."""
    now = 0.0
    labels, found = Labels(lambda: now), list[LabelRule | str]()
    for status, body, at in steps:
        server.status, server.body, now = status, body, at
        try:
            found.append(await labels.of("papers", f"http://127.0.0.1:{server.port}"))
        except Problem as problem:
            found.append(f"{problem.status} {problem.kind}")
    await labels.close()
    return found


def test_a_rule_is_what_the_predictor_publishes() -> None:
    single = published("a", task="single-label", label_required=False)
    with answering() as server:
        assert asyncio.run(asked(server, (200, published("a", "b"), 0), (200, single, FRESH_SECONDS + 1))) == [
            LabelRule(frozenset({"a", "b"}), single=False, required=True),
            LabelRule(frozenset({"a"}), single=True, required=False),
        ]
    assert set(server.asked) == {"/v2/models/papers"}


def test_the_labels_of_a_predictor_that_is_away_stay_as_they_were_and_are_asked_for_now_and_then() -> None:
    first, second = published("a"), published("a", "b")
    later, much_later = FRESH_SECONDS + 1, 2 * FRESH_SECONDS + 2
    with answering() as server:
        found = asyncio.run(
            asked(
                server, (503, {}, 0), (200, {}, 0), (200, first, 0), (200, second, 1), (503, {}, later), (200, second, much_later)
            )
        )
    rules = [each if isinstance(each, str) else sorted(each.labels) for each in found]
    assert rules == ["503 labels-unknown", "503 labels-unknown", ["a"], ["a"], ["a"], ["a", "b"]]
