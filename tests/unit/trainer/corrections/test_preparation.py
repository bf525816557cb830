"""The data of a run with corrections: which text is in which part, with which labels."""

from __future__ import annotations

import hashlib
import itertools
import logging
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.corrections import Correction, in_force, text_key
from model.manifest import LearntCorrections
from tests.support.corrections import correction, store
from trainer.attempt import Attempt
from trainer.config.settings import Config
from trainer.data.examples import Examples
from trainer.errors import DatasetRejected
from trainer.preparation import PreparedData, prepare

TOPICS = ("cats", "dogs", "fish")
COUNT = 60
NUMBERS = itertools.count()
Rows = Sequence[tuple[str, Sequence[str]]]


def text_of(number: int) -> str:
    """Return a text of nine words that are in no other one."""
    return " ".join(f"word{number}x{at}" for at in range(9))


DATASET: Rows = [(text_of(at), [TOPICS[at % 3]]) for at in range(COUNT)]


def data_with(
    folder: Path, corrections: Iterable[Iterable[Correction]] | None, texts: Rows = DATASET, **changes: Any
) -> PreparedData:
    """Prepare the data of a run. corrections: of each file; None: the run has no such setting."""
    here = folder / str(next(NUMBERS))
    (here / "scratch").mkdir(parents=True)
    pl.DataFrame({"text": [text for text, _ in texts], "labels": [labels for _, labels in texts]}).write_parquet(
        here / "data.parquet"
    )
    given: dict[str, Any] = {"uri": str(here / "data.parquet"), "text_columns": ("text",), "label_columns": ("labels",)}
    if corrections is not None:
        given["corrections"] = str(here / "feedback")
        for some in corrections:
            store(here, some)
    config = {"output_dir": str(here / "models"), "dataset": given | changes.pop("dataset", {})} | changes
    return prepare(Config.model_validate(config), Attempt(), here / "scratch")


def rows_of(part: Examples) -> dict[str, tuple[str, ...]]:
    names = part.labels
    marks = part.targets.toarray()
    return {text_key(text): tuple(names[at] for at in row.nonzero()[0]) for text, row in zip(part.texts(), marks, strict=True)}


def parts_of(data: PreparedData) -> dict[str, dict[str, tuple[str, ...]]]:
    return {"train": rows_of(data.train), "validation": rows_of(data.validation), "test": rows_of(data.test)}


def learnt_of(data: PreparedData) -> LearntCorrections:
    assert data.facts.corrections is not None
    return data.facts.corrections


def in_part(folder: Path, part: str) -> list[str]:
    """Return the texts of that part of the dataset, without corrections."""
    return list(parts_of(data_with(folder, None))[part])


def test_without_corrections_in_the_folder_the_data_are_the_datasets(tmp_path: Path) -> None:
    plain, empty = data_with(tmp_path, None), data_with(tmp_path, [])
    assert parts_of(empty) == parts_of(plain)
    assert (empty.facts.sha256, learnt_of(empty).files) == (plain.facts.sha256, 0)
    assert plain.facts.corrections is None
    assert [note for note in empty.facts.notes if "there is no file at" in note]


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_a_text_of_the_dataset_gets_the_corrected_labels_and_stays_in_its_part(tmp_path: Path, part: str) -> None:
    text = in_part(tmp_path, part)[0]
    data = data_with(tmp_path, [[correction(f"  {text.replace(' ', chr(10))} ", "cats", "fish")]])
    assert parts_of(data)[part][text] == ("cats", "fish")
    assert sum(text in each for each in parts_of(data).values()) == 1
    learnt = learnt_of(data)
    assert (learnt.texts, learnt.corrected, learnt.tested, learnt.added) == (1, 1, int(part == "test"), 0)


def test_every_row_with_the_text_is_corrected(tmp_path: Path) -> None:
    dataset = [*DATASET, (text_of(0), ["dogs"]), (text_of(0) + " ", ["fish"])]
    data = data_with(tmp_path, [[correction(text_of(0), "cats", "dogs")]], dataset)
    [found] = {labels for part in (data.train, data.validation, data.test) for labels in labels_of(part, text_of(0))}
    assert found == ("cats", "dogs")
    assert learnt_of(data).corrected == 1


