"""Texts that say nearly the same share a group, and no others."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from model.manifest import Task
from trainer.data.examples import Examples
from trainer.split.minhash import BINS, signatures
from trainer.split.near_duplicates import FIRST_WORDS, groups

VOCABULARY = [f"word{index}" for index in range(5_000)]


def examples_of(texts: list[str], folder: Path) -> Examples:
    file = folder / "texts.parquet"
    pl.DataFrame({"text": texts}, schema={"text": pl.String}).write_parquet(file, row_group_size=8192)
    targets = csr_matrix(np.ones((len(texts), 1), np.uint8))
    return Examples(file, np.arange(len(texts)), ("any",), targets, Task.SINGLE_LABEL)


def words(count: int, seed: int) -> list[str]:
    return random.Random(seed).choices(VOCABULARY, k=count)


def with_changes(text: list[str], every: int) -> list[str]:
    return [f"new{index}" if index % every == every // 2 else word for index, word in enumerate(text)]


ALIKE = {
    "equal": ("One two three.", "One two three."),
    "case-and-signs": ("The Cat, sat: on THE mat!", "the cat sat on the mat"),
    "blanks": ("the  cat\nsat on", "the cat sat on"),
    "accents-in-capitals": ("ÉCOLE ÑANDÚ ŽIVOT", "école ñandú život"),
    "other-scripts": ("Привет, МИР и люди", "привет мир и люди"),
    "right-to-left": ("שלום, עולם גדול", "שלום עולם גדול"),
}
UNLIKE = {
    "other-words": ("one two three", "one two four"),
    "other-order": ("one two three", "three two one"),
    "letters-change-words": ("ab cd", "ac bd"),
    "where-words-end": ("ab c", "a bc"),
    "emoji-alone": ("😀", "😡"),
    "signs-alone": ("!!!", "???"),
    "scripts": ("日本語", "中国語"),
    "numbers": ("version 1", "version 2"),
}


@pytest.mark.parametrize(("one", "two"), ALIKE.values(), ids=ALIKE.keys())
def test_equal_words_are_one_group_whatever_the_threshold(one: str, two: str, tmp_path: Path) -> None:
    examples = examples_of([one, "something else entirely", two], tmp_path)

    assert groups(examples, 1.0).tolist() == [0, 1, 0]
    assert groups(examples, 0.7).tolist() == [0, 1, 0]


@pytest.mark.parametrize(("one", "two"), UNLIKE.values(), ids=UNLIKE.keys())
def test_other_words_are_another_group(one: str, two: str, tmp_path: Path) -> None:
    assert groups(examples_of([one, two], tmp_path), 0.7).tolist() == [0, 1]


def test_slightly_changed_texts_share_a_group_and_much_changed_ones_do_not(tmp_path: Path) -> None:
    originals = [words(150, seed) for seed in range(200)]
    slightly = [with_changes(text, 50) for text in originals]  # Jaccard index about 0.89
    much = [with_changes(text, 8) for text in originals]  # about 0.45
    examples = examples_of([" ".join(text) for text in originals + slightly + much], tmp_path)

    found = groups(examples, 0.7).reshape(3, 200)

    assert (found[0] == found[1]).mean() > 0.99
    assert (found[0] != found[2]).mean() > 0.99
    assert len(set(found[0])) == 200


def test_the_threshold_is_obeyed(tmp_path: Path) -> None:
    texts = [text for seed in range(50) for text in (words(150, seed), with_changes(words(150, seed), 16))]  # about 0.68
    examples = examples_of([" ".join(text) for text in texts], tmp_path)

    assert len(set(groups(examples, 0.9))) == 100
    assert len(set(groups(examples, 0.5))) == 50
    assert len(set(groups(examples, 1.0))) == 100


def test_a_heap_of_equal_and_of_similar_texts_is_one_group_each(tmp_path: Path) -> None:
    base = words(200, 1)
    similar = [" ".join([*base[:-1], f"end{index}"]) for index in range(5_000)]
    examples = examples_of(["the very same words"] * 20_000 + similar, tmp_path)

    found = groups(examples, 0.7)

    assert set(found[:20_000]) == {0}
    assert len(set(found[20_000:])) == 1


def test_order_and_repetition_of_rows_are_followed(tmp_path: Path) -> None:
    examples = examples_of(["a b c d", "e f g h", "A B C D"], tmp_path)

    assert groups(examples.select(np.array([1, 2, 0, 1])), 0.7).tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize("similarity", [0.7, 1.0])
def test_no_examples_have_no_groups(similarity: float, tmp_path: Path) -> None:
    assert groups(examples_of(["a"], tmp_path).select(np.array([], np.int64)), similarity).tolist() == []


def test_texts_that_only_begin_alike_are_not_equal(tmp_path: Path) -> None:
    start = " ".join(words(FIRST_WORDS, 0))
    texts = [start, f"{start} one", f"{start} two", f"{start.upper()}! One?", f"{start}.", "one", f"{start} one two"]

    assert groups(examples_of(texts, tmp_path), 1.0).tolist() == [0, 1, 2, 1, 0, 3, 4]


@settings(max_examples=60)
@given(drawn=st.lists(st.lists(st.sampled_from(["a", "B", "c,", "é", "...", "\x00"]), max_size=FIRST_WORDS + 4), max_size=12))
def test_at_1_the_groups_are_those_of_equal_words(drawn: list[list[str]], tmp_path_factory: pytest.TempPathFactory) -> None:
    texts = [" ".join([*["same"] * (FIRST_WORDS - 2), *each]) for each in drawn]
    spoken = [[word.strip(",").lower() for word in text.split() if word.strip(",")[0].isalpha()] for text in texts]
    firsts = [spoken.index(each) for each in spoken]

    found = groups(examples_of(texts, tmp_path_factory.mktemp("texts")), 1.0)

    assert found.tolist() == [sorted(set(firsts)).index(first) for first in firsts]


def test_signatures_estimate_the_jaccard_index() -> None:
    errors = []
    for seed in range(100):
        one, two = words(150, seed), with_changes(words(150, seed), 12)
        sets = [{tuple(text[at : at + 3]) for at in range(len(text) - 2)} for text in (one, two)]
        _, signed = signatures(pl.Series([" ".join(one), " ".join(two)]))
        errors.append((signed[0] == signed[1]).mean() - len(sets[0] & sets[1]) / len(sets[0] | sets[1]))
    assert abs(np.mean(errors)) < 0.02
    assert np.std(errors) < 0.06


@settings(max_examples=100)
@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=40), min_size=1, max_size=10))
def test_any_text_has_a_signature_that_its_neighbours_do_not_change(texts: list[str]) -> None:
    exact, signed = signatures(pl.Series(texts))

    assert signed.shape == (len(texts), BINS)
    for index, text in enumerate(texts):
        alone, signed_alone = signatures(pl.Series([text]))
        assert alone[0] == exact[index]
        assert (signed_alone[0] == signed[index]).all()
