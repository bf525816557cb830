"""The gate: record of a version's scores, rule, and verdict.

The trainer measures and judges once; the controller judges the same record again when the rule changes. Knows no storage, no
model and no resource. Messages name the trainer's settings (`gate.minimum`); the controller translates them.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist
from typing import Literal, Self

from pydantic import Field, model_validator

from model.fields import Name, Share, Strict
from model.manifest import Task
from model.scores import ScoreName, Scores

ROUNDING_ERROR = 1e-9  # of a difference of two scores
CHANCE_STANDARD_ERRORS = 3.0  # a larger fall of the served version is not explained by the choice of texts
BETTER_STANDARD_ERRORS = 2.0  # by which a version has to be better than a constant answer
LABEL_FALSE_ALARM_PROBABILITY = 0.001  # that any label of an unchanged dataset seems to have fallen
MAX_LABEL_FALL = 0.2  # of a label's recall, beyond chance
MIN_TEXTS_SHARE = 2 / 3  # of the served version's texts with a label
MAX_LEFT_OUT_SHARE = 0.1  # of all rows, in addition to that of the served version's dataset
MAX_LOST_SHARE = 0.05  # of the served version's labels, counted by text, that the dataset lacks
MAX_SHOWN_NAMES = 3
MAX_NAME_CHARACTERS = 40  # of a label's name in a result


class LabelFall(Strict):
    """Label whose recall by the served version is lower than on that version's own test part."""

    label: str
    texts_before: int = Field(ge=0, description="of the served version's test part that carry the label")
    recall_before: Share
    texts: int = Field(ge=0, description="of this test part that carry the label")
    recall: Share


class DataChange(Strict):
    """Differences between a dataset and the one of the served version, from which `suspicions` draws conclusions."""

    score_before: Share = Field(description="micro-F1 of the served version on its own test part")
    texts_before: int = Field(ge=0, description="of that test part")
    score: Share = Field(description="micro-F1 of the served version on this test part, of labels that it knows")
    texts: int = Field(ge=0, description="of this test part that carry a label it knows")
    fallen: tuple[LabelFall, ...] = Field(default=(), description="the labels that fell beyond chance, a few of them")
    fallen_count: int = Field(default=0, ge=0, description="how many there are")
    lost: tuple[str, ...] = Field(default=(), description="labels of the served version that the dataset lacks, a few of them")
    lost_count: int = Field(default=0, ge=0, description="how many there are")
    lost_share: Share = Field(default=0, description="of the labels of the served version's test part, counted by text")
    labelled_before: int | None = Field(default=None, ge=0, description="different texts of the served version; none: unknown")
    labelled: int | None = Field(default=None, ge=0, description="different texts with a label; none: a sample was asked for")
    rows_before: int = Field(default=0, ge=0, description="rows of the served version's dataset")
    rows: int = Field(default=0, ge=0, description="rows of this dataset")
    used: int = Field(default=0, ge=0, description="rows of this dataset that have a text and a label")


class GateRule(Strict):
    """Rule by which a version is judged."""

    score: ScoreName = Field(
        default=ScoreName.MICRO_F1,
        description="the score that decides: micro-f1, macro-f1, samples-f1, weighted-f1, or accuracy, the share of texts whose "
        "labels are all right",
    )
    minimum: float | None = Field(default=None, ge=0, le=1, description="the least that it has to be; none: any will do")
    tolerance: float = Field(default=0.005, ge=0, le=1, description="how far it may be below that of the served version")
    served_may_fall: bool = Field(
        default=False,
        description="whether the dataset may differ so much from that of the served version that the served version falls on it",
    )