def test_another_text_is_added_and_never_to_the_test_part(tmp_path: Path) -> None:
    added = [correction(text_of(100 + at), TOPICS[at % 3], at=at) for at in range(30)]
    plain, data = data_with(tmp_path, None), data_with(tmp_path, [added])
    assert rows_of(data.test) == rows_of(plain.test)
    found = rows_of(data.train) | rows_of(data.validation)
    assert {text: found[text] for text in map(text_of, range(100, 130))} == {each.text: each.labels for each in added}
    assert len(data.validation) > len(plain.validation)
    assert (learnt_of(data).added, learnt_of(data).corrected, learnt_of(data).left_out) == (30, 0, 0)


@pytest.mark.parametrize(("part", "expected"), [("train", "train"), ("validation", "validation"), ("test", None)])
def test_a_near_duplicate_of_a_text_goes_to_its_part_but_is_left_out_if_that_is_the_test_part(
    tmp_path: Path, part: str, expected: str | None
) -> None:
    near = [f"{text} more" for text in in_part(tmp_path, part)[:3]]
    data = data_with(tmp_path, [[correction(text, "cats", at=at) for at, text in enumerate(near)]])
    found = {name for name, rows in parts_of(data).items() if set(near) & rows.keys()}
    assert found == ({expected} if expected else set())
    assert (learnt_of(data).added, learnt_of(data).left_out) == ((3, 0) if expected else (0, 3))
    assert bool([note for note in data.facts.notes if "3 texts left out, since near-duplicates" in note]) == (expected is None)


def test_texts_that_are_near_duplicates_of_a_given_test_set_are_left_out_and_the_set_stays_as_it_is(tmp_path: Path) -> None:
    test = tmp_path / "test.parquet"
    pl.DataFrame({"text": [text_of(200), text_of(201)], "labels": [["cats"], ["dogs"]]}).write_parquet(test)
    corrections = [
        correction(text_of(200), "fish"),
        correction(text_of(201) + " more", "fish", at=1),
        correction(text_of(202), "cats"),
    ]
    data = data_with(tmp_path, [corrections], dataset={"test_uri": str(test)})
    assert rows_of(data.test) == {text_of(200): ("cats",), text_of(201): ("dogs",)}
    assert (learnt_of(data).added, learnt_of(data).left_out, learnt_of(data).tested) == (1, 2, 0)
    assert not {text_of(200), text_of(201) + " more"} & (rows_of(data.train) | rows_of(data.validation)).keys()


def test_the_hashes_for_the_next_version_have_the_added_texts_among_the_trained_ones(tmp_path: Path) -> None:
    plain = data_with(tmp_path, None)
    data = data_with(tmp_path, [[correction(text_of(100), "cats"), correction(in_part(tmp_path, "test")[0] + " more", "cats")]])
    assert len(data.seen.trained) == len(plain.seen.trained) + 1
    assert data.seen.tested.tolist() == plain.seen.tested.tolist()
    assert (data.row_counts.read, data.row_counts.used, data.row_counts.distinct_texts) == (COUNT + 1, COUNT + 1, COUNT + 1)


def test_the_latest_correction_counts_wherever_it_is_stored_and_a_withdrawn_one_does_not(tmp_path: Path) -> None:
    old, new = correction(text_of(0), "cats", at=1), correction(text_of(0), "dogs", "fish", at=2)
    gone = [correction(text_of(1), "fish", at=3, id="x"), correction(text_of(1), "fish", at=4, id="x", withdrawn=True)]
    data = data_with(tmp_path, [[new, gone[0]], [old, gone[1]], [old]])
    found = {text: labels for rows in parts_of(data).values() for text, labels in rows.items()}
    assert (found[text_of(0)], found[text_of(1)]) == (("dogs", "fish"), ("dogs",))
    learnt = learnt_of(data)
    assert (learnt.files, learnt.rows, learnt.withdrawn, learnt.texts, learnt.corrected) == (3, 5, 1, 1, 1)


