"""Figures to sentences and settings; what is suggested can be trained with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from model.manifest import Task
from trainer.analysis import suggestions
from trainer.analysis.co_occurrence import co_occurrence
from trainer.analysis.duplicates import Conflict, Repetition
from trainer.analysis.suggestions import Suggestion, as_yaml, guessed_separator, percent
from trainer.balance.imbalance import Imbalance
from trainer.config.loading import load
from trainer.config.settings import BalanceConfig, Config, DatasetConfig, SplitConfig, TrainingConfig
from trainer.data.labels.columns import read_labels
from trainer.data.labels.names import same_names, spelling

NONE = Repetition(0, 0, 0, 0)


def settings_of(found: Any) -> dict[str, Any]:
    return {key: value for each in found for key, value in each.settings.items()}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param("Home & Kitchen", "home and kitchen", id="ampersand"),
        pytest.param("sci-fi", "Sci Fi", id="hyphen"),
        pytest.param("e_mail", "E-Mail", id="underscore"),
        pytest.param("Ünïcode", "U\u0308nï\N{ZERO WIDTH SPACE}code", id="composed"),
        pytest.param("ΣΊΣΥΦΟΣ", "σίσυφος", id="greek-final-sigma"),
    ],
)
def test_names_that_differ_by_case_blanks_or_punctuation_are_spelt_alike(one: str, other: str) -> None:
    assert spelling(one) == spelling(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param("C", "C++", id="plus"),
        pytest.param("C", "C#", id="sharp"),
        pytest.param("1.0", "10", id="point-between-digits"),
        pytest.param("3-11", "31-1", id="digits-apart"),
        pytest.param("कि", "का", id="vowel-marks"),
        pytest.param("🔥", "❄", id="emoji"),
        pytest.param("math.AG", "math.AC", id="letters"),
    ],
)
def test_names_that_mean_different_things_are_not_spelt_alike(one: str, other: str) -> None:
    assert spelling(one) != spelling(other)


def test_the_more_frequent_name_stays() -> None:
    found = same_names(("Comedy", "comedy", "drama", "COMEDY "), np.array([3, 90, 5, 1]))

    assert found == {"Comedy": "comedy", "COMEDY ": "comedy"}


@given(labels=st.lists(st.text(min_size=1, max_size=4), unique=True, max_size=12), data=st.data())
def test_aliases_can_always_be_configured(labels: list[str], data: st.DataObject) -> None:
    counts = np.array(data.draw(st.lists(st.integers(1, 9), min_size=len(labels), max_size=len(labels))), np.int64)

    aliases = same_names(labels, counts)

    assert DatasetConfig(aliases=aliases).aliases == aliases
    assert set(aliases).isdisjoint(aliases.values())


@pytest.mark.parametrize("joint", [";", "|", ","])
def test_the_guess_of_a_separator_is_read_from_the_note_on_it(joint: str) -> None:
    labels = read_labels(pl.Series(["a", "b", "c", f"a{joint}b", f"b{joint}c"] * 3), listed=False, separator="auto", aliases={})

    assert guessed_separator(labels.notes) == joint
    assert guessed_separator(read_labels(pl.Series(["a", "b"]), listed=False, separator="auto", aliases={}).notes) is None


def test_a_guessed_separator_is_to_be_written_down_and_a_doubtful_one_looked_at() -> None:
    note = "labels were taken to be joined by ',', as in 'a,b'; if that is wrong, set dataset.label_separator"

    often = settings_of(suggestions.separator(Task.MULTI_LABEL, 0.4, (note,), Config()))
    hardly = settings_of(suggestions.separator(Task.MULTI_LABEL, 0.001, (note,), Config()))

    assert often == {"dataset.label_separator": ","}
    assert hardly == {"dataset.label_separator": ""}


def test_a_note_that_doubts_the_labels_becomes_a_suggestion() -> None:
    doubted = read_labels(
        pl.Series([f"one {n}, two {n}" for n in range(9)] + ["three"]), listed=False, separator="auto", aliases={}
    ).notes

    found = list(suggestions.separator(Task.SINGLE_LABEL, 0.0, doubted, Config()))

    assert "if they are several, set dataset.label_separator" in found[-1].reason


@pytest.mark.parametrize(
    ("counts", "minimum", "expected"),
    [
        pytest.param([500, 400, 300], 3, {}, id="none-is-rare"),
        pytest.param([5000, 4000, 9], 3, {"dataset.minimum_examples": 10}, id="a-negligible-tail"),
        pytest.param([5000, 4000, 9], 10, {}, id="already-left-out"),
        pytest.param([20, 9, 9, 9, 9], 3, {}, id="most-are-rare"),
        pytest.param([5000, 9], 3, {}, id="only-one-would-be-left"),
    ],
)
def test_rare_labels_are_left_out_where_little_is_lost(counts: list[int], minimum: int, expected: dict[str, int]) -> None:
    labels = tuple(f"label-{at}" for at in range(len(counts)))

    assert settings_of(suggestions.rare_labels(np.array(counts), labels, minimum)) == expected


def test_labels_too_rare_to_learn_are_named_where_they_are_many() -> None:
    [found] = suggestions.rare_labels(np.array([20, 9, 8, 2]), ("a", "b", "c", "d"), 3)

    assert "3 labels of 4 have fewer than 10 texts" in found.reason
    assert "b, c, d" in found.reason


@pytest.mark.parametrize(
    ("tokens", "limit", "expected"),
    [
        pytest.param(20, 256, 32, id="short-texts-want-little"),
        pytest.param(200, 256, None, id="about-right"),
        pytest.param(300, 256, 320, id="longer-than-the-limit"),
        pytest.param(3000, 256, 512, id="longer-than-encoders-see"),
        pytest.param(3000, 512, None, id="already-at-the-most"),
    ],
)
def test_the_maximum_length_follows_from_the_95th_percentile(tokens: int, limit: int, expected: int | None) -> None:
    config = Config(training=TrainingConfig(max_length=limit))
    lengths = np.full(1000, tokens)

    found = settings_of(suggestions.maximum_length(lengths, np.minimum(lengths, 400), config))

    assert found.get("training.max_length") == expected


def test_linear_sees_more_where_texts_have_more_words() -> None:
    words = np.full(100, 1500)

    assert settings_of(suggestions.maximum_length(words, words, Config()))["linear.max_length"] == 1504


@pytest.mark.parametrize(
    ("ratio", "median", "expected"),
    [
        pytest.param(1.5, 900, {}, id="even"),
        pytest.param(5.0, 900, {}, id="uneven-is-only-a-hint"),
        pytest.param(20.0, 900, {"balance.sampling": "undersample"}, id="plenty-of-texts"),
        pytest.param(20.0, 60, {"balance.sampling": "oversample"}, id="few-texts"),
    ],
)
def test_balancing_follows_from_mean_ratio_and_from_how_many_texts_there_are(
    ratio: float, median: float, expected: dict[str, str]
) -> None:
    assert settings_of(suggestions.balance(Imbalance(9000, 5000, median, 9, 3 * ratio, ratio), Config())) == expected


def test_a_strategy_that_is_configured_is_not_suggested_again() -> None:
    chosen = Config(balance=BalanceConfig(sampling="mltl"))

    assert not list(suggestions.balance(Imbalance(9000, 5000, 60, 9, 90.0, 20.0), chosen))


def test_few_texts_want_larger_parts() -> None:
    assert settings_of(suggestions.division(400, NONE, SplitConfig())) == {
        "split.test_share": 0.25,
        "split.validation_share": 0.25,
    }
    assert settings_of(suggestions.division(700, NONE, SplitConfig()))["split.test_share"] == 0.15
    assert not list(suggestions.division(5000, NONE, SplitConfig()))


def test_near_duplicates_are_kept_in_one_part_and_boilerplate_is_named() -> None:
    copies = Repetition(rows=900, groups=300, beyond_first=600, largest=40)

    assert settings_of(suggestions.division(10_000, copies, SplitConfig(near_duplicates=1))) == {"split.near_duplicates": 0.7}
    assert "6.0 %" in next(suggestions.division(10_000, copies, SplitConfig())).reason
    assert "4,000 of 10,000" in next(suggestions.division(10_000, Repetition(4000, 1, 3999, 4000), SplitConfig())).reason


def test_labels_of_the_same_texts_and_labels_that_imply_others_are_for_a_person_to_decide() -> None:
    targets = csr_matrix(np.array([[1, 1, 0]] * 20 + [[0, 0, 1]] * 20, np.uint8))

    found = list(suggestions.same_texts(co_occurrence(targets), ("film", "movie", "play")))

    assert "film with movie" in found[0].reason
    assert "film with movie" in found[1].reason
    assert settings_of(found) == {}


def test_rows_to_look_at_are_counted() -> None:
    conflict = Conflict(size=2, equal=True, agreement=0.0, members=(0, 1))

    found = list(suggestions.contradictions((conflict,), 1, 7, 2))

    assert [each.reason.split()[0] for each in found] == ["1", "For", "2"]
    assert not list(suggestions.contradictions((), 0, None, 0))


@given(st.floats(0, 1))
def test_a_percentage_is_short_and_close(share: float) -> None:
    text = percent(share)

    assert len(text) <= 6
    assert abs(float(text.removesuffix(" %")) / 100 - share) <= 0.005 + 1e-9


def test_all_suggested_settings_make_a_file_that_train_reads(tmp_path: Path) -> None:
    strange = {'a: "b"\n#': "- x", "NUL\x00": "יום", "🚀": "null"}
    found = (
        Suggestion("", "", {"dataset.aliases": strange, "dataset.label_separator": ""}),
        Suggestion("", "", {"training.max_length": 384, "split.test_share": 0.15}),
        Suggestion("", "", {"balance.sampling": "oversample"}),
    )
    given_config = Config(dataset=DatasetConfig(uri="s3://data/x.csv", text_columns=("title", "text"), label_columns=("tags",)))
    file = tmp_path / "suggested.yaml"
    file.write_text(as_yaml(found, given_config))

    config = load(file, {})

    assert config.dataset.model_copy(update={"aliases": {}, "label_separator": "auto"}) == given_config.dataset
    assert (config.dataset.aliases, config.dataset.label_separator) == (strange, "")
    assert (config.training.max_length, config.split.test_share, config.balance.sampling) == (384, 0.15, "oversample")