class GateRecord(Strict):
    """Scores of a version on its test part, by which it can be judged by any rule without another training.

    scores, baseline_scores, served_scores: of the version, of the linear model and of the served version on the same texts, by
    name. A record of an earlier release holds only the score of its rule, and micro-F1 and macro-F1 of the version.
    """

    scores: dict[ScoreName, Share]
    baseline_scores: dict[ScoreName, Share]
    served_scores: dict[ScoreName, Share] = Field(default={}, description="empty: nothing was compared with a served version")
    served_version: Name | None = Field(default=None, description="the version that it was compared with")
    not_compared: str | None = Field(default=None, description="why nothing was compared with the served version; none: it was")
    texts: int | None = Field(default=None, ge=0, description="of the test part")
    constant: Share | None = Field(default=None, description="micro-F1 of the best answer that is the same for every text")
    data: DataChange | None = Field(default=None, description="how the dataset differs from that of the served version")
    rule: GateRule = Field(description="the rule that the run was given")
    passed: bool | None = Field(default=None, description="by that rule; none: there was nothing to compare the score with")

    @model_validator(mode="before")
    @classmethod
    def _from_earlier_release(cls, content: object) -> object:
        """Return the content. The record of a release that measured only one score is converted."""
        if not isinstance(content, dict) or "value" not in content:
            return content
        left, name = dict(content), str(content.get("score"))
        versions = {"micro-f1": left.pop("micro_f1", None), "macro-f1": left.pop("macro_f1", None), name: left.pop("value")}
        served, baseline = left.pop("served_value", None), left.pop("baseline", None)
        rule = {field: left.pop(field) for field in GateRule.model_fields if field in left}
        return {
            **left,
            "scores": {each: value for each, value in versions.items() if value is not None},
            "baseline_scores": {name: baseline},
            "served_scores": {} if served is None else {name: served},
            "rule": rule,
        }

    @model_validator(mode="after")
    def _holds_the_score_of_its_rule(self) -> Self:
        if not self.holds(self.rule.score):
            raise ValueError(f"rule.score is {self.rule.score}, which was not measured")
        return self

    def holds(self, score: ScoreName) -> bool:
        """Return whether a rule can compare this score."""
        return all(score in each for each in (self.scores, self.baseline_scores, self.served_scores or self.scores))

    @property
    def verdict(self) -> Verdict:
        """Verdict by the rule that the run was given."""
        return judge(self, self.rule)


@dataclass(frozen=True)
class Verdict:
    """Decision about a version, and its reason in a sentence. Held: it waits until a person has checked its dataset.

    score: the score that was compared.
    """

    state: Literal["Published", "Held", "Rejected"]
    message: str
    score: ScoreName

    @property
    def passed(self) -> bool:
        """Whether the version may be served."""
        return self.state == "Published"


def judge(
    record: GateRecord, rule: GateRule, *, version: str = "", approve: str | None = None, served: str | None = None
) -> Verdict:
    """Return whether the version may be served.

    A score that the record lacks is replaced by the one of the record's own rule, and the message says so. version: name of the
    version, if versions can be approved. approve: name of the approved version, for which only the rule's minimum applies.
    served: the version with which it should have been compared.
    """
    score = rule.score if record.holds(rule.score) else record.rule.score
    ours, theirs = record.scores[score], record.served_scores.get(score)
    value = f"{score} {ours:.4f}" + ("" if score is rule.score else f" ({rule.score} was not measured)")
    if rule.minimum is not None and ours < rule.minimum - ROUNDING_ERROR:
        beside = "" if theirs is None else f" ({_served(record)}: {theirs:.4f})"
        return Verdict("Rejected", f"refused: {value} is below gate.minimum {rule.minimum:g}{beside}", score)
    is_behind = theirs is not None and ours < theirs - rule.tolerance - ROUNDING_ERROR
    reached = "" if rule.minimum is None else f"reaches gate.minimum {rule.minimum:g}"
    compared = _comparison(record, rule, score, is_behind=is_behind, served=served)
    said = ", ".join(each for each in (reached, compared) if each)
    value += f" {said}" if said else ", no gate.minimum, nothing served yet"
    if approve and approve == version:
        return Verdict("Published", f"approved by gate.approve: {value}", score)
    if doubts := suspicions(record, rule):
        is_dataset = not suspicions(record, rule.model_copy(update={"served_may_fall": True}))
        ways = _ways_to_serve(version, approve, is_dataset=is_dataset)
        return Verdict("Held", f"held: {'; '.join(doubts)}. {ways}. The version: {value}", score)
    return Verdict("Rejected" if is_behind else "Published", f"{'refused' if is_behind else 'passes'}: {value}", score)


