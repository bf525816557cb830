"""Suggestions from the findings: advice, reasons and settings. Pure.

Settings can be written into a file for `train --config`. Advice without settings has to be decided by a person.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from model.manifest import Task
from trainer.analysis.co_occurrence import CoOccurrence, Pair
from trainer.analysis.disagreements import DisagreementKind
from trainer.analysis.duplicates import Conflict, Repetition
from trainer.analysis.findings import FEWEST_WORDS, Findings
from trainer.balance.imbalance import Imbalance, measure
from trainer.config.settings import Config, SplitConfig
from trainer.data.examples import Examples
from trainer.data.labels.names import same_names
from trainer.data.tables import counted
from trainer.shown_values import escaped_names, shown

FEW_EXAMPLES = 10  # one text in a test part of a tenth
NEGLIGIBLE = 0.02  # share of all given labels
UNEVEN, VERY_UNEVEN = 3.0, 10.0  # MeanIR
PLENTY = 500  # texts of the median label; with more, leaving some out costs little
TEXTS_TO_SCORE = 100  # with fewer, a score's 95 % interval is wider than 0.1
LARGEST_SHARE = 0.25
MANY_COPIES = 0.01
ONE_LABEL = 0.9  # Jaccard index from which two labels may be the same
RARELY_SEVERAL = 0.01
LONGEST_ENCODER = 512  # maximum number of tokens of BERT and most encoders
STEP = 32
NAMED = 5

_SEPARATOR_NOTE = re.compile(r"^labels were taken to be joined by (?P<quote>['\"])(?P<separator>.+?)(?P=quote), ")


@dataclass(frozen=True)
class Suggestion:
    """Advice with its reason and its settings, such as {"training.max_length": 384}; empty if no setting does it."""

    advice: str
    reason: str
    settings: dict[str, Any] = field(default_factory=dict)


def suggest(found: Findings, config: Config) -> tuple[Suggestion, ...]:
    """Return the suggestions: first about labels, then about rows, then about the training."""
    examples, duplicates = found.examples, found.duplicates
    counts, labels = examples.label_counts(), examples.labels
    several = float((examples.targets.getnnz(axis=1) > 1).mean())
    swapped = found.judged.found.counts[DisagreementKind.OTHER] if found.judged else None
    equal = sum(each.equal for each in duplicates.conflicts)
    return (
        *separator(examples.task, several, found.notes, config),
        *without_label(examples, config),
        *aliases(labels, counts, config),
        *same_texts(found.co_occurrence, labels),
        *rare_labels(counts, labels, config.dataset.minimum_examples),
        *contradictions(duplicates.conflicts, equal, swapped, len(found.near_empty)),
        *division(len(found.trained), duplicates.near, config.split),
        *maximum_length(found.lengths.tokens(), found.lengths.words, config),
        *balance(measure(found.trained.targets), config),
    )


def as_yaml(suggestions: tuple[Suggestion, ...], config: Config) -> str:
    """Return the dataset and all suggested settings, as YAML for `train --config`."""
    dataset = config.dataset
    settings: dict[str, Any] = {
        "dataset": {
            "uri": dataset.uri,
            "text_columns": list(dataset.text_columns),
            "label_columns": list(dataset.label_columns),
        }
    }
    for suggestion in suggestions:
        for key, value in suggestion.settings.items():
            section, _, name = key.partition(".")
            settings.setdefault(section, {})[name] = value
    text: str = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True, width=120)
    return text


def guessed_separator(notes: Sequence[str]) -> str | None:
    """Return the separator that `trainer.data.labels.columns` detected, read from its note; None if it detected none."""
    matches = [match["separator"] for note in notes if (match := _SEPARATOR_NOTE.match(note))]
    return matches[0] if matches else None


def separator(task: Task, several: float, notes: tuple[str, ...], config: Config) -> Iterator[Suggestion]:
    """Suggest the label separator. several: share of texts with more than one label."""
    guessed = guessed_separator(notes)
    if task is Task.SINGLE_LABEL:
        reason = "No text has more than one, so the model predicts the most probable label, and probabilities add up to 1."
        yield Suggestion("Train with one label per text; no setting is needed.", reason)
    elif guessed is not None and several < RARELY_SEVERAL:
        reason = (
            f"With {guessed!r} as separator, only {percent(several)} of the texts have several labels: it may be part of names."
        )
        yield Suggestion(f"Check whether {guessed!r} separates labels; if not, set no separator.", reason,
                         {"dataset.label_separator": ""})  # fmt: skip
    elif guessed is not None:
        reason = f"It was detected, and {percent(several)} of the texts have several labels with it; new data may change this."
        yield Suggestion(f"Set {guessed!r} as the label separator.", reason, {"dataset.label_separator": guessed})
    else:
        reason = (
            f"{percent(several)} of the texts have more than one, so each label is decided separately, with its own threshold."
        )
        yield Suggestion("Train with several labels per text; no setting is needed.", reason)
    if config.dataset.label_separator == "auto" and guessed is None:
        yield from (Suggestion("Check the label separator.", f"{note[0].upper()}{note[1:]}.") for note in notes if _doubts(note))


def without_label(examples: Examples, config: Config) -> Iterator[Suggestion]:
    """Suggest to set that a text may have no label, if that was detected."""
    if examples.label_required or config.dataset.label_required != "auto":
        return
    share = float(examples.without_label().mean())
    reason = (
        f"{percent(share)} of the texts are known to have none, so the model may predict none. With true, they would be left "
        "out, and every text would get a label."
    )
    yield Suggestion("Set that a text may have no label.", reason, {"dataset.label_required": False})


def _doubts(note: str) -> bool:
    return "if they are several, set dataset.label_separator" in note


def aliases(labels: tuple[str, ...], counts: NDArray[np.int64], config: Config) -> Iterator[Suggestion]:
    """Suggest aliases for labels that differ only in case, blanks or punctuation."""
    renamed = same_names(labels, counts)
    if not renamed:
        return
    old, new = next(iter(renamed.items()))
    verb = "differs" if len(renamed) == 1 else "differ"
    reason = f"{counted(len(renamed), 'label')} {verb} from another only in case, blanks or punctuation: {_names(list(renamed))}."
    yield Suggestion(f"Rename {shown(old)} to {shown(new)}{', and so on' if len(renamed) > 1 else ''}.", reason,
                     {"dataset.aliases": {**config.dataset.aliases, **renamed}})  # fmt: skip


def same_texts(found: CoOccurrence, labels: tuple[str, ...]) -> Iterator[Suggestion]:
    """Suggest to review labels that nearly always occur together, and those that imply another."""
    alike = [pair for pair in found.pairs if pair.jaccard >= ONE_LABEL]
    if alike:
        reason = f"{percent(alike[-1].jaccard)} or more of the texts with either label have both: {_pairs(alike, labels)}."
        yield Suggestion("Decide whether labels that nearly always occur together are the same; if so, rename one with "
                         "dataset.aliases.", reason)  # fmt: skip
    if found.implications:
        first = found.implications[0]
        of = len({each.of for each in found.implications})
        reason = (
            f"{counted(of, 'label')} {'occurs' if of == 1 else 'occur'} with another in 95 % or more of the texts, such as "
            f"{labels[first.of]} with {labels[first.also]}: a hierarchy, or a labelling rule."
        )
        yield Suggestion("Note that some labels imply others; their scores are high without much information.", reason)


def rare_labels(counts: NDArray[np.int64], labels: tuple[str, ...], minimum: int) -> Iterator[Suggestion]:
    """Suggest what to do about labels that are too rare to be learned or scored."""
    given, rare = counts.sum(), np.flatnonzero(counts < FEW_EXAMPLES)
    if not len(rare):
        return
    share = counts[rare].sum() / given
    lost = int((counts < minimum).sum())
    named = _names([labels[at] for at in rare[np.argsort(-counts[rare], kind="stable")]])
    reason = (
        f"{counted(len(rare), 'label')} of {len(counts):,} {'has' if len(rare) == 1 else 'have'} fewer than {FEW_EXAMPLES} texts "
        f"({percent(share)} of all given labels; {lost:,} below dataset.minimum_examples: {minimum}): {named}."
    )
    if share <= NEGLIGIBLE and minimum < FEW_EXAMPLES and (counts >= FEW_EXAMPLES).sum() > 1:
        reason += " With a tenth of the data as the test part, the score of such a label is random."
        yield Suggestion("Leave out labels that are too rare to be scored.", reason, {"dataset.minimum_examples": FEW_EXAMPLES})
    else:
        yield Suggestion("Collect more texts of the rare labels, or merge them with dataset.aliases.", reason)


def maximum_length(tokens: NDArray[np.int64], words: NDArray[np.int64], config: Config) -> Iterator[Suggestion]:
    """Suggest maximum lengths from the 95th percentile. tokens, words: of each text [texts]."""
    limit, longest = config.training.max_length, float(np.percentile(tokens, 95))
    wanted = min(LONGEST_ENCODER, max(STEP, STEP * math.ceil(longest / STEP)))
    cut = float((tokens > limit).mean())
    if wanted > limit:
        reason = f"At {limit:,} tokens, {percent(cut)} of the texts would be cut; 95 % have at most about {longest:,.0f}."
        if longest > LONGEST_ENCODER:
            reason += f" Most encoders see {LONGEST_ENCODER}."
        yield Suggestion("Let the transformer see more of each text.", reason, {"training.max_length": wanted})
    elif wanted <= limit / 2:
        reason = f"95 % of the texts have at most about {longest:,.0f} tokens; a limit below {limit:,} makes the longest cheaper."
        yield Suggestion("Cut the few long texts, so that the transformer is cheaper.", reason, {"training.max_length": wanted})
    many = float(np.percentile(words, 95))
    if many > config.linear.max_length:
        wanted = min(2048, STEP * math.ceil(many / STEP))
        reason = f"95 % of the texts have at most {many:,.0f} words; the linear model sees {config.linear.max_length:,}."
        if wanted > config.linear.max_length:
            yield Suggestion("Let the linear model see more of each text.", reason, {"linear.max_length": wanted})


def balance(found: Imbalance, config: Config) -> Iterator[Suggestion]:
    """Suggest balancing if the labels' frequencies are very different."""
    if config.balance.sampling != "none" or found.mean_ratio < UNEVEN:
        return
    reason = (
        f"The largest label has {found.largest:,} texts, the median one {found.median:,.0f}, the smallest {found.smallest:,}; "
        f"MeanIR is {found.mean_ratio:.1f}."
    )
    strategy = "undersample" if found.median >= PLENTY else "oversample"
    if found.mean_ratio < VERY_UNEVEN:
        yield Suggestion(f"If macro-F1 matters most, compare balance.sampling: {strategy} with none.", reason)
        return
    reason += (
        " There are enough texts to leave some out."
        if strategy == "undersample"
        else " There are too few texts to leave any out."
    )
    yield Suggestion("Balance, and compare with none: macro-F1 may rise and micro-F1 fall.", reason,
                     {"balance.sampling": strategy})  # fmt: skip


