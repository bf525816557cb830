"""Text files as people save them: separators, quotes, encodings, line ends, headers."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from pathlib import Path

import pytest
from backports import zstd

from tests.support.reading import labels_of, read
from trainer.data.reading import DatasetRejected, Loaded

ROWS = [(f"a text, number {index}", "xyz"[index % 3]) for index in range(9)]
UNEVEN = [(f"{text}{', more' * (index % 3)}", label) for index, (text, label) in enumerate(ROWS)]
COLUMNS = ("text", "label")


def loaded(path: Path, **settings: object) -> Loaded:
    return read(path, **({"text_columns": ("text",), "label_columns": ("label",)} | settings))


def rows_read(path: Path, **settings: object) -> list[tuple[str, str]]:
    found = loaded(path, **settings)
    return list(zip(found.examples.texts(), (names.pop() for names in labels_of(found)), strict=True))


def lines(rows: list[tuple[str, str]], separator: str = ",", end: str = "\n", head: str | None = None) -> str:
    head = separator.join(COLUMNS) if head is None else head
    return end.join([head, *(separator.join(row) for row in rows)]) + end


def quoted(rows: list[tuple[str, str]], separator: str = ",") -> str:
    return lines([(f'"{text}"', f'"{label}"') for text, label in rows], separator)


PACKED = {"": bytes, ".gz": gzip.compress, ".zst": zstd.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


@pytest.mark.parametrize("packed", PACKED)
@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("d.csv", lines(ROWS, ";").encode("utf-8-sig"), id="semicolons"),
        pytest.param("d.csv", lines(ROWS, "\t").encode(), id="tabs-in-csv"),
        pytest.param("d.csv", lines(ROWS, "|").encode(), id="bars"),
        pytest.param("d.tsv", quoted(ROWS).encode(), id="commas-in-tsv"),
        pytest.param("d.csv", ("sep=;\n" + lines(ROWS, ";")).encode(), id="excels-first-line"),
        pytest.param("d.csv", ("sep=#\r\n" + lines(ROWS, "#", "\r\n")).encode(), id="excels-first-line-any-sign"),
        pytest.param("d.csv", lines(ROWS, "\t", "\r\n").encode("utf-16"), id="utf-16"),
        pytest.param("d.csv", lines(ROWS, ";").encode("utf-16-be"), id="utf-16-without-mark"),
        pytest.param("d.csv", b"\xff\xfe\0\0" + lines(ROWS, ";").encode("utf-32-le"), id="utf-32"),
        pytest.param("d.csv", quoted(ROWS).replace('","', '", "').replace("text,label", "text, label").encode(), id="blanks"),
        pytest.param("d.csv", quoted(ROWS).replace("\n", "\r").encode(), id="carriage-returns"),
        pytest.param("d.csv", quoted(ROWS).replace("\n", "\r\n").encode(), id="windows"),
    ],
)
def test_a_file_is_read_however_it_was_saved(name: str, content: bytes, packed: str, tmp_path: Path) -> None:
    path = tmp_path / (name + packed)
    path.write_bytes(PACKED[packed](content))

    assert rows_read(path) == ROWS


@pytest.mark.parametrize(
    ("content", "settings"),
    [
        pytest.param(lines(ROWS, "#").encode(), {"separator": "#"}, id="separator"),
        pytest.param(lines(ROWS, "\t").encode(), {"separator": "tab"}, id="separator-by-name"),
        pytest.param(lines(UNEVEN, ";", head="").lstrip("\n").encode(), {"header": False}, id="header"),
        pytest.param(lines(UNEVEN, ";", head="").lstrip("\n").encode(), {}, id="header-by-the-columns"),
        pytest.param(lines(ROWS, ";").encode("utf-16-le"), {"encoding": "utf-16-le"}, id="encoding"),
    ],
)
def test_settings_say_what_cannot_be_seen(content: bytes, settings: dict[str, object], tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_bytes(content)
    if b"label" not in content.replace(b"\0", b""):
        settings = settings | {"text_columns": ("column_1",), "label_columns": ("column_2",)}

    assert rows_read(path, **settings) == (UNEVEN if "column_1" in str(settings) else ROWS)


@pytest.mark.parametrize("name", ["d.csv", "d.jsonl"])
def test_another_encoding_is_refused_with_its_line_and_read_once_it_is_named(name: str, tmp_path: Path) -> None:
    rows = [(f"größer, für 5 €, Nummer {index}", label) for index, (_, label) in enumerate(ROWS)]
    text = "".join(json.dumps(dict(zip(COLUMNS, row, strict=True)), ensure_ascii=False) + "\n" for row in rows)
    (tmp_path / name).write_bytes((text if name.endswith("l") else lines(rows, ";")).encode("cp1252"))

    first = 1 if name.endswith("l") else 2
    with pytest.raises(DatasetRejected, match=rf"is not UTF-8 text: line {first} holds the byte 0xf6; set dataset\.encoding"):
        loaded(tmp_path / name)
    assert rows_read(tmp_path / name, encoding="cp1252") == rows
    with pytest.raises(DatasetRejected, match=r"is not shift_jis text, as dataset\.encoding says: line \d"):
        loaded(tmp_path / name, encoding="shift_jis")


def test_json_lines_in_utf_16_are_read(tmp_path: Path) -> None:
    text = "".join(json.dumps(dict(zip(COLUMNS, row, strict=True))) + "\r\n" for row in ROWS)
    (tmp_path / "d.jsonl").write_bytes(text.encode("utf-16"))

    assert rows_read(tmp_path / "d.jsonl") == ROWS


LONE = [
    '5" screen',
    '"great product',
    'they said 15"',
    'say "yes" now',
    '"quoted" at the start',
    "plain",
    '"',
    'a "b" "c',
    'x""y',
]


@pytest.mark.parametrize(("name", "separator"), [("d.tsv", "\t"), ("d.csv", ",")])
@pytest.mark.parametrize("packed", ["", ".gz"])
def test_lone_quotes_are_text_and_the_first_is_named(name: str, separator: str, packed: str, tmp_path: Path) -> None:
    rows = [(text, "xyz"[index % 3]) for index, text in enumerate(LONE)]
    path = tmp_path / (name + packed)
    path.write_bytes(PACKED[packed](lines(rows, separator).encode()))

    assert rows_read(path) == rows
    assert rows_read(path, quoting="none") == rows
    assert any("quotes that enclose no field were read as text, the first in line 2" in note for note in loaded(path).notes)


def test_lone_quotes_and_quoted_fields_stand_side_by_side(tmp_path: Path) -> None:
    rows = [('5" screen', "x"), ("one, two", "y"), ('"great" stuff', "z")] * 3
    written = [(f'"{text}"' if "," in text else text, f'"{label}"') for text, label in rows]
    (tmp_path / "d.csv").write_text(lines(written))

    assert rows_read(tmp_path / "d.csv") == rows


def test_pairs_of_lone_quotes_far_apart_swallow_no_rows(tmp_path: Path) -> None:
    texts = ['"great product', *["plain"] * 4, 'a 15"', *["plain"] * 3]
    rows = [(label, text) for text, label in zip(texts, "xyz" * 3, strict=True)]
    for name, separator in (("d.tsv", "\t"), ("d.csv", ",")):
        (tmp_path / name).write_text(lines(rows, separator, head=separator.join(("label", "text"))))

        assert rows_read(tmp_path / name) == [(text, label) for label, text in rows], name


def test_fields_that_span_lines_are_read_and_counted(tmp_path: Path) -> None:
    rows = [("first line\nsecond; line", "x"), ("one\n\nthree", "y"), ("plain", "z")] * 3
    (tmp_path / "d.csv").write_text(quoted(rows))

    assert rows_read(tmp_path / "d.csv") == rows
    assert any("9 line ends within fields, the first in line 2" in note for note in loaded(tmp_path / "d.csv").notes)


def test_fields_that_span_lines_beside_stray_quotes_are_read(tmp_path: Path) -> None:
    rows = [('a 5" screen', "x"), ("one\ntwo", "y"), ("plain", "z")] * 3
    (tmp_path / "d.csv").write_text(lines([(f'"{text}"' if "\n" in text else text, label) for text, label in rows]))

    assert rows_read(tmp_path / "d.csv") == rows


def test_what_may_be_a_field_over_two_lines_or_two_lone_quotes_is_refused(tmp_path: Path) -> None:
    content = 'label,text\nx,"one\ny,two"\nz,three\n' + "x,a\ny,b\nz,c\n" * 3
    (tmp_path / "d.csv").write_text(content)

    with pytest.raises(DatasetRejected, match=r"d\.csv line 2 opens a double quote .* set dataset\.quoting to double .* none"):
        loaded(tmp_path / "d.csv")
    assert rows_read(tmp_path / "d.csv", quoting="double")[0] == ("one\ny,two", "x")
    assert rows_read(tmp_path / "d.csv", quoting="none")[:2] == [('"one', "x"), ('two"', "y")]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("place", ["price", "label", "list"])
def test_what_is_no_number_in_json_is_missing(number: str, place: str, tmp_path: Path) -> None:
    rows = [json.dumps({"text": f'said: "NaN, Infinity" {text}', "label": label}) for text, label in ROWS]
    odd = {
        "price": f'{{"text": "odd", "label": "x", "price": {number}}}',
        "label": f'{{"text": "odd", "label": {number}}}',
        "list": f'{{"text": "odd", "label": ["x", {number}]}}',
    }[place]
    (tmp_path / "d.jsonl").write_text("\n".join([*rows, odd]))

    found = loaded(tmp_path / "d.jsonl")

    assert found.facts.rows == 10
    assert found.examples.texts()[0] == 'said: "NaN, Infinity" a text, number 0'
    assert len(found.examples) == (9 if place == "label" else 10)


def test_json_lines_that_end_with_carriage_returns_are_read(tmp_path: Path) -> None:
    rows = [json.dumps(dict(zip(COLUMNS, row, strict=True))) for row in ROWS]
    (tmp_path / "d.jsonl").write_text("\r".join(rows), newline="")

    assert rows_read(tmp_path / "d.jsonl") == ROWS


@pytest.mark.parametrize("name", ["d.jsonl.zst", "d.csv.zst"])
def test_a_line_that_unpacks_to_gigabytes_is_refused_before_it_is_held(name: str, tmp_path: Path) -> None:
    content = b"text,label\n" + b'{"text": "' + b"a" * (65 << 20)
    (tmp_path / name).write_bytes(PACKED["." + name.rsplit(".", 1)[1]](content))

    with pytest.raises(DatasetRejected, match=r"line \d is longer than 64 MiB"):
        loaded(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("d.csv", "a" * 5_000 + "," + "b" * 5_000 + "\n1,2\n", id="names-of-columns"),
        pytest.param("d.csv", ",".join(f"column {n}" for n in range(5_000)) + "\n", id="many-columns"),
        pytest.param("d.csv", "label,other\r" + "x,y\r" * 9_000, id="carriage-returns"),
        pytest.param("d.jsonl", '{"' + "a" * 5_000 + '": 1}\n', id="keys"),
        pytest.param("d.jsonl", '{"text": "' + "a" * 5_000 + "\n", id="broken-line"),
        pytest.param("d.csv", "text,label\n" + f"t,{'l' * 5_000}\n" * 5, id="one-label"),
        pytest.param("d.csv", "text,label\n" + "".join(f"t,{n}{'l' * 500}\n" for n in range(50)), id="rare-labels"),
        pytest.param("d.csv", "text,label\n" + f't,"[{"1, 0, " * 900}0]"\n' * 5, id="vectors"),
        pytest.param("d.csv", "text,label\n" + "t,x\n" * 5 + "t," * 5_000 + "\n", id="many-fields"),
        pytest.param("d.csv", "text,label\n" + "\x1b[31m,\x1b]0;x\x07\n" * 9, id="escape-sequences"),
    ],
)
def test_no_message_repeats_a_dataset_or_its_control_characters(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content, newline="")

    with pytest.raises(DatasetRejected) as refused:
        loaded(tmp_path / name)

    assert len(str(refused.value).replace(str(tmp_path), "")) < 700
    assert str(refused.value).isprintable()
