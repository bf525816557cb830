from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tokenizers import Tokenizer

from trainer.architectures.linear.onnx_graph import Scorer, quantise, to_onnx
from trainer.features.tfidf import Features, choose, renumber, tf_idf
from trainer.features.vocabulary import Tokens, encode_texts, word_tokenizer

LENGTH = 512
WORDS = ["dark", "matter", "halo", "the", "of", "éclair", "量子力学", "физика", "مرحبا", "naïve", "x_1", "2019"]
CORPUS = [
    "dark matter halo", "the dark matter of the halo", "matter of the dark", "halo halo halo the halo", "éclair naïve éclair",
    "量子力学 физика مرحبا", "физика مرحبا 2019", "x_1 of 2019 of x_1", "the the the the of of", "dark matter dark matter dark",
]  # fmt: skip
LABELS = 5
AWKWARD = [
    "", " \n\t", "unknown words only", "\0", "dark\0matter",
    "😀 dark 😀 matter 👩‍👩‍👧", "مرحبا physics физика", "DARK Matter hAlO",
    "dark-matter, halo!", "[PAD] [UNK] dark", "e\u0301clair", "\uff44\uff41\uff52\uff4b", "\ufeffdark\u200bmatter",
    "dark " * 600, "é" * 100_000,
    "dark matter halo of the " * 4_200, "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"),
]  # fmt: skip


