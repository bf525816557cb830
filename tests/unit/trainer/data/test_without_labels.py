"""Rows that carry no label: which of them are known to, and what becomes of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from model.manifest import Task
from tests.support.reading import labels_of, read
from trainer.config.loading import load
from trainer.config.settings import DatasetConfig
from trainer.data.download import fetch
from trainer.data.labels.columns import Labelled, read_labels
from trainer.data.reading import Loaded, read_aligned, read_test_examples
from trainer.data.tables import read_table
from trainer.errors import ConfigRejected, DatasetRejected

MARKS = ("toxic", "rude")


def labelled(path: Path, *columns: str) -> Labelled:
    files = fetch(path.as_uri(), scratch=path.parent, setting="dataset.uri")
    table = read_table(files, text=("text",), labels=columns, scratch=path.parent)
    return read_labels(table.labels, listed=table.listed, separator="auto", aliases={})


def rows_of_marks(folder: Path, suffix: str, toxic: Sequence[object], rude: Sequence[object]) -> Path:
    path = folder / f"rows{suffix}"
    frame = pl.DataFrame({"text": [f"text {at}" for at in range(len(toxic))], "toxic": toxic, "rude": rude}, strict=False)
    if suffix == ".csv":
        frame.write_csv(path)
    elif suffix == ".parquet":
        frame.write_parquet(path)
    else:
        frame.write_ndjson(path)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
@pytest.mark.parametrize(
    ("toxic", "rude"),
    [
        pytest.param([1, 0, None, 0, 1, None], [0, 0, 0, None, None, None], id="integers"),
        pytest.param([1.0, 0.0, None, 0.0, 1.0, None], [0.0, 0.0, 0.0, None, None, None], id="floats"),
        pytest.param(["1", "0", "", "0", "true", ""], ["0", "False", "0", " ", "", ""], id="strings"),
    ],
)
def test_only_a_row_of_zeros_is_known_to_carry_none_of_the_marks(
    suffix: str, toxic: list[object], rude: list[object], tmp_path: Path
) -> None:
    found = labelled(rows_of_marks(tmp_path, suffix, toxic, rude), *MARKS)

    assert found.given.tolist() == [True, True, False, False, True, False]
    assert np.diff(found.targets.indptr).tolist() == [1, 0, 0, 0, 1, 0]


def test_a_missing_number_is_no_zero(tmp_path: Path) -> None:
    path = rows_of_marks(tmp_path, ".parquet", [1.0, 0.0, float("nan")], [0.0, 0.0, 0.0])

    assert labelled(path, *MARKS).given.tolist() == [True, True, False]


LISTS: list[list[str | None] | None] = [["a", "b"], [], None, [None], [""], [" ", ""], ["b", None]]
GIVEN = [True, True, False, False, False, False, True]


def test_only_an_empty_list_is_known_to_hold_no_label(tmp_path: Path) -> None:
    frame = pl.DataFrame({"text": ["t"] * len(LISTS), "tags": pl.Series(LISTS, dtype=pl.List(pl.String))})
    frame.write_parquet(tmp_path / "rows.parquet")
    frame.write_ndjson(tmp_path / "rows.jsonl")
    strings = ["" if each is None else json.dumps(each) for each in LISTS]
    frame.with_columns(tags=pl.Series(strings)).write_csv(tmp_path / "rows.csv")

    for name in ("rows.parquet", "rows.jsonl", "rows.csv"):
        assert labelled(tmp_path / name, "tags").given.tolist() == GIVEN, name


def test_an_empty_string_says_nothing(tmp_path: Path) -> None:
    pl.DataFrame({"text": ["t"] * 5, "tags": ["a;b", "a", "b", "", None]}).write_csv(tmp_path / "rows.csv")

    assert labelled(tmp_path / "rows.csv", "tags").given.tolist() == [True, True, True, False, False]


# --- what becomes of them ---

TAGS: list[list[str] | None] = [["a"], ["b"], ["a", "b"], []] * 3 + [[], None]
ALLOWED = "4 rows of 14 carry no label: a text may have none; set dataset.label_required to true to set such rows aside"


def tagged(folder: Path, tags: Sequence[list[str] | None], name: str = "rows.parquet") -> Path:
    path = folder / name
    texts = [f"text {at}" for at in range(len(tags))]
    pl.DataFrame({"text": texts, "tags": pl.Series(tags, dtype=pl.List(pl.String))}).write_parquet(path)
    return path


def read_tags(path: Path, **settings: object) -> Loaded:
    return read(path, **({"text_columns": ["text"], "label_columns": ["tags"]} | settings))


def test_rows_without_a_label_are_examples_and_allow_texts_to_have_none(tmp_path: Path) -> None:
    loaded = read_tags(tagged(tmp_path, TAGS))

    assert labels_of(loaded).count(set()) == 4
    assert not loaded.examples.label_required
    assert loaded.notes == ("1 row without label was set aside", ALLOWED)


def test_a_dataset_whose_rows_all_have_a_label_requires_one(tmp_path: Path) -> None:
    loaded = read_tags(tagged(tmp_path, [["a"], ["b"], ["a", "b"], None] * 3))

    assert loaded.examples.label_required
    assert loaded.notes == ("3 rows without label were set aside",)


def test_rows_without_a_label_are_set_aside_where_one_is_required(tmp_path: Path) -> None:
    loaded = read_tags(tagged(tmp_path, TAGS), label_required=True)

    assert len(loaded.examples) == 9
    assert loaded.examples.label_required
    assert loaded.notes == (
        "1 row without label was set aside",
        "4 rows of 14 carry no label: set aside, since dataset.label_required is true",
    )


def test_a_text_may_have_no_label_though_every_row_has_one(tmp_path: Path) -> None:
    loaded = read_tags(tagged(tmp_path, [["a"], ["b"], ["a", "b"]] * 3), label_required=False)

    assert not loaded.examples.label_required
    assert loaded.notes == ()


def test_rows_whose_labels_are_all_rare_are_left_without_one(tmp_path: Path) -> None:
    tags: list[list[str] | None] = [["a"], ["b"], []] * 3 + [["rare"], ["a", "rare"]]

    loaded = read_tags(tagged(tmp_path, tags))

    assert labels_of(loaded)[-2:] == [set(), {"a"}]
    assert "1 row that had no other label was kept as having none" in loaded.notes


def test_one_label_is_enough_if_some_texts_lack_it(tmp_path: Path) -> None:
    loaded = read_tags(tagged(tmp_path, [["a"], []] * 3))

    assert (loaded.examples.labels, loaded.examples.task) == (("a",), Task.MULTI_LABEL)


@pytest.mark.parametrize(
    ("tags", "settings"),
    [
        pytest.param([["a"]] * 4, {"label_required": False}, id="one-label-that-all-have"),
        pytest.param([["a"], []] * 3, {"label_required": True}, id="one-label-and-one-is-required"),
        pytest.param([[]] * 4, {}, id="no-label-at-all"),
    ],
)
def test_there_has_to_be_something_to_tell_apart(
    tags: list[list[str] | None], settings: dict[str, object], tmp_path: Path
) -> None:
    with pytest.raises(DatasetRejected, match="nothing to tell apart"):
        read_tags(tagged(tmp_path, tags), **settings)


def marked(folder: Path, spam: Sequence[object]) -> Path:
    path = folder / "spam.csv"
    pl.DataFrame({"text": [f"text {at}" for at in range(len(spam))], "spam": spam}).write_csv(path)
    return path


def test_one_column_of_marks_is_two_labels_unless_a_text_may_have_none(tmp_path: Path) -> None:
    path = marked(tmp_path, [1, 0, None, 0, 1, 1, 0])
    asked = {"text_columns": ["text"], "label_columns": ["spam"]}

    two, one = read(path, **asked), read(path, **asked, label_required=False)

    assert (two.examples.labels, two.examples.task) == (("0", "1"), Task.SINGLE_LABEL)
    assert two.notes[-1] == (
        "'0' and '1' are the labels; to train one label 'spam' that a text has or not, set dataset.label_required to false"
    )
    assert (one.examples.labels, one.examples.task) == (("spam",), Task.MULTI_LABEL)
    assert labels_of(one) == [{"spam"}, set(), set(), {"spam"}, {"spam"}, set()]


def test_labels_of_which_each_text_has_one_are_required(tmp_path: Path) -> None:
    pl.DataFrame({"text": ["t"] * 6, "tags": ["good", "bad"] * 3}).write_csv(tmp_path / "rows.csv")

    with pytest.raises(DatasetRejected, match=r"label_required is false and no row has several labels .found 'bad', 'good'."):
        read_tags(tmp_path / "rows.csv", label_required=False)


def test_the_setting_is_auto_true_or_false() -> None:
    with pytest.raises(ConfigRejected, match=r"dataset.label_required is .maybe.: expected auto, true or false"):
        load(None, {"dataset.label_required": "maybe"})


def test_a_test_set_keeps_its_rows_without_a_label_if_the_classifier_allows_them(tmp_path: Path) -> None:
    test = tagged(tmp_path, [["a"], [], ["new"]], "test.parquet")
    found = {}
    for name, tags in {"allowed": TAGS, "required": [["a"], ["b"]] * 3}.items():
        path = tagged(tmp_path, tags, f"{name}.parquet")
        columns = {"text_columns": ["text"], "label_columns": ["tags"]}
        config = DatasetConfig.model_validate({"uri": path.as_uri(), "test_uri": test.as_uri()} | columns)
        found[name] = read_test_examples(config, like=read_tags(path).examples, scratch=tmp_path)

    assert labels_of(found["allowed"]) == [{"a"}, set(), set()]
    assert found["allowed"].notes[-1].endswith("in the 1 row that has no other label predicting no label counts as right")
    assert labels_of(found["required"]) == [{"a"}, set()]
    assert "1 row of 3 carries no label: set aside, since the classifier gives every text a label" in found["required"].notes
    assert found["required"].notes[-1].endswith("in the 1 row that has no other label every prediction counts as wrong")


def test_a_test_set_of_nothing_but_rows_without_a_label_is_one(tmp_path: Path) -> None:
    path = tagged(tmp_path, [[], []])
    config = DatasetConfig.model_validate({"uri": path.as_uri(), "text_columns": ["text"], "label_columns": ["tags"]})

    loaded = read_aligned(config, config.uri, labels=("a", "b"), task=Task.MULTI_LABEL, label_required=False, scratch=tmp_path)

    assert loaded.examples.targets.shape == (2, 2)
    assert loaded.examples.targets.nnz == 0
