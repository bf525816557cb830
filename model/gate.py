"""The gate: the scores of a version, the rule that they are judged by, and the verdict.

The trainer measures and judges once; the controller judges the same record again when the rule changes. This module does not
depend on storage, models or Kubernetes. Messages name the trainer's settings (`gate.minimum`); the controller translates them.
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

ROUNDING_ERROR = 1e-9  # smaller differences between two scores are ignored
CHANCE_STANDARD_ERRORS = 3.0  # a drop of more standard errors than this is not taken for chance
BETTER_STANDARD_ERRORS = 2.0  # number of standard errors by which a version must beat a constant prediction
LABEL_FALSE_ALARM_PROBABILITY = 0.001  # accepted probability that at least one label seems to drop in an unchanged dataset
MAX_LABEL_FALL = 0.2  # largest accepted drop of a label's recall, after allowing for chance
MIN_TEXTS_SHARE = 2 / 3  # the dataset must have at least this share of the served version's number of labelled texts
MAX_LEFT_OUT_SHARE = 0.1  # how much larger the share of unused rows may be than in the served version's dataset
MAX_LOST_SHARE = 0.05  # labels that the dataset lacks may be at most this share of the labels in the served version's test part
MAX_SHOWN_NAMES = 3
MAX_NAME_CHARACTERS = 40  # longer names of labels are truncated in a result


class LabelFall(Strict):
    """Label whose recall by the served version is lower than on that version's own test part."""

    label: str
    texts_before: int = Field(ge=0, description="texts of the served version's test part that have the label")
    recall_before: Share
    texts: int = Field(ge=0, description="texts of this test part that have the label")
    recall: Share


class DataChange(Strict):
    """Differences between a dataset and the one of the served version, from which `suspicions` draws conclusions."""

    score_before: Share = Field(description="micro-F1 of the served version on its own test part")
    texts_before: int = Field(ge=0, description="texts of that test part")
    score: Share = Field(description="micro-F1 of the served version on this test part, for the labels that it knows")
    texts: int = Field(ge=0, description="texts of this test part that have a label it knows")
    fallen: tuple[LabelFall, ...] = Field(default=(), description="labels whose recall dropped beyond chance; only the first few")
    fallen_count: int = Field(default=0, ge=0, description="number of labels in `fallen` before it was cut")
    lost: tuple[str, ...] = Field(default=(), description="labels of the served version that the dataset lacks; a few")
    lost_count: int = Field(default=0, ge=0, description="number of labels in `lost` before it was cut")
    lost_share: Share = Field(default=0, description="the lost labels' share of the labels of the served version's test part")
    labelled_before: int | None = Field(default=None, ge=0, description="distinct texts of the served version; none: unknown")
    labelled: int | None = Field(default=None, ge=0, description="distinct texts that are used; none: the dataset is a sample")
    rows_before: int = Field(default=0, ge=0, description="rows of the served version's dataset")
    rows: int = Field(default=0, ge=0, description="rows of this dataset")
    used: int = Field(default=0, ge=0, description="rows of this dataset that are in one of its parts")


class GateRule(Strict):
    """Rule that decides whether a version may be served."""

    score: ScoreName = Field(
        default=ScoreName.MICRO_F1,
        description="the score that decides: micro-f1, macro-f1, samples-f1, weighted-f1, or accuracy: subset accuracy, the "
        "share of texts whose labels are all correct",
    )
    minimum: float | None = Field(default=None, ge=0, le=1, description="the lowest score that passes; none: no limit")
    tolerance: float = Field(default=0.005, ge=0, le=1, description="how far the score may be below the served version's")
    served_may_fall: bool = Field(
        default=False,
        description="true: a dataset that differs from the served version's is no reason to hold the version",
    )


class GateRecord(Strict):
    """Scores of a version on its test part, which any rule can judge without another training.

    scores, baseline_scores, served_scores: scores by name: of the version, of the linear model, of the served version. All are
    on the same texts. A record of an earlier release holds only the score of its rule, and micro-F1 and macro-F1 of the version.
    """

    scores: dict[ScoreName, Share]
    baseline_scores: dict[ScoreName, Share]
    served_scores: dict[ScoreName, Share] = Field(default={}, description="empty: no served version was scored")
    served_version: Name | None = Field(default=None, description="the version that it was compared with")
    not_compared: str | None = Field(
        default=None, description="why the served version was not scored; none: it was, or there is none"
    )
    texts: int | None = Field(default=None, ge=0, description="texts of the test part")
    constant: Share | None = Field(default=None, description="micro-F1 of the best constant prediction")
    data: DataChange | None = Field(default=None, description="how the dataset differs from that of the served version")
    rule: GateRule = Field(description="the rule that the run was given")
    passed: bool | None = Field(
        default=None, description="whether it passed that rule; none: there was nothing to compare the score with"
    )

    @model_validator(mode="before")
    @classmethod
    def _from_earlier_release(cls, content: object) -> object:
        """Convert the record of an earlier release, which measured only one score."""
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
    def _check_rule_score(self) -> Self:
        if not self.has_score(self.rule.score):
            raise ValueError(f"rule.score is {self.rule.score}, which was not measured")
        return self

    def has_score(self, score: ScoreName) -> bool:
        """Return whether a rule can compare this score."""
        return all(score in each for each in (self.scores, self.baseline_scores, self.served_scores or self.scores))

    @property
    def verdict(self) -> Verdict:
        """Verdict by the rule that the run was given."""
        return judge(self, self.rule)