def division(rows: int, near: Repetition, split: SplitConfig) -> Iterator[Suggestion]:
    """Suggest how to split: enough texts to score, duplicates in one part. rows: number that a training would use."""
    share = min(LARGEST_SHARE, math.ceil(20 * TEXTS_TO_SCORE / max(1, rows)) / 20)
    if share > max(split.test_share, split.validation_share):
        reason = (
            f"The test part would have {rows * split.test_share:,.0f} of {rows:,} texts; below {TEXTS_TO_SCORE}, scores vary "
            "by 0.1."
        )
        yield Suggestion("Use more texts for validation and test, or collect more texts.", reason,
                         {"split.test_share": share, "split.validation_share": share})  # fmt: skip
    copies = near.beyond_first / max(1, rows)
    if near.largest > LARGEST_SHARE * rows:
        reason = f"One group of near-duplicates has {near.largest:,} of {rows:,} texts, and a group is never split."
        yield Suggestion("Remove boilerplate that the texts share.", reason)
    elif copies >= MANY_COPIES:
        reason = f"{near.beyond_first:,} texts ({percent(copies)}) nearly repeat another: split apart, they raise the scores."
        if split.near_duplicates == 1:
            yield Suggestion("Keep near-duplicates in one part.", reason, {"split.near_duplicates": 0.7})
        else:
            yield Suggestion(f"Keep split.near_duplicates at {split.near_duplicates:g}, not at 1.", reason)


