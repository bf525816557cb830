"""Labels as people's files have them: lists, tuples, sets, arrays, dictionaries, vectors, in every format."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.reading import labels_of, read
from trainer.data.labels.columns import read_labels
from trainer.data.reading import DatasetRejected

FORMATS = ["csv", "tsv", "jsonl", "parquet"]


def write(folder: Path, labels: Sequence[object], ending: str) -> Path:
    """A file with these cells as labels; what a text format cannot hold is written as JSON."""
    path = folder / f"rows.{ending}"
    texts = [f"text number {index}" for index in range(len(labels))]
    if ending == "jsonl":
        path.write_text("".join(json.dumps({"text": t, "labels": each}) + "\n" for t, each in zip(texts, labels, strict=True)))
    elif ending == "parquet":
        pq.write_table(pa.table({"text": texts, "labels": labels}), path)
    else:
        cells = [each if isinstance(each, str) else json.dumps(each) for each in labels]
        frame = pl.DataFrame({"text": texts, "labels": cells})
        frame.write_csv(path, separator="," if ending == "csv" else "\t")
    return path


def labels_read(path: Path, **settings: object) -> list[set[str]]:
    return labels_of(read(path, text_columns=("text",), label_columns=("labels",), minimum_examples=1, **settings))


LISTS = [
    pytest.param("['screens']", "['screens' 'battery']", id="numpy"),
    pytest.param("['screens']", "['screens'\n 'battery']", id="numpy-over-lines"),
    pytest.param("array(['screens'], dtype=object)", "array(['screens', 'battery'], dtype='<U8')", id="numpy-array"),
    pytest.param("('screens',)", "('screens', 'battery')", id="tuples"),
    pytest.param("{'screens'}", "{'battery', 'screens'}", id="sets"),
    pytest.param("frozenset({'screens'})", "frozenset({'battery', 'screens'})", id="frozen-sets"),
    pytest.param("dict_keys(['screens'])", "dict_keys(['screens', 'battery'])", id="keys"),
    pytest.param(json.dumps(json.dumps(["screens"])), json.dumps(json.dumps(["screens", "battery"])), id="json-in-json"),
    pytest.param("[screens]", "[screens, battery]", id="without-quotes"),
    pytest.param("['screens']", "[np.str_('screens'), np.str_('battery')]", id="numpy-scalars"),
    pytest.param('["screens"]', '["screens", NaN, "battery"]', id="json"),
    pytest.param("['screens', nan]", "['screens', None, 'battery']", id="python-with-gaps"),
]


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize(("one", "two"), LISTS)
def test_lists_in_text_are_lists_however_they_are_written(one: str, two: str, ending: str, tmp_path: Path) -> None:
    path = write(tmp_path, [one, two] * 3, ending)

    assert labels_read(path, label_separator="auto") == [{"screens"}, {"screens", "battery"}] * 3


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize(
    "vectors",
    [
        pytest.param([[0, 1, 0, 0], [1, 0, 0, 1], [0, 0, 0, 0]], id="integers"),
        pytest.param([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0]], id="floats"),
        pytest.param([[True, False, False], [False, False, True]], id="booleans"),
        pytest.param([["0", "1", "1"], ["1", "0", "0"]], id="strings"),
        pytest.param([[0.1, 0.9], [0.7, 0.2]], id="scores"),
        pytest.param(["[0 1 0]", "[1 0 0]"], id="numpy"),
        pytest.param(["[0. 1. 0.]", "[1. 0. 0.]"], id="numpy-floats"),
        pytest.param(["[False  True]", "[ True False]"], id="numpy-booleans"),
        pytest.param(["(0, 1, 0)", "(1, 0, 0)"], id="tuples"),
        pytest.param(["tensor([0, 1, 0])", "tensor([1, 0, 0], device='cuda:0')"], id="torch"),
        pytest.param(["0,1,0,0", "1,0,0,1"], id="commas"),
        pytest.param(["0, 1, 0", "1, 0, 0"], id="commas-and-blanks"),
        pytest.param(["0 1 0 0", "1 0 0 1"], id="blanks"),
        pytest.param(["0;1;0", "1;0;0"], id="semicolons"),
        pytest.param(["0|1|0", "1|0|0"], id="bars"),
        pytest.param(["[0, 1, 0]", "[1, 0, 0]", "[1, 0]"], id="one-is-shorter"),
    ],
)
def test_vectors_of_0_and_1_are_refused_and_the_row_is_named(vectors: list[object], ending: str, tmp_path: Path) -> None:
    path = write(tmp_path, vectors * 3, ending)

    for separator in ("auto", ",", " "):
        with pytest.raises(DatasetRejected, match=r"vectors of 0 and 1, such as .*rows\.\w+ (row|line) \d+.*column of 0 and 1"):
            labels_read(path, label_separator=separator)


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("cells", [["0100", "1000", "0011"], ["01", "10"], ["000", "010", ""]], ids=["four", "two", "zeros"])
def test_rows_of_bits_are_refused_unless_a_setting_calls_them_names(cells: list[str], ending: str, tmp_path: Path) -> None:
    path = write(tmp_path, cells * 3, ending)

    with pytest.raises(
        DatasetRejected, match=r"digits 0 and 1, such as '0[01]+' \(.*rows\.\w+ (row|line) \d+\).*label_separator to ''"
    ):
        labels_read(path, label_separator="auto")
    assert labels_read(path, label_separator="") == [{cell} for cell in cells * 3 if cell]


@pytest.mark.parametrize(
    "cells", [["10", "11"], ["0", "1"], ["01", "02", "10"], ["00", "111"], ["00000"] * 2], ids=["10", "0", "02", "lengths", "one"]
)
def test_other_codes_are_names(cells: list[str], tmp_path: Path) -> None:
    names = [*cells, "zz"] if len(set(cells)) == 1 else cells

    assert labels_read(write(tmp_path, names * 3, "csv"), label_separator="auto") == [{cell} for cell in names * 3]


@pytest.mark.parametrize("ending", FORMATS)
def test_tags_in_angle_brackets_are_several_labels(ending: str, tmp_path: Path) -> None:
    path = write(tmp_path, ["<python><c#>", "<c#>", "<asp.net-mvc> <python>", ""] * 3, ending)

    loaded = read(path, text_columns=("text",), label_columns=("labels",), label_separator="auto")
    assert labels_of(loaded) == [{"python", "c#"}, {"c#"}, {"asp.net-mvc", "python"}] * 3
    assert "tags in angle brackets, such as '<python><c#>' in " in dict(loaded.reading.facts)["labels"]
    assert labels_read(path, label_separator="")[0] == {"<python><c#>"}


def test_names_with_angle_brackets_beside_others_are_names(tmp_path: Path) -> None:
    names = ["<other>", "<none>", "sports"]
    assert labels_read(write(tmp_path, names * 3, "csv"), label_separator="auto") == [{name} for name in names * 3]
    assert labels_read(write(tmp_path, names[:2] * 3, "csv"), label_separator="auto") == [{name} for name in names[:2] * 3]


def test_the_labels_of_a_version_say_what_codes_and_tags_are() -> None:
    def names(cells: list[str], *known: str) -> tuple[str, ...]:
        return read_labels(pl.Series(cells), listed=False, separator="auto", aliases={}, known=frozenset(known)).names

    assert names(["01", "10"], "01", "10") == ("01", "10")
    assert names(["<c>", "<d>"], "c", "e") == ("c", "d")
    assert names(["<c>", "<d><e>"], "<c>", "<d><e>") == ("<c>", "<d><e>")


@pytest.mark.parametrize("ending", FORMATS)
def test_lists_of_the_names_0_and_1_are_no_vectors(ending: str, tmp_path: Path) -> None:
    path = write(tmp_path, [["0"], ["1"], ["0", "1"]], ending)

    assert labels_read(path) == [{"0"}, {"1"}, {"0", "1"}]


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize(
    ("no", "yes"), [(0.0, 1.0), (0, 1), (False, True), ("0", "1")], ids=["floats", "integers", "booleans", "strings"]
)
def test_dictionaries_of_0_and_1_are_labels_by_name(no: object, yes: object, ending: str, tmp_path: Path) -> None:
    cells = [{"screens": no, "sound": yes}, {"screens": yes, "sound": yes}, {"screens": yes, "sound": no}]

    assert labels_read(write(tmp_path, cells, ending)) == [{"sound"}, {"screens", "sound"}, {"screens"}]


def test_maps_of_arrow_are_dictionaries(tmp_path: Path) -> None:
    maps = pa.array([[("screens", 1), ("sound", 0)], [("screens", 1), ("sound", 1)]], pa.map_(pa.string(), pa.int64()))
    pq.write_table(pa.table({"text": ["a b", "c d"], "labels": maps}), tmp_path / "rows.parquet")

    assert labels_read(tmp_path / "rows.parquet") == [{"screens"}, {"screens", "sound"}]


@pytest.mark.parametrize("ending", FORMATS)
def test_a_dictionary_of_scores_is_refused_and_the_row_is_named(ending: str, tmp_path: Path) -> None:
    cells = [{"screens": 0.0, "sound": 1.0}, {"screens": 0.4, "sound": 0.6}]

    with pytest.raises(DatasetRejected, match=r"rows\.\w+ (row|line) \d.* 'screens: 0\.4': expected 0 or 1"):
        labels_read(write(tmp_path, cells, ending))


BROKEN = [
    pytest.param("['battery', 'sound'", id="not-closed"),
    pytest.param("'battery', 'sound']", id="not-opened"),
    pytest.param("['battery, 'sound']", id="a-quote-too-few"),
    pytest.param("battery, sound", id="no-brackets"),
    pytest.param("['battery', ['sound']]", id="within-one-another"),
    pytest.param("['battery' ... 'sound']", id="left-out"),
]


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_list_among_lists_is_set_aside_and_named(broken: str, ending: str, tmp_path: Path) -> None:
    cells = ["['battery']", "['sound']", "['battery', 'sound']"] * 10
    cells[7] = broken

    loaded = read(write(tmp_path, cells, ending), text_columns=("text",), label_columns=("labels",), label_separator="auto")

    assert loaded.examples.labels == ("battery", "sound")
    assert len(loaded.examples) == 29
    assert any(f"rows.{ending}" in note and repr(broken) in note and "read as missing" in note for note in loaded.notes)


def test_many_broken_lists_are_refused(tmp_path: Path) -> None:
    cells = ["['battery']", "['sound']", "['battery', 'sound'"] * 3

    with pytest.raises(DatasetRejected, match=r"3 of 9 cells are not lists: .*rows\.csv .*opens and does not close"):
        labels_read(write(tmp_path, cells, "csv"))


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl"])
@pytest.mark.parametrize(
    "cells",
    [
        pytest.param([[{"name": "x"}], [{"name": "y"}]], id="lists-of-dictionaries"),
        pytest.param([[["x"], ["y"]], [["y"]]], id="lists-of-lists"),
        pytest.param(["['x' ... 'y']", "['y' ... 'x']"], id="left-out"),
    ],
)
def test_lists_that_hold_no_names_are_refused_and_the_row_is_named(cells: list[object], ending: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetRejected, match=r"6 of 6 cells are not lists: .*rows\.\w+ line \d"):
        labels_read(write(tmp_path, cells * 3, ending), label_separator="auto")


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(["sports", "(other)", "[misc]"], id="some-in-brackets"),
        pytest.param(["foo (bar)", "bar", "{x} y"], id="brackets-within"),
        pytest.param(["f(x)", "g(x)", "h"], id="calls"),
    ],
)
def test_names_with_brackets_are_names(names: list[str], tmp_path: Path) -> None:
    assert labels_read(write(tmp_path, names * 3, "csv"), label_separator="") == [{name} for name in names] * 3


@pytest.mark.parametrize(
    "names",
    [
        pytest.param("very satisfied,satisfied,somewhat satisfied,neutral,dissatisfied,very dissatisfied", id="satisfaction"),
        pytest.param("strongly agree,agree,neither agree nor disagree,disagree,strongly disagree", id="agreement"),
        pytest.param("very often,often,sometimes,rarely,never,almost never,almost always,always", id="frequency"),
        pytest.param("good,very good,bad,very bad,very very bad,not good", id="quality"),
        pytest.param("New York,York,New Jersey,Los Angeles,Las Vegas,New Orleans,Jersey City,York City,Kansas", id="cities"),
        pytest.param("heart attack,heart failure,heart,panic attack,renal failure,stroke,heat stroke", id="diseases"),
        pytest.param(
            ",".join(f"{colour} {what}" for colour in ("red", "blue", "black") for what in ("shoes", "hats")) + ",shoes,hats",
            id="articles",
        ),
    ],
)
@pytest.mark.parametrize("ending", FORMATS)
def test_names_of_several_words_stay_whole(names: str, ending: str, tmp_path: Path) -> None:
    cells = names.split(",") * 20

    assert labels_read(write(tmp_path, cells, ending), label_separator="auto") == [{name} for name in cells]


def test_strings_stored_as_bytes_are_text(tmp_path: Path) -> None:
    table = pa.table({"text": [b"a word", b"caf\xc3\xa9"], "labels": [b"x", b"y"]})
    pq.write_table(table, tmp_path / "rows.parquet")

    loaded = read(tmp_path / "rows.parquet", text_columns=("text",), label_columns=("labels",), minimum_examples=1)

    assert loaded.examples.texts() == ["a word", "café"]
    assert labels_of(loaded) == [{"x"}, {"y"}]


@pytest.mark.parametrize(
    "labels",
    [
        pytest.param(pa.array([[b"x"], [b"x", b"y"]]), id="lists"),
        pytest.param(pa.array([[b"x", b""], [b"x", b"y"]], pa.list_(pa.binary(), 2)), id="lists-of-one-length"),
        pytest.param(pa.array([[(b"x", 1), (b"y", 0)], [(b"x", 1), (b"y", 1)]], pa.map_(pa.binary(), pa.int64())), id="maps"),
        pytest.param(pa.array([{"x": b"1", "y": b"0"}, {"x": b"1", "y": b"1"}]), id="dictionaries"),
    ],
)
def test_several_labels_stored_as_bytes_are_labels(labels: pa.Array, tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a b", "c d"], "labels": labels}), tmp_path / "rows.parquet")

    assert labels_read(tmp_path / "rows.parquet") == [{"x"}, {"x", "y"}]


BYTES = [
    pytest.param("text", pa.binary(), bytes, id="a-text"),
    pytest.param("labels", pa.binary(), bytes, id="a-label"),
    pytest.param("labels", pa.large_binary(), bytes, id="a-large-label"),
    pytest.param("labels", pa.dictionary(pa.int32(), pa.binary()), bytes, id="a-dictionary-encoded-label"),
    pytest.param("labels", pa.list_(pa.binary()), lambda name: [b"x", name], id="a-list"),
    pytest.param("labels", pa.map_(pa.binary(), pa.int64()), lambda name: [(b"x", 0), (name, 1)], id="a-map"),
]


@pytest.mark.parametrize(("column", "kind", "cell"), BYTES)
def test_bytes_that_are_not_utf_8_are_refused_and_their_row_is_named(
    column: str, kind: pa.DataType, cell: Callable[[bytes], object], tmp_path: Path
) -> None:
    names = [b"alpha", b"beta"] * 20
    names[32] = "a café".encode("cp1252")
    columns = {"text": [f"text {at}" for at in range(40)], "labels": ["x", "y"] * 20}
    table = pa.table(columns | {column: pa.array([cell(name) for name in names], kind)})
    pq.write_table(table, tmp_path / "rows.parquet", row_group_size=9)

    with pytest.raises(
        DatasetRejected, match=rf"rows\.parquet row 33 holds bytes in column '{column}' that are not UTF-8, .*caf"
    ):
        labels_read(tmp_path / "rows.parquet")


@pytest.mark.parametrize("odd", ['"', '""', "\\0", "a\\", 'a", "b', "two\nlines", "é"])
def test_names_that_json_escapes_are_read_back_from_lists_and_dictionaries(odd: str, tmp_path: Path) -> None:
    lists = write(tmp_path, [["alpha", odd], ["beta"]] * 3, "jsonl")
    assert labels_read(lists)[:2] == [{"alpha", odd.strip()}, {"beta"}]

    dictionaries = write(tmp_path, [{"alpha": 1, "beta": 0, odd: 1}, {"alpha": 0, "beta": 1, odd: 0}] * 3, "jsonl")
    assert labels_read(dictionaries)[:2] == [{"alpha", odd.strip()}, {"beta"}]