@dataclass(frozen=True)
class Verdict:
    """Decision about a version, and its reason in a sentence. Held: the version waits for approval.

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
    """Return the verdict of `rule` on the version.

    If the record lacks the score that `rule` names, the score of the record's own rule is compared, and the message says so.
    version: its name; "" outside Kubernetes, where versions cannot be approved. approve: name of the approved version, for which
    only the rule's minimum applies. served: the version it was to be compared with, for the message if that failed.
    """
    score = rule.score if record.has_score(rule.score) else record.rule.score
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
    ways = [f"gate.approve: {version} (serves this version)"] if version else []
    ways.append("gate.minimum (serves every version that reaches it)")
    if is_dataset:
        ways.append("gate.served_may_fall: true (lets the dataset of this classifier change)")
    other = f". gate.approve is {approve}, which is another version" if approve else ""
    choice = "set one of: " if len(ways) > 1 else "set "
    return f"If the dataset is wrong, correct it. If it is right, {choice}{', '.join(ways)}{other}"


def suspicions(record: GateRecord, rule: GateRule) -> tuple[str, ...]:
    """Return why the version must be approved before it is served, one clause for each reason.

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
            f"({data.texts_before:,} texts) and scores {data.score:.4f} on this one ({data.texts:,} texts), a larger drop than "
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
    """Return the lower confidence limit of the drop from one proportion to another.

    before, now: each a proportion and its number of texts.
    It is the limit of Newcombe's interval for the difference of two independent proportions (Statistics in Medicine 1998, method
    10). A micro-F1 counts as a proportion of the texts.
    """
    low, _ = _wilson(*before, errors=errors)
    _, high = _wilson(*now, errors=errors)
    return before[0] - now[0] - sqrt((before[0] - low) ** 2 + (high - now[0]) ** 2)


def _wilson(proportion: float, texts: int, *, errors: float) -> tuple[float, float]:
    """Return Wilson's interval (JASA 1927) of a proportion of `texts` texts."""
    square = errors**2
    middle = (proportion + square / (2 * texts)) / (1 + square / texts)
    half = errors / (1 + square / texts) * sqrt(proportion * (1 - proportion) / texts + square / (4 * texts**2))
    return middle - half, middle + half


def best_constant(scores: Scores, task: Task) -> float:
    """Return the micro-F1 of the best constant prediction: the most frequent labels for every text of the part."""
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
        f"the version learned nothing: its micro-F1 {micro_f1:.4f} on {record.texts:,} texts is not significantly better than "
        f"{record.constant:.4f}, the score of one answer for every text"
    )
    return (reason,)


def _fallen(data: DataChange) -> str:
    shown = [
        f"{each.label!r} in {each.recall:.0%} of its {each.texts:,} texts, down from {each.recall_before:.0%} "
        f"of {each.texts_before:,}"
        for each in data.fallen
    ]
    more = data.fallen_count - len(shown)
    return ", ".join(shown) + (f" and {more:,} more labels" if more > 0 else "")


def _named(names: tuple[str, ...], count: int) -> str:
    more = count - len(names)
    shown = ", ".join(map(repr, names)) + (f" and {more:,} more" if more > 0 else "")
    return f"{'the label' if count == 1 else 'the labels'} {shown}"


def _lost_rows(data: DataChange, labelled: int, before: int, served: str) -> list[str]:
    left_out, left_out_before = 1 - data.used / max(1, data.rows), 1 - before / max(1, data.rows_before)
    if labelled < MIN_TEXTS_SHARE * before:
        return [f"{labelled:,} distinct texts have a label; the dataset of {served} had {before:,}"]
    if left_out > left_out_before + MAX_LEFT_OUT_SHARE:
        # "at least", because only the number of distinct texts was recorded then, not that of used rows
        before_that = f"in the dataset of {served} at least {1 - left_out_before:.0%}"
        return [f"{data.used:,} of {data.rows:,} rows have a text and a label, {1 - left_out:.0%}; {before_that}"]
    return []
