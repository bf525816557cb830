"""What a version has seen is written beside it, and the next one's test part is made around that."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from model.artifact import ArtifactRejected
from model.manifest import Task
from tests.support.targets import examples_with, random_targets
from trainer.config.settings import SplitConfig
from trainer.data.examples import Examples
from trainer.split import near_duplicates
from trainer.split.provenance import EarlierUse, TextProvenance
from trainer.split.split import Parts, split

hashes = st.lists(st.integers(0, 2**64 - 1), max_size=30).map(lambda found: np.array(found, np.uint64))


@given(hashes, hashes)
def test_what_was_written_is_read(trained: np.ndarray, tested: np.ndarray) -> None:
    seen = TextProvenance.of(trained, tested)
    content = seen.to_bytes()
    read = TextProvenance.parse(content, where="parts.bin")
    assert len(content) == 24 + 8 * (len(set(trained.tolist())) + len(set(tested.tolist())))
    assert read.trained.tolist() == sorted(set(trained.tolist()))
    assert read.tested.tolist() == sorted(set(tested.tolist()))


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"LWPARTS1" + bytes(15), id="cut-in-the-header"),
        pytest.param(b"LWPARTS2" + bytes(16), id="of-a-later-release"),
        pytest.param(TextProvenance.of(np.arange(3, dtype=np.uint64), np.zeros(0, np.uint64)).to_bytes()[:-1], id="cut"),
        pytest.param(b"LWPARTS1" + b"\xff" * 16, id="counts-of-nothing"),
    ],
)
def test_what_is_no_list_of_texts_is_refused_by_its_address(content: bytes) -> None:
    with pytest.raises(ArtifactRejected, match=r"s3://m/v1/parts\.bin"):
        TextProvenance.parse(content, where="s3://m/v1/parts.bin")


def test_texts_that_differ_in_case_and_punctuation_are_one(tmp_path: Path) -> None:
    pl.DataFrame({"text": ["On Cats, and dogs.", "on cats and  DOGS", "on dogs and cats", "", "?!"]}).write_parquet(
        tmp_path / "t"
    )
    examples = Examples(tmp_path / "t", np.arange(5), ("a",), csr_matrix(np.ones((5, 1), np.uint8)), Task.MULTI_LABEL)
    found = near_duplicates.text_hashes(examples).tolist()
    assert found[0] == found[1]
    assert len(set(found)) == 4


@pytest.mark.parametrize("similarity", [0.7, 1.0])
def test_hashes_come_with_the_groups(similarity: float, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    words = np.array(["ant", "bee", "cat", "dog", "?", "Ölmühle", "é"])
    texts = [" ".join(random.choice(words, length)) for length in random.integers(0, 40, 300)]
    pl.DataFrame({"text": texts * 2}).write_parquet(tmp_path / "t")
    examples = Examples(tmp_path / "t", np.arange(600), ("a",), csr_matrix(np.ones((600, 1), np.uint8)), Task.MULTI_LABEL)
    groups, found = near_duplicates.groups_and_hashes(examples, similarity)
    assert groups.tolist() == near_duplicates.groups(examples, similarity).tolist()
    assert found.tolist() == near_duplicates.text_hashes(examples).tolist()


def test_a_group_with_one_text_that_was_trained_on_counts_as_trained() -> None:
    seen = TextProvenance.of(np.array([1, 2], np.uint64), np.array([3, 4, 5], np.uint64))
    found = seen.earlier_use(np.array([3, 1, 4, 9, 8], np.uint64), np.array([0, 0, 1, 1, 2]))
    assert found.tolist() == [EarlierUse.TRAINED, EarlierUse.TESTED, EarlierUse.NEW]


class Grown:
    """A dataset of numbered texts in groups, split; then more of it, split around what the first version has seen."""

    def __init__(self, seed: int, *, before: int, more: int, labels: int, crowd: float) -> None:
        random = np.random.default_rng(seed)
        count = before + more
        self.targets = random_targets(random, count, labels)
        # A later text may join groups that were apart before.
        self.crowd = random.integers(max(1, int(count * crowd)), size=count)
        self.before, self.count = before, count
        self.texts = random.permutation(2**40 + np.arange(count)).astype(np.uint64)
        self.first = self.split(before, seed=seed, seen=None)
        tested = self.rows(self.first.test)
        trained = np.setdiff1d(np.arange(before), tested)
        self.seen = TextProvenance.of(self.texts[trained], self.texts[tested])

    def split(self, rows: int, *, seed: int, seen: TextProvenance | None) -> Parts:
        _, groups = np.unique(self.crowd[:rows], return_inverse=True)
        earlier_use = seen.earlier_use(self.texts[:rows], groups) if seen else None
        examples = examples_with(self.targets[:rows])
        return split(examples, groups, SplitConfig(), seed=seed, with_test=True, earlier_use=earlier_use)

    def rows(self, part: Examples | None) -> np.ndarray:
        assert part is not None
        return part.rows // 10


grown = st.builds(
    Grown,
    st.integers(0, 2**31),
    before=st.integers(60, 150),
    more=st.integers(0, 150),
    labels=st.integers(1, 6),
    crowd=st.floats(0.3, 3),
)


@settings(max_examples=80)
@given(grown, st.integers(0, 2**31))
def test_no_text_that_the_served_version_was_trained_on_is_in_the_test_part(data: Grown, seed: int) -> None:
    again = data.split(data.count, seed=seed, seen=data.seen)
    tested, trained = data.rows(again.test), np.setdiff1d(np.arange(data.before), data.rows(data.first.test))
    assert set(tested).isdisjoint(trained)
    assert set(data.crowd[tested]).isdisjoint(data.crowd[trained])
    parts = [data.rows(each) for each in (again.train, again.validation, again.test)]
    assert sorted(np.concatenate(parts)) == list(range(data.count))


@settings(max_examples=80)
@given(grown, st.integers(0, 2**31))
def test_a_dataset_that_grows_keeps_its_earlier_test_texts_in_test(data: Grown, seed: int) -> None:
    again = data.split(data.count, seed=seed, seen=data.seen)
    earlier = data.rows(data.first.test)
    trained = np.setdiff1d(np.arange(data.before), earlier)
    tied = np.isin(data.crowd[earlier], data.crowd[trained])  # no group is torn, so nothing ties them yet
    assert not tied.any()
    assert set(earlier) <= set(data.rows(again.test))


@settings(max_examples=40)
@given(grown, st.integers(0, 2**31))
def test_the_same_data_give_the_same_test_part_whatever_the_seed(data: Grown, seed: int) -> None:
    again = data.split(data.before, seed=seed, seen=data.seen)
    assert data.rows(again.test).tolist() == data.rows(data.first.test).tolist()


@settings(max_examples=20)
@given(seed=st.integers(0, 2**31))
def test_the_parts_of_a_dataset_that_grows_keep_their_shares_label_by_label(seed: int) -> None:
    data = Grown(seed, before=1_000, more=1_000, labels=5, crowd=50.0)
    again = data.split(data.count, seed=seed + 1, seen=data.seen)
    total = data.targets.sum(axis=0)
    for part, share in ((again.train, 0.8), (again.validation, 0.1), (again.test, 0.1)):
        assert part is not None
        assert len(part) == pytest.approx(share * data.count, abs=30)
        assert part.label_counts() == pytest.approx(share * total, abs=25)


def test_a_dataset_that_grows_by_little_each_time_has_a_test_part_that_grows() -> None:
    data = Grown(3, before=300, more=300, labels=4, crowd=50.0)
    seen = data.seen
    for rows in range(304, data.count + 1, 4):
        tested = data.rows(data.split(rows, seed=rows, seen=seen).test)
        seen = TextProvenance.of(data.texts[np.setdiff1d(np.arange(rows), tested)], data.texts[tested])
    assert len(tested) == pytest.approx(0.1 * data.count, abs=8)


def test_of_new_texts_at_most_half_make_up_for_a_test_part_that_is_gone() -> None:
    data = Grown(5, before=500, more=100, labels=3, crowd=50.0)
    all_trained = TextProvenance.of(data.texts[:500], data.texts[:0])
    again = data.split(data.count, seed=1, seen=all_trained)
    assert 25 <= len(data.rows(again.test)) <= 55
    assert (data.rows(again.test) >= 500).all()


def test_a_rare_new_label_is_in_every_part() -> None:
    data = Grown(7, before=200, more=3, labels=3, crowd=50.0)
    data.targets = np.hstack([data.targets, np.zeros((data.count, 1), np.int64)])
    data.targets[200:, 3] = 1
    again = data.split(data.count, seed=1, seen=data.seen)
    assert [int(part.label_counts()[3]) for part in (again.train, again.validation, again.test) if part] == [1, 1, 1]


@pytest.mark.parametrize("tested", [0, 200], ids=["all-trained-on", "all-tested-on"])
def test_where_nothing_is_left_for_a_part_the_split_is_plain_and_says_so(tested: int) -> None:
    data = Grown(9, before=200, more=0, labels=3, crowd=50.0)
    again = data.split(200, seed=1, seen=TextProvenance.of(data.texts[tested:], data.texts[:tested]))
    plain = data.split(200, seed=1, seen=None)
    assert data.rows(again.test).tolist() == data.rows(plain.test).tolist()
    assert "its score there may be too high" in again.notes[0]