class Fitted:
    """A tokenizer, features and random weights, in Python and as a graph."""

    def __init__(self) -> None:
        wide = word_tokenizer(WORDS)
        tokens = encode_texts(wide, CORPUS, max_length=LENGTH)
        count = len(WORDS) + 2
        kept, self.features = choose(tokens, word_count=count, minimum_texts=1, maximum=1_000)
        self.tokenizer = word_tokenizer([WORDS[each - 2] for each in kept])
        self.tokens = renumber(tokens, kept, word_count=count)
        random = np.random.default_rng(0)
        weights = random.normal(size=(len(self.features), LABELS)).astype(np.float32)
        weights[:2] = 0
        self.weights, self.slope, self.bias = weights, random.uniform(1, 9, LABELS), random.normal(size=LABELS)
        self.scorer = quantise(weights, self.slope, self.bias)
        self._session = session(self.features, self.scorer)

    def graph(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        return run(self._session, ids, mask)

    def python(self, tokens: Tokens) -> NDArray[np.float32]:
        return self.scorer.logits(tf_idf(tokens, self.features))


@cache
def fitted() -> Fitted:
    return Fitted()


def session(features: Features, scorer: Scorer) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(to_onnx(features, scorer).SerializeToString(), providers=["CPUExecutionProvider"])


def run(opened: onnxruntime.InferenceSession, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
    logits: NDArray[np.float32] = opened.run(["logits"], {"input_ids": ids, "attention_mask": mask})[0]
    return logits


def padded(tokens: Tokens, *, more: int = 0) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ids and mask [texts, tokens], `more` columns wider than the longest text needs."""
    lengths = np.diff(tokens.starts)
    mask = (np.arange(max(1, int(lengths.max())) + more) < lengths[:, None]).astype(np.int64)
    ids = np.zeros(mask.shape, np.int64)
    ids[mask == 1] = tokens.ids
    return ids, mask


def assert_agreement(found: NDArray[np.float32], expected: NDArray[np.float32]) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


texts = st.lists(st.one_of(st.text(max_size=60), st.lists(st.sampled_from(WORDS)).map(" ".join)), min_size=1, max_size=8)


@settings(max_examples=50)
@given(texts)
def test_the_graph_equals_its_python_form(some: list[str]) -> None:
    tokens = encode_texts(fitted().tokenizer, some, max_length=LENGTH)

    assert_agreement(fitted().graph(*padded(tokens)), fitted().python(tokens))


@pytest.mark.parametrize("text", AWKWARD, ids=range(len(AWKWARD)))
def test_the_graph_equals_its_python_form_for_awkward_texts(text: str) -> None:
    tokens = encode_texts(fitted().tokenizer, [text], max_length=LENGTH)

    logits = fitted().graph(*padded(tokens))

    assert np.isfinite(logits).all()
    assert_agreement(logits, fitted().python(tokens))


@settings(max_examples=50)
@given(texts, st.integers(0, 20))
def test_padding_and_company_change_nothing(some: list[str], more: int) -> None:
    tokens = encode_texts(fitted().tokenizer, some, max_length=LENGTH)
    alone = [fitted().graph(*padded(encode_texts(fitted().tokenizer, [each], max_length=LENGTH))) for each in some]

    assert_agreement(fitted().graph(*padded(tokens, more=more)), np.concatenate(alone))


def test_what_the_mask_covers_is_not_seen() -> None:
    ids, mask = np.array([[3, 4, 5, 6]]), np.array([[1, 1, 0, 0]])

    assert_agreement(fitted().graph(ids, mask), fitted().graph(ids[:, :2], mask[:, :2]))


@pytest.mark.parametrize("shape", [(1, 1), (3, 1), (2, 7)])
def test_a_text_without_words_gets_the_offset(shape: tuple[int, int]) -> None:
    nothing = np.zeros(shape, np.int64)

    logits = fitted().graph(nothing, nothing)

    np.testing.assert_allclose(logits, np.broadcast_to(fitted().scorer.offset, (shape[0], LABELS)))


def test_an_unknown_pair_contributes_nothing() -> None:
    features = Features(word_count=4, pairs=np.array([2 * 4 + 3]), idf=np.array([0, 0, 1, 1, 1], np.float32))
    weights = np.zeros((5, 2), np.int8)
    weights[4] = 100  # of the pair alone
    opened = session(features, Scorer(weights, np.ones(2, np.float32), np.zeros(2, np.float32)))

    known, unknown = (run(opened, np.array([ids]), np.ones((1, 2), np.int64)) for ids in ([2, 3], [3, 2]))

    np.testing.assert_allclose(known, 100 / np.sqrt(3), rtol=1e-5)
    np.testing.assert_array_equal(unknown, 0)


def test_a_tokenizer_without_any_known_pair_makes_a_graph_too() -> None:
    features = Features(word_count=3, pairs=np.zeros(0, np.int64), idf=np.array([0, 0, 2], np.float32))
    opened = session(features, Scorer(np.array([[0], [0], [7]], np.int8), np.ones(1, np.float32), np.zeros(1, np.float32)))

    np.testing.assert_allclose(run(opened, np.array([[2, 2, 2]]), np.ones((1, 3), np.int64)), 7, rtol=1e-6)


def test_rounding_to_eight_bits_moves_no_logit_far() -> None:
    rows = tf_idf(fitted().tokens, fitted().features)
    exact = rows @ fitted().weights * fitted().slope + fitted().bias

    np.testing.assert_allclose(fitted().scorer.logits(rows), exact, atol=0.3)
    assert np.abs(fitted().scorer.weights).max(axis=0).tolist() == [127] * LABELS


def test_no_tensor_that_flows_is_as_wide_as_the_vocabulary() -> None:
    model = to_onnx(fitted().features, fitted().scorer)

    table = {each.name for each in model.graph.initializer if max(each.dims, default=0) >= len(fitted().features)}
    readers = [node for node in model.graph.node if table & set(node.input)]
    assert {node.op_type for node in readers} == {"Gather"}
    assert all(node.input[0] in table for node in readers)


def test_a_saved_tokenizer_gives_the_same_ids() -> None:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "tokenizer.json"
        fitted().tokenizer.save(str(file))
        read = Tokenizer.from_file(str(file))

    found = [each.ids for each in read.encode_batch(AWKWARD)]
    assert found == [each.ids for each in fitted().tokenizer.encode_batch(AWKWARD)]
