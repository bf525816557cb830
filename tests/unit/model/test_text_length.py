"""Part of a long text that server and trainer tokenise."""

from __future__ import annotations

from unicodedata import normalize

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from model.classifier import TextTokenizer
from model.text_length import CHARACTERS_PER_TOKEN, beginning
from trainer.features.vocabulary import encode_texts, word_tokenizer

WORDS = ["alpha", "beta", "gamma"]
LENGTH = 8
MOST = LENGTH * CHARACTERS_PER_TOKEN


def tokenizer() -> Tokenizer:
    return word_tokenizer(WORDS)


def ids_of_whole(text: str) -> list[int]:
    """The ids without a bound in characters."""
    whole = tokenizer()
    whole.enable_truncation(LENGTH)
    ids: list[int] = whole.encode(text).ids
    return ids


HOSTILE = [
    pytest.param("\ufdfa" * 5_000, id="one-character-becomes-18"),
    pytest.param("\U0001d160" * 5_000, id="musical-symbols-become-three"),
    pytest.param("e" + "\u0301" * 5_000, id="combining-marks"),
    pytest.param("\U0001f469\u200d" * 5_000, id="joined-emoji"),
    pytest.param("\u200b" * 5_000, id="zero-width"),
    pytest.param("x" * 5_000, id="one-word"),
    pytest.param("\x00" * 5_000, id="control-characters"),
    pytest.param("a " * 5_000, id="words-of-one-character"),
    pytest.param(" " * 5_000, id="blanks"),
]


@pytest.mark.parametrize("text", HOSTILE)
def test_of_a_hostile_text_no_more_is_left_than_the_bound_once_it_is_normalised(text: str) -> None:
    assert len(normalize("NFKC", beginning(text, LENGTH))) <= MOST


@given(st.text(st.sampled_from("aé \ufdfa\u0301\U0001d160\u1e9b\u0323"), max_size=3 * MOST))
def test_whatever_is_left_fits_and_is_the_beginning(text: str) -> None:
    left = beginning(text, LENGTH)

    assert len(normalize("NFKC", left)) <= MOST + LENGTH * 2  # pieces may compose otherwise than the whole
    assert " ".join(text.split()).startswith(" ".join(left.split()))


@given(st.text(max_size=MOST // 18))
def test_a_text_that_is_not_long_is_left_as_it_is(text: str) -> None:
    assert beginning(text, LENGTH) is text


@given(st.lists(st.sampled_from([*WORDS, "unknown", "x", "-", "Alpha", "été"]), max_size=400).map(" ".join))
def test_texts_of_words_lose_no_token_that_the_model_would_read(text: str) -> None:
    (found,) = TextTokenizer(tokenizer(), LENGTH).encode([text])

    if found.truncated and len(found.ids) < LENGTH:  # the beginning has long words only
        assert len(text) > MOST
    else:
        assert found.ids == ids_of_whole(text)


def test_words_behind_many_blanks_are_read() -> None:
    (found,) = TextTokenizer(tokenizer(), LENGTH).encode([" \n\t" * 10_000 + "alpha" + " " * 10_000 + "beta"])

    assert found.ids == ids_of_whole("alpha beta")


def test_line_breaks_of_a_long_text_of_words_are_left_as_they_are() -> None:
    assert beginning("alpha\n\nbeta  gamma\n" * 1_000, LENGTH).startswith("alpha\n\nbeta  gamma\nalpha")


def test_a_text_that_is_cut_counts_as_truncated_though_it_has_few_tokens() -> None:
    long, short = TextTokenizer(tokenizer(), LENGTH).encode(["x" * 5_000, "alpha"])

    assert (len(long.ids), long.truncated) == (1, True)
    assert not short.truncated


@pytest.mark.parametrize("text", [each.values[0] for each in HOSTILE], ids=[str(each.id) for each in HOSTILE])
def test_the_trainer_reads_of_a_hostile_text_what_the_server_reads(text: str) -> None:
    texts = [f"alpha {text} beta", f"{text} alpha", "gamma"]
    trained = encode_texts(tokenizer(), texts, max_length=LENGTH)
    served = [each.ids for each in TextTokenizer(tokenizer(), LENGTH).encode(texts)]

    assert [each.tolist() for each in np.split(trained.ids, trained.starts[1:-1])] == served