def test_a_label_of_the_dataset_that_is_rare_becomes_one_of_the_classifier_by_corrections(tmp_path: Path) -> None:
    dataset = [*DATASET, (text_of(100), ["newts"])]
    newts = [correction(text_of(101), "newts", at=1), correction(text_of(102), "newts", at=2)]
    assert data_with(tmp_path, [newts[:1]], dataset).train.labels == TOPICS
    data = data_with(tmp_path, [newts], dataset)
    assert data.train.labels == ("cats", "dogs", "fish", "newts")
    assert text_of(100) in rows_of(data.train) | rows_of(data.validation)  # it was in no part before
    assert {("newts",)} <= set(rows_of(data.train).values()) & set(rows_of(data.validation).values())


def test_labels_that_only_corrections_have_are_learnt_from_minimum_examples_on_and_noted(tmp_path: Path) -> None:
    corrections = [correction(text_of(100 + at), "newts" if at < 3 else "toads", at=at) for at in range(5)]
    data = data_with(tmp_path, [corrections])
    assert data.train.labels == ("cats", "dogs", "fish", "newts")
    assert (learnt_of(data).added, learnt_of(data).left_out) == (3, 2)
    for expected in (
        "1 label with fewer than 3 examples was set aside: toads (2)",
        "corrections: 1 label that the dataset lacks was added: newts (3)",
        "corrections: no text of the test part has the new labels newts: no score covers them",
    ):
        assert expected in data.facts.notes


def test_labels_are_renamed_as_those_of_the_dataset(tmp_path: Path) -> None:
    data = data_with(tmp_path, [[correction(text_of(0), " kitties ", "x")]], dataset={"aliases": {"kitties": "cats", "x": ""}})
    assert [labels for rows in parts_of(data).values() for text, labels in rows.items() if text == text_of(0)] == [("cats",)]


def test_a_correction_without_labels_removes_the_text_if_a_label_is_required(tmp_path: Path) -> None:
    data = data_with(tmp_path, [[correction(text_of(0)), correction(text_of(100))]])
    assert not {text_of(0), text_of(100)} & {text for rows in parts_of(data).values() for text in rows}
    assert (learnt_of(data).texts, learnt_of(data).left_out) == (2, 2)
    assert [note for note in data.facts.notes if note.startswith("corrections: 2 say that their texts have no label: left out")]


def test_a_correction_without_labels_is_an_example_of_none_if_no_label_is_required(tmp_path: Path) -> None:
    dataset = [*DATASET, *((text_of(at), []) for at in range(70, 80))]
    data = data_with(tmp_path, [[correction(text_of(0)), correction(text_of(100))]], dataset)
    found = {text: labels for rows in parts_of(data).values() for text, labels in rows.items()}
    assert (found[text_of(0)], found[text_of(100)]) == ((), ())
    assert (learnt_of(data).corrected, learnt_of(data).added) == (1, 1)


def test_a_correction_without_a_text_is_left_out(tmp_path: Path) -> None:
    data = data_with(tmp_path, [[correction(" \n", "cats")]])
    assert learnt_of(data).left_out == 1
    assert "corrections: 1 correction without a text was left out" in data.facts.notes


def test_several_labels_are_refused_by_the_corrections_id_if_each_text_of_the_dataset_has_one(tmp_path: Path) -> None:
    file = tmp_path / "data.csv"
    pl.DataFrame({"text": [text for text, _ in DATASET], "labels": [labels[0] for _, labels in DATASET]}).write_csv(file)
    with pytest.raises(DatasetRejected) as refused:
        data_with(tmp_path, [[correction(text_of(0), "cats", "dogs", id="x7")]], dataset={"uri": str(file)})
    assert str(refused.value) == (
        "dataset.corrections: the correction x7 has the labels 'cats', 'dogs': expected one, as in the dataset"
    )


def test_a_corrected_text_that_a_sample_leaves_out_is_added(tmp_path: Path) -> None:
    corrections = [correction(text, *labels, at=at) for at, (text, labels) in enumerate(DATASET)]
    data = data_with(tmp_path, [corrections], dataset={"sample_count": 30})
    learnt = learnt_of(data)
    assert (learnt.corrected, learnt.added) == (30, 30)
    assert data.row_counts.used == 60