def _served(record: GateRecord) -> str:
    return f"the served version {record.served_version or ''}".rstrip()


def _comparison(record: GateRecord, rule: GateRule, score: ScoreName, *, is_behind: bool, served: str | None) -> str:
    """Return how far the version is from the served one; "" if nothing was served."""
    if score not in record.served_scores:
        if served is None and record.not_compared is None:
            return ""
        why = f": {record.not_compared}" if record.not_compared else ""
        name = f" {served}" if served else ""
        return f"was not compared with the served version{name}, which could not be read{why}"
    theirs = f"{_served(record)} ({record.served_scores[score]:.4f} on the same texts)"
    distance = record.scores[score] - record.served_scores[score]
    if abs(distance) < 0.00005:
        return f"is as good as {theirs}"
    if distance > 0:
        return f"is {distance:.4f} ahead of {theirs}"
    return f"is {-distance:.4f} behind {theirs}, {'more than' if is_behind else 'within'} gate.tolerance {rule.tolerance:g}"


def _ways_to_serve(version: str, approve: str | None, *, is_dataset: bool) -> str:
    """Return how to get a held version served. is_dataset: whether only a change of the dataset is suspicious."""
    ways = [f"gate.approve: {version} serves this version"] if version else []
    ways.append(f"a gate.minimum that it reaches serves it{', too' if ways else ''}")
    if is_dataset:
        ways.append("gate.served_may_fall: true lets the dataset of this classifier change")
    other = f" (gate.approve is {approve}, which is another version)" if approve else ""
    return f"If the dataset is wrong, correct it; if it is right, {'; '.join(ways)}{other}"


def suspicions(record: GateRecord, rule: GateRule) -> tuple[str, ...]:
    """Return the reasons for a person to check the dataset before the version is served, as sentences without a full stop.

    Empty if the rule has a minimum, which says what is good enough.
    """
    if rule.minimum is not None:
        return ()
    changed = () if record.data is None or rule.served_may_fall else _changes(record.data, _served(record), rule.tolerance)
    return (*changed, *_no_better_than_constant(record))


def _changes(data: DataChange, served: str, tolerance: float) -> tuple[str, ...]:
    reasons = []
    if has_fallen(data, tolerance=tolerance):
        reasons.append(
            f"the dataset changed, not the model: {served} scored micro-F1 {data.score_before:.4f} on its own test part "
            f"({data.texts_before:,} texts) and scores {data.score:.4f} on this one ({data.texts:,} texts), a larger fall than "
            f"chance and gate.tolerance {tolerance:g} explain"
        )
    elif data.fallen:
        reasons.append(f"the dataset changed, not the model: {served} finds {_fallen(data)}")
    if data.lost_share > MAX_LOST_SHARE:
        reasons.append(
            f"the dataset lacks {_named(data.lost, data.lost_count)}, which were {data.lost_share:.0%} of the labels in the "
            f"test part of {served}"
        )
    if data.labelled_before and data.labelled is not None:
        reasons += _lost_rows(data, data.labelled, data.labelled_before, served)
    return tuple(reasons)


def has_fallen(data: DataChange, *, tolerance: float) -> bool:
    """Return whether the served version is worse on this test part than on its own, by more than chance and the tolerance."""
    if not data.texts or not data.texts_before:
        return False
    before, now = (data.score_before, data.texts_before), (data.score, data.texts)
    return least_fall(before, now, errors=CHANCE_STANDARD_ERRORS) > tolerance + ROUNDING_ERROR


