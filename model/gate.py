"""The gate: what was measured of a version, what was asked for, and what keeps the version from being served.

One rule for the trainer, which measures, and for the controller, which decides. Knows no storage, no model and no resource.
Messages name the trainer's settings (`gate.minimum`); the controller translates them.
"""

from __future__ import annotations

from math import sqrt
from statistics import NormalDist

from pydantic import Field

from model.manifest import Name, ScoreName, Scores, Share, Strict, Task

ROUNDING = 1e-9  # of scores that are exactly as far apart as people write them
CHANCE = 3.0  # standard errors: a fall of the served version that is larger has another cause than the choice of texts
BETTER = 2.0  # standard errors by which a version has to be better than a constant answer
LABEL_CHANCE = 0.001  # probability that any label of a dataset that did not change seems to have fallen
LABEL_FALL = 0.2  # of a label's recall, beyond chance
FEWEST_TEXTS = 2 / 3  # of the served version's, with a label
MOST_SET_ASIDE = 0.1  # of all rows, more than of the served version's dataset
MOST_LOST = 0.05  # of the served version's labels, counted by text, that the dataset does not have any more
NAMES_SHOWN = 3
LONGEST_NAME = 40  # characters of a label's name in a result


class LabelFall(Strict):
    """A label that the served version finds in fewer of its texts than it did on its own test part."""

    label: str
    texts_before: int = Field(ge=0, description="of the served version's test part that carry the label")
    recall_before: Share
    texts: int = Field(ge=0, description="of this test part that carry the label")
    recall: Share


class DataChange(Strict):
    """How a dataset differs from the one of the served version: facts, of which `suspicions` makes findings."""

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


class GateScores(Strict):
    """What decides whether a version may be served: its scores on the test part, and what was asked for."""

    score: ScoreName = Field(description="the one that decides; accuracy: the share of texts whose labels are all right")
    value: Share = Field(description="of that score")
    baseline: Share = Field(description="the same score of the linear model, on the same texts")
    micro_f1: Share
    macro_f1: Share
    texts: int | None = Field(default=None, ge=0, description="of the test part")
    constant: Share | None = Field(default=None, description="micro-F1 of the best answer that is the same for every text")
    minimum: Share | None = Field(default=None, description="none: any value will do")
    served_version: Name | None = Field(default=None, description="what it was compared with")
    served_value: Share | None = Field(default=None, description="of the served version, on the same texts")
    not_compared: str | None = Field(default=None, description="why nothing was compared with the served version; none: it was")
    tolerance: Share = Field(description="how far the value may be below that of the served version")
    data: DataChange | None = Field(default=None, description="how the dataset differs from that of the served version")
    served_may_fall: bool = Field(default=False, description="the dataset may differ from that of the served version")
    passed: bool | None = Field(default=None, description="none: there was nothing to compare the value with")

    @property
    def is_below_minimum(self) -> bool:
        """Whether a minimum was asked for that it does not reach."""
        return self.minimum is not None and self.value < self.minimum - ROUNDING

    @property
    def is_worse_than_served(self) -> bool:
        """Whether it is behind the version it was compared with by more than the tolerance."""
        return self.served_value is not None and self.value < self.served_value - self.tolerance - ROUNDING


def suspicions(scores: GateScores) -> tuple[str, ...]:
    """Why nobody should trust the version before a person has looked at its dataset, in sentences without a full stop.

    None where a minimum was asked for: whoever names one has said what is good enough.
    """
    if scores.minimum is not None:
        return ()
    changed = () if scores.data is None or scores.served_may_fall else _changes(scores.data, scores)
    return (*changed, *_no_better_than_constant(scores))


