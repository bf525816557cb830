"""Data as people have it: broken, mixed, empty, strange. A sentence for each, or a row for each."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import re
from pathlib import Path

import polars as pl
import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.reading import labels_of, read
from trainer.data.reading import DatasetRejected

HEADER = "title,abstract,categories\n"
GOOD = "".join(f"t{n},a{n},{label}\n" for n in range(3) for label in "xy")
LINES = "".join(json.dumps({"title": f"t{n}", "abstract": "a", "categories": label}) + "\n" for n in range(3) for label in "xy")

DEEP = '{"title": "x", "abstract": "a", "categories": ' + "[" * 50_000 + "]" * 50_000 + "}\n"
NO_JSON = b'{"title": "x", "abs\n'
NUMBERS = "1.5,2,x\n3,4e5,y\n" * 3
BROKEN = {
    "too-many-fields": ("d.csv", HEADER + GOOD + "one,two,three,four\n", r"d\.csv line 8 has 4 fields and the header 3"),
    "latin-1": (
        "d.csv",
        (HEADER + GOOD + "café,é,x\n").encode("latin-1"),
        r"d\.csv is not UTF-8 text: line 8 holds the byte 0xe9; set dataset\.encoding .*cp1252.*'café,é,x'",
    ),
    "open-quote": ("d.csv", HEADER + GOOD + '"a,b\nc,d,x\n', r"d\.csv line 8 opens a double quote that does not close"),
    "stray-quote": ("d.csv", HEADER + GOOD + '"a" b,"c\nd",x\n', r"d\.csv line 8 opens a double quote that does not close"),
    "no-bytes": ("d.csv", b"", r"d\.csv holds no bytes"),
    "header-alone": ("d.csv", HEADER, "no row has a text and a label; found columns: title, abstract, categories"),
    "no-such-column": ("d.csv", "title,text\na,b\n", r"d\.csv has no column 'abstract', 'categories'; found 'title', 'text'"),
    "broken-line": ("d.jsonl", LINES.encode() + NO_JSON, r"d\.jsonl line 7 is not JSON \(.*\): .*\"title\""),
    "no-object": ("d.jsonl", LINES + "[1]\n", r"d\.jsonl line 7 is not a JSON object: '\[1\]'"),
    "nested-deeply": ("d.jsonl", DEEP + LINES, r"d\.jsonl line 1 is nested too deeply: '\{\"title"),
    "nested-deeply-later": ("d.jsonl", LINES + DEEP, r"d\.jsonl line 7 is nested too deeply: '\{\"title"),
    "json-list": ("d.json", b'[{"title": "a"}]', r"d\.json is a JSON list, not JSON Lines"),
    "json-over-lines": ("d.json", b'{\n "title": "a"\n}', r"d\.json line 1 is not JSON"),
    "no-such-key": ("d.jsonl", b'{"title": "a"}\n', r"d\.jsonl has no column 'abstract', 'categories'; found 'title'"),
    "bad-bytes": ("d.jsonl", LINES.encode() + b'{"title": "\xff"}', r"d\.jsonl is not UTF-8"),
    "no-parquet": ("d.parquet", b"PAR1 not really", r"d\.parquet cannot be read as Parquet"),
    "no-gzip": ("d.csv.gz", b"not packed at all", r"d\.csv\.gz"),
    "no-xz": ("d.jsonl.xz", b"not packed at all", r"d\.jsonl\.xz cannot be read as JSON Lines"),
    "no-bz2": ("d.csv.bz2", b"not packed at all", r"d\.csv\.bz2 cannot be read as CSV"),
    "cut-gzip": ("d.jsonl.gz", gzip.compress(LINES.encode())[:-10], r"d\.jsonl\.gz ends before its compressed data do"),
    "name-twice": (
        "d.csv",
        "title,abstract,title,categories\nt,a,u,x\n",
        r"d\.csv has several columns 'title': rename all but one",
    ),
    "unknown-format": ("d.xlsx", b"x", r"d\.xlsx: expected a name in \.parquet, \.csv, \.tsv or \.jsonl"),
    "numbers": (
        "d.csv",
        HEADER + NUMBERS,
        r"^text columns 'title' \(such as '1.5'\) and 'abstract' \(such as '2'\) hold only numbers: expected text",
    ),
    "numbers-and-nothing": (
        "d.csv",
        HEADER + "1.5,,x\n,,y\n" * 3,
        r"^text column 'title' \(such as '1.5'\) holds only numbers: expected text; dataset.text_columns names",
    ),
    "numbers-of-json": (
        "d.jsonl",
        '{"title": 7, "abstract": null, "categories": "x"}\n' * 9,
        r"^text column 'title' \(such as '7'\) holds only numbers: expected text",
    ),
    "one-label": ("d.csv", HEADER + "a,b,x\n" * 5, "there is nothing to tell apart: .*'x'"),
    "all-labels-rare": ("d.csv", HEADER + "a,b,x\nc,d,y\n", "there is nothing to tell apart: .*none; columns: title"),
}


@pytest.mark.parametrize(("name", "content", "sentence"), BROKEN.values(), ids=BROKEN.keys())
def test_what_cannot_be_read_is_refused_in_one_sentence(name: str, content: bytes | str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)

    with pytest.raises(DatasetRejected, match=sentence) as refused:
        read(path)

    assert "\n" not in str(refused.value)


def packed_lines(rows: int) -> list[bytes]:
    """A zstd frame in two pieces, the first of which ends where a block and a line end."""
    packer = zstd.ZstdCompressor()
    first = packer.compress(LINES.encode() * rows) + packer.flush(packer.FLUSH_BLOCK)
    return [first, packer.compress(LINES.encode()) + packer.flush()]


@pytest.mark.parametrize("rows", [1, 50_000], ids=["small", "many-blocks"])
def test_frames_of_zstd_are_read_to_the_last(rows: int, tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl.zst"
    path.write_bytes(b"".join(packed_lines(rows)) + b"\x50\x2a\x4d\x18\x02\0\0\0xx" + zstd.compress(LINES.encode()))

    assert read(path).facts.rows == 6 * (rows + 2)


@pytest.mark.parametrize("end", [".gz", ".zst", ".bz2", ".xz"])
@pytest.mark.parametrize(("name", "content"), [("d.csv", HEADER + GOOD * 99), ("d.tsv", HEADER), ("d.jsonl", LINES * 99)])
def test_a_file_that_was_cut_off_is_refused(end: str, name: str, content: str, tmp_path: Path) -> None:
    pack = {".gz": gzip.compress, ".zst": zstd.compress, ".bz2": bz2.compress, ".xz": lzma.compress}[end]
    whole = pack(content.encode())
    for cut in (len(whole) // 2, len(whole) - 5, len(whole) - 1):
        path = tmp_path / (name + end)
        path.write_bytes(whole[:cut])

        with pytest.raises(DatasetRejected, match="ends before its compressed data do"):
            read(path)


@pytest.mark.parametrize("name", ["d.jsonl.zst", "d.csv.zst"])
def test_zstd_that_was_cut_between_blocks_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(packed_lines(20)[0])

    with pytest.raises(DatasetRejected, match="ends before its compressed data do"):
        read(path)


def test_a_sample_too_small_for_its_labels_is_blamed_on_the_setting(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text(HEADER + GOOD)

    with pytest.raises(DatasetRejected, match=r"at least 3 examples in the sample of 3 rows \(dataset\.sample_count\)"):
        read(path, sample_count=3)


@pytest.mark.parametrize("below", [False, True], ids=["own-address", "below-the-address"])
def test_a_broken_file_is_named_by_its_address_or_below_it(below: bool, tmp_path: Path) -> None:
    path = tmp_path / "data" / "a" / "my d.csv"
    path.parent.mkdir(parents=True)
    path.touch()
    named = "a/my d.csv" if below else path.as_uri()

    with pytest.raises(DatasetRejected, match=f"^{re.escape(named)} holds no bytes$"):
        read(tmp_path / "data" if below else path)


def test_a_folder_of_several_formats_is_refused_and_they_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "a.csv").write_text(HEADER + GOOD)
    (folder / "b.jsonl").write_text(LINES)

    with pytest.raises(DatasetRejected, match=r"CSV: a\.csv; JSON Lines: b\.jsonl.*glob"):
        read(folder)


def test_the_file_that_lacks_a_column_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "a.csv").write_text(HEADER + GOOD)
    (folder / "b.csv").write_text("title,abstract\nx,y\n")

    with pytest.raises(DatasetRejected, match=r"b\.csv has no column 'categories'"):
        read(folder)


@pytest.mark.parametrize("kind", [pl.List(pl.String), pl.Struct({"a": pl.String})])
def test_a_text_column_of_no_text_is_refused(kind: pl.DataType, tmp_path: Path) -> None:
    path = tmp_path / "d.parquet"
    frame = pl.DataFrame({"title": [None] * 3, "abstract": ["a"] * 3, "categories": ["x"] * 3}, schema_overrides={"title": kind})
    frame.write_parquet(path)

    with pytest.raises(DatasetRejected, match=r"text column 'title' holds .*: expected text"):
        read(path)


def test_numbers_beside_text_are_text(tmp_path: Path) -> None:
    path = tmp_path / "d.parquet"
    pl.DataFrame({"title": [2019] * 6, "abstract": ["words"] * 6, "categories": ["x", "y"] * 3}).write_parquet(path)

    loaded = read(path)

    assert loaded.examples.texts()[0] == "2019\nwords"
    [note] = loaded.notes
    assert note.startswith("text column 'title' (such as '2019') holds only numbers, which are read as words; remove columns")


@pytest.mark.parametrize("kind", [pl.Int64, pl.Float32, pl.String], ids=str)
def test_a_column_of_numbers_alone_is_refused_whatever_its_type(kind: pl.DataType, tmp_path: Path) -> None:
    path = tmp_path / "d.parquet"
    frame = pl.DataFrame(
        {"price": [3, None, 5] * 2, "categories": ["x", "y"] * 3}, schema_overrides={"price": kind}, strict=False
    )
    frame.write_parquet(path)

    with pytest.raises(DatasetRejected, match=r"^text column 'price' \(such as '3'\) holds only numbers: expected text; "):
        read(path, text_columns=("price",))


@pytest.mark.parametrize("text", ["...", "e.e", "- : -", "1st", "x = 2", "٣ عناصر"])
def test_signs_and_words_are_no_numbers(text: str, tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text(HEADER + f"{text},,x\n{text},,y\n" * 3)

    assert set(read(path).examples.texts()) == {text}


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_numbers_are_looked_for_in_every_file(ending: str, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for name, title in (("a", "1"), ("b", "words")):
        rows = [{"title": title, "abstract": "", "categories": label} for label in "xy" * 3]
        write(rows, folder / f"{name}.{ending}")

    assert len(read(folder).examples) == 12


@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["unix", "windows"])
@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["no-bom", "bom"])
@pytest.mark.parametrize(("name", "content"), [("d.csv", HEADER + GOOD), ("d.jsonl", LINES)])
def test_line_ends_and_byte_order_marks_are_no_content(end: str, mark: str, name: str, content: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes((mark + content).replace("\n", end).encode())

    loaded = read(path)

    assert loaded.examples.texts()[0].split("\n")[0] == "t0"
    assert loaded.examples.labels == ("x", "y")
    assert loaded.facts.columns == ("title", "abstract", "categories")


def test_rows_without_text_or_label_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text(HEADER + GOOD + ",,x\n  ,\t,x\nt,a\nt,a,\n,,\n")

    loaded = read(path)

    assert loaded.facts.rows == 11
    assert len(loaded.examples) == 6
    assert loaded.notes == (
        "2 rows without text were set aside",
        "2 rows without label were set aside",
        "1 row without text or label was set aside",
    )


STRANGE = [
    pytest.param("word " * 20_000, id="100000-characters"),
    pytest.param("before\x00after", id="nul"),
    pytest.param("😀👩‍👩‍👧 🏳️‍🌈", id="emoji"),
    pytest.param("שלום עולם مرحبا", id="right-to-left"),
    pytest.param('a "quoted", text', id="quotes"),
    pytest.param("two\nlines\r\nthree", id="line-ends"),
    pytest.param("\u2028 \x85 \x0b", id="separators-of-lines"),
]


@pytest.mark.parametrize("text", STRANGE)
@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet"])
def test_strange_texts_arrive_whole(text: str, ending: str, tmp_path: Path) -> None:
    rows = [{"title": f"t{n}", "abstract": f"<{text}>", "categories": label} for n in range(3) for label in "xy"]
    path = write(rows, tmp_path / f"d.{ending}")

    assert read(path).examples.texts() == [f"{row['title']}\n{row['abstract']}" for row in rows]


def write(rows: list[dict[str, str]], path: Path) -> Path:
    frame = pl.DataFrame(rows)
    if path.suffix == ".parquet":
        frame.write_parquet(path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        frame.write_csv(path, separator="," if path.suffix == ".csv" else "\t")
    return path


ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
ANY_ROW = st.fixed_dictionaries(
    {"title": ANY_TEXT, "abstract": ANY_TEXT, "categories": st.sampled_from(["x", "y", "x y", "", " "])}
)


@settings(max_examples=40)
@given(rows=st.lists(ANY_ROW, max_size=20), ending=st.sampled_from(["csv", "jsonl", "parquet"]))
def test_every_row_is_read_or_counted(rows: list[dict[str, str]], ending: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    certain = [{"title": f"t{n}", "abstract": "a", "categories": label} for n in range(3) for label in "xy"]
    path = write(certain + rows, tmp_path_factory.mktemp("any") / f"d.{ending}")

    loaded = read(path)

    usable = [row for row in certain + rows if (row["title"] + row["abstract"]).strip() and row["categories"].strip()]
    assert loaded.facts.rows == len(certain) + len(rows)
    assert labels_of(loaded) == [set(row["categories"].split()) for row in usable]