def label_has_fallen(fall: LabelFall, *, labels: int) -> bool:
    """Return whether the recall of a label has fallen by more than chance and MAX_LABEL_FALL. labels: number of labels."""
    if not fall.texts or not fall.texts_before:
        return False
    errors = NormalDist().inv_cdf(1 - LABEL_FALSE_ALARM_PROBABILITY / max(1, labels))
    return least_fall((fall.recall_before, fall.texts_before), (fall.recall, fall.texts), errors=errors) > MAX_LABEL_FALL


def least_fall(before: tuple[float, int], now: tuple[float, int], *, errors: float) -> float:
    """Return the lower limit of the fall from one share to another. before, now: each a share and its number of texts.

    It is the limit of Newcombe's interval for the difference of two independent proportions (Statistics in Medicine 1998, method
    10). A micro-F1 counts as a proportion of the texts.
    """
    low, _ = _wilson(*before, errors=errors)
    _, high = _wilson(*now, errors=errors)
    return before[0] - now[0] - sqrt((before[0] - low) ** 2 + (high - now[0]) ** 2)


def _wilson(share: float, texts: int, *, errors: float) -> tuple[float, float]:
    """Return Wilson's interval (JASA 1927) of a share of `texts` texts."""
    square = errors**2
    middle = (share + square / (2 * texts)) / (1 + square / texts)
    half = errors / (1 + square / texts) * sqrt(share * (1 - share) / texts + square / (4 * texts**2))
    return middle - half, middle + half


def best_constant(scores: Scores, task: Task) -> float:
    """Return the micro-F1 of the best constant answer, which gives the most frequent labels to every text of the part."""
    counts = sorted((each.support for each in scores.per_label.values()), reverse=True)
    due, right, best = sum(counts), 0, 0.0
    for given, count in enumerate(counts, start=1):
        right += count
        best = max(best, 2 * right / max(1, given * scores.texts + due))
        if task is Task.SINGLE_LABEL:
            break
    return best


def _no_better_than_constant(record: GateRecord) -> tuple[str, ...]:
    micro_f1 = record.scores.get(ScoreName.MICRO_F1)
    if record.constant is None or not record.texts or micro_f1 is None:
        return ()
    low, _ = _wilson(micro_f1, record.texts, errors=BETTER_STANDARD_ERRORS)
    if low > record.constant:
        return ()
    reason = (
        f"the version learned nothing: its micro-F1 is {micro_f1:.4f} on {record.texts:,} texts, and the same answer "
        f"for every text reaches {record.constant:.4f}, which chance explains"
    )
    return (reason,)


def _fallen(data: DataChange) -> str:
    shown = [
        f"{each.label!r} in {each.recall:.0%} of the {each.texts:,} texts that carry it, before in {each.recall_before:.0%} "
        f"of {each.texts_before:,}"
        for each in data.fallen
    ]
    more = data.fallen_count - len(shown)
    return ", ".join(shown) + (f", and so on for {more:,} more labels" if more > 0 else "")


def _named(names: tuple[str, ...], count: int) -> str:
    more = count - len(names)
    shown = ", ".join(map(repr, names)) + (f" and {more:,} more" if more > 0 else "")
    return f"{'the label' if count == 1 else 'the labels'} {shown}"


def _lost_rows(data: DataChange, labelled: int, before: int, served: str) -> list[str]:
    set_aside, set_aside_before = 1 - data.used / max(1, data.rows), 1 - before / max(1, data.rows_before)
    if labelled < MIN_TEXTS_SHARE * before:
        return [f"{labelled:,} different texts have a label, the dataset of {served} had {before:,}"]
    if set_aside > set_aside_before + MAX_LEFT_OUT_SHARE:
        before_that = f"in the dataset of {served} at least {1 - set_aside_before:.0%}"
        return [f"{data.used:,} of {data.rows:,} rows have a text and a label, {1 - set_aside:.0%}; {before_that}"]
    return []