def _changes(data: DataChange, scores: GateScores) -> tuple[str, ...]:
    served = f"the served version {scores.served_version or ''}".rstrip()
    found = []
    if has_fallen(data, tolerance=scores.tolerance):
        found.append(
            f"the dataset changed, not the model: {served} scored micro-F1 {data.score_before:.4f} on its own test part "
            f"({data.texts_before:,} texts) and scores {data.score:.4f} on this one ({data.texts:,} texts), a larger fall than "
            f"chance and gate.tolerance {scores.tolerance:g} explain"
        )
    elif data.fallen:
        found.append(f"the dataset changed, not the model: {served} finds {_fallen(data)}")
    if data.lost_share > MOST_LOST:
        found.append(
            f"the dataset lacks {_named(data.lost, data.lost_count)}, which were {data.lost_share:.0%} of the labels in the "
            f"test part of {served}"
        )
    if data.labelled_before and data.labelled is not None:
        found += _lost_rows(data, data.labelled, data.labelled_before, served)
    return tuple(found)


def has_fallen(data: DataChange, *, tolerance: float) -> bool:
    """Whether the served version is worse on this test part than on its own, by more than chance and the tolerance."""
    if not data.texts or not data.texts_before:
        return False
    before, now = (data.score_before, data.texts_before), (data.score, data.texts)
    return least_fall(before, now, errors=CHANCE) > tolerance + ROUNDING


def label_has_fallen(fall: LabelFall, *, labels: int) -> bool:
    """Whether the served version finds this label less often, by more than chance and `LABEL_FALL`; one of so many labels."""
    if not fall.texts or not fall.texts_before:
        return False
    errors = NormalDist().inv_cdf(1 - LABEL_CHANCE / max(1, labels))
    return least_fall((fall.recall_before, fall.texts_before), (fall.recall, fall.texts), errors=errors) > LABEL_FALL


def least_fall(before: tuple[float, int], now: tuple[float, int], *, errors: float) -> float:
    """The least fall from one share to another, each of so many texts, that chance allows for.

    The interval for the difference of two independent proportions of Newcombe (Statistics in Medicine 1998, method 10). A
    micro-F1 is taken for a proportion of the texts.
    """
    low, _ = _wilson(*before, errors=errors)
    _, high = _wilson(*now, errors=errors)
    return before[0] - now[0] - sqrt((before[0] - low) ** 2 + (high - now[0]) ** 2)


def _wilson(share: float, texts: int, *, errors: float) -> tuple[float, float]:
    """The interval of Wilson (JASA 1927) around a share of so many texts."""
    square = errors**2
    middle = (share + square / (2 * texts)) / (1 + square / texts)
    half = errors / (1 + square / texts) * sqrt(share * (1 - share) / texts + square / (4 * texts**2))
    return middle - half, middle + half


def best_constant(scores: Scores, task: Task) -> float:
    """Micro-F1 of the best answer that is the same for every text of the part: its most frequent labels."""
    counts = sorted((each.support for each in scores.per_label.values()), reverse=True)
    due, right, best = sum(counts), 0, 0.0
    for given, count in enumerate(counts, start=1):
        right += count
        best = max(best, 2 * right / max(1, given * scores.texts + due))
        if task is Task.SINGLE_LABEL:
            break
    return best


def _no_better_than_constant(scores: GateScores) -> tuple[str, ...]:
    if scores.constant is None or not scores.texts:
        return ()
    low, _ = _wilson(scores.micro_f1, scores.texts, errors=BETTER)
    if low > scores.constant:
        return ()
    reason = (
        f"the version learned nothing: its micro-F1 is {scores.micro_f1:.4f} on {scores.texts:,} texts, and the same answer "
        f"for every text reaches {scores.constant:.4f}, which chance explains"
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
    if labelled < FEWEST_TEXTS * before:
        return [f"{labelled:,} different texts have a label, the dataset of {served} had {before:,}"]
    if set_aside > set_aside_before + MOST_SET_ASIDE:
        before_that = f"in the dataset of {served} at least {1 - set_aside_before:.0%}"
        return [f"{data.used:,} of {data.rows:,} rows have a text and a label, {1 - set_aside:.0%}; {before_that}"]
    return []
