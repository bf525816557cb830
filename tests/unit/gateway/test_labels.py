"""Labels of a correction: which a text of the classifier may have."""

from __future__ import annotations

import pytest

from gateway.api.labels import LabelRule, check
from gateway.api.problems import Problem

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