def contradictions(found: tuple[Conflict, ...], equal: int, swapped: int | None, near_empty: int) -> Iterator[Suggestion]:
    """Suggest rows to correct. equal: conflicts with equal words. swapped: rows for which another label is suggested."""
    if found:
        reason = f"{counted(len(found), 'group')} of near-duplicates, {equal:,} with equal words, have different labels."
        yield Suggestion("Correct the labels of texts that occur more than once.", reason)
    if swapped:
        reason = f"For {counted(swapped, 'row')}, models of the other rows doubt a given label and are confident of another."
        yield Suggestion("Read the suspicious rows from the top, and correct their labels.", reason)
    if near_empty:
        reason = f"{counted(near_empty, 'text')} with fewer than {FEWEST_WORDS} words, too few to classify."
        yield Suggestion("Drop near-empty texts, or add a column to dataset.text_columns.", reason)


def percent(share: float) -> str:
    """Return the share in percent with two significant digits: 34 %, 3.4 %, 0.34 %."""
    digits = 0 if share >= 0.1 or not share else 1 if share >= 0.01 else 2
    return f"{100 * share:.{digits}f} %"


def _names(names: list[str]) -> str:
    return escaped_names(names, most=NAMED)


def _pairs(pairs: list[Pair], labels: tuple[str, ...]) -> str:
    return _names([f"{labels[pair.one]} with {labels[pair.other]}" for pair in pairs])