def test_corrections_that_leave_nothing_of_a_part_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetRejected, match="with the corrected labels, nothing is left for the test part"):
        data_with(tmp_path, [[correction(text, at=at) for at, text in enumerate(in_part(tmp_path, "test"))]])


def test_the_hash_of_the_dataset_covers_its_corrections_and_its_own_is_kept(tmp_path: Path) -> None:
    plain = data_with(tmp_path, None).facts
    one, two = (data_with(tmp_path, [[correction(text_of(0), label)]]).facts for label in ("cats", "dogs"))
    assert len({plain.sha256, one.sha256, two.sha256}) == 3
    assert {plain.sha256} == {each.own_sha256 for each in (plain, one, two)}
    assert one.corrections is not None
    assert one.sha256 == hashlib.sha256(f"{plain.sha256}{one.corrections.sha256}".encode()).hexdigest()


def test_the_log_and_the_manifest_say_how_many_texts_were_corrected_and_added(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    tested = in_part(tmp_path, "test")[0]
    rows = [correction(tested, "dogs"), correction(text_of(100), "dogs", at=1), correction(text_of(101), at=2)]
    data = data_with(tmp_path, [rows, [correction(text_of(102), "dogs", id="x", withdrawn=True)]])
    for expected in (
        "corrections: 4 rows in 2 files, for 3 texts: 1 of the dataset corrected, 1 added, 1 left out, 1 correction withdrawn",
        "corrections: 1 of the corrected texts is in the test part, and therefore not trained on",
    ):
        assert expected in data.facts.notes
        assert expected in caplog.text


ROWS = st.lists(
    st.builds(
        correction,
        # Of the dataset, near-duplicates of it, near-duplicates of each other, and others.
        st.one_of(
            st.integers(0, COUNT - 1).map(text_of),
            st.integers(0, COUNT - 1).map(lambda at: f"{text_of(at)} more"),
            st.integers(100, 104).map(text_of),
            st.integers(100, 104).map(lambda at: f"{text_of(at)} more"),
        ),
        st.sampled_from([*TOPICS, "newts"]),
        at=st.integers(0, 5),
        id=st.sampled_from(["x1", "x2", "x3"]),
        withdrawn=st.booleans(),
    ),
    min_size=1,
    max_size=25,
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ROWS, st.randoms(use_true_random=False))
def test_whatever_the_corrections_the_test_part_has_the_same_texts_and_nothing_near_them_is_trained_on(
    tmp_path: Path, rows: list[Correction], random: Any
) -> None:
    plain, data = data_with(tmp_path, None), data_with(tmp_path, [rows])
    parts = parts_of(data)
    gone = rows_of(plain.test).keys() - parts["test"].keys()
    assert parts["test"].keys() <= rows_of(plain.test).keys()
    if gone:  # their corrected label is too rare to be one of the classifier's
        assert "newts" not in data.train.labels
        assert {each.labels for each in in_force(rows) if each.text in gone} == {("newts",)}
    others = parts["train"] | parts["validation"]
    assert not {text.removesuffix(" more") for text in parts["test"]} & {text.removesuffix(" more") for text in others}
    learnt = learnt_of(data)
    assert learnt.corrected + learnt.added + learnt.left_out == learnt.texts
    assert learnt.added == len((parts["train"] | parts["validation"]).keys() - {text for text, _ in DATASET})
    shuffled = random.sample(rows, len(rows))
    middle = random.randint(0, len(rows))
    halves = [half for half in (shuffled[:middle], shuffled[middle:], rows) if half]
    assert parts_of(data_with(tmp_path, halves)) == parts
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()


def labels_of(part: Examples, text: str) -> list[tuple[str, ...]]:
    marks = part.targets.toarray()
    return [
        tuple(part.labels[at] for at in row.nonzero()[0])
        for found, row in zip(part.texts(), marks, strict=True)
        if found.strip() == text
    ]
