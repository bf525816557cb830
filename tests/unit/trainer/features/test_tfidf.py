from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer

from trainer.architectures.linear.perfect_hash import FREE, build
from trainer.features.tfidf import choose, renumber, tf_idf
from trainer.features.vocabulary import Tokens, encode_texts, word_tokenizer

LETTERS = ["aa", "bb", "cc", "dd", "ee"]
corpora = st.lists(st.lists(st.sampled_from(LETTERS), max_size=12).map(" ".join), min_size=1, max_size=12)


def tokens_of(texts: list[str]) -> Tokens:
    return encode_texts(word_tokenizer(LETTERS), texts, max_length=512)


def names(kept: NDArray[np.int64], pairs: NDArray[np.int64], size: int) -> list[str]:
    words = ["[PAD]", "[UNK]", *(LETTERS[each - 2] for each in kept)]
    return words + [f"{words[pair // size]} {words[pair % size]}" for pair in pairs]


@given(corpora)
def test_tf_idf_is_that_of_scikit_learn(texts: list[str]) -> None:
    tokens = tokens_of([*texts, "aa"])
    kept, features = choose(tokens, word_count=7, minimum_texts=1, maximum=1_000)
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    expected = vectorizer.fit_transform([*texts, "aa"]).toarray()

    found = tf_idf(renumber(tokens, kept, word_count=7), features).toarray()

    named = names(kept, features.pairs, features.word_count)
    assert sorted(named[2:]) == list(vectorizer.get_feature_names_out())
    np.testing.assert_allclose(found[:, [named.index(each) for each in vectorizer.get_feature_names_out()]], expected, atol=1e-6)
    assert not found[:, :2].any()


@given(corpora, st.integers(1, 3), st.integers(1, 12))
def test_the_features_are_those_that_most_texts_hold(texts: list[str], minimum: int, maximum: int) -> None:
    tokens = tokens_of(texts)
    _, everything = choose(tokens, word_count=7, minimum_texts=1, maximum=1_000)
    kept, features = choose(tokens, word_count=7, minimum_texts=minimum, maximum=maximum)

    named = names(kept, features.pairs, features.word_count)[2:]
    held = {name: sum(f" {name} " in f" {text} " for text in texts) for name in named}
    assert len(named) <= maximum
    assert all(count >= minimum for count in held.values())
    assert all(word in named for name in named for word in name.split())
    enough = np.round((1 + len(texts)) / np.exp(everything.idf[2:] - 1) - 1) >= minimum
    assert len(named) == min(maximum, enough.sum())
    counts = np.round((1 + len(texts)) / np.exp(everything.idf[2:].astype(np.float64) - 1) - 1)
    assert sorted(held.values(), reverse=True) == sorted(counts, reverse=True)[: len(named)]


def test_many_different_pairs_outgrow_the_first_table() -> None:
    random = np.random.default_rng(0)
    ids = random.integers(2, 2_000, 200_000).astype(np.int32)
    tokens = Tokens(ids, np.arange(0, len(ids) + 1, 100))
    inner = np.arange(len(ids) - 1)[np.arange(len(ids) - 1) % 100 != 99]
    keys, counts = np.unique(
        np.unique(np.stack((ids[inner].astype(np.int64) * 2_000 + ids[inner + 1], inner // 100)), axis=1)[0], return_counts=True
    )

    kept, features = choose(tokens, word_count=2_000, minimum_texts=1, maximum=10_000_000)

    old = np.concatenate(([0, 1], kept))
    first, second = np.divmod(features.pairs, features.word_count)
    found = old[first] * 2_000 + old[second]
    order = np.argsort(found)
    np.testing.assert_array_equal(found[order], keys)
    texts = (1 + len(tokens)) / np.exp(features.idf[features.word_count :].astype(np.float64) - 1) - 1
    np.testing.assert_allclose(texts[order], counts, rtol=1e-3)


@given(st.sets(st.integers(0, 10**9), max_size=300), st.lists(st.integers(0, 10**9), max_size=300), st.integers(1, 50))
def test_the_dictionary_knows_its_keys_and_no_others(keys: set[int], others: list[int], first: int) -> None:
    known = np.array(sorted(keys), np.int64)
    dictionary = build(known, first=first)

    rows = dictionary.rows(known)
    assert len(set(rows.tolist())) == len(known)
    assert rows.min(initial=first) >= first
    found = dictionary.rows(np.array(others, np.int64))
    assert [row > 0 for row in found] == [other in keys for other in others]


@pytest.mark.parametrize("words", [3, 1_000, 60_000])
def test_the_dictionary_holds_many_keys_in_hardly_more_rows(words: int) -> None:
    random = np.random.default_rng(0)
    keys = np.unique(random.zipf(1.2, 50_000) % words * words + random.zipf(1.2, 50_000) % words)

    dictionary = build(keys, first=words)

    np.testing.assert_array_equal(dictionary.keys[dictionary.rows(keys)], keys)
    assert (dictionary.keys != FREE).sum() == len(keys)
    assert len(dictionary.keys) < words + 1.1 * len(keys) + 10
