"""The commands that balance a file, as a user types them."""

from __future__ import annotations

import bz2
import gzip
import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import click
import numpy as np
import polars as pl
import pytest
from backports import zstd
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from model.storage import open_store
from trainer.commands.balance import mltl, oversample, undersample
from trainer.data.download import SourceFile
from trainer.data.formats import ENDINGS, Format, scan
from trainer.data.writing import copy_rows, target_at
from trainer.errors import DatasetRejected

ROWS = [
    {
        "id": f"{index:04}.00001",
        "title": f'A "quoted" title, number {index}',
        "abstract": f"On the subject of words{index} and their\nlines {index % 7}",
        "categories": labels,
        "authors": [["Noether", "Emmy", index], []],
        "score": index if index % 2 else index + 0.5,
    }
    for index, labels in enumerate(["cs.AI"] * 60 + ["cs.AI cs.LG"] * 25 + ["cs.LG"] * 5 + ["math.AG"] * 6 + ["q-bio.NC"] * 4)
]


def as_lines(rows: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def run(command: click.Command, *arguments: str | Path, expect: int = 0) -> Result:
    result = CliRunner().invoke(command, [*map(str, arguments)])
    assert result.exit_code == expect, result.output
    return result


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(as_lines(ROWS))
    return file


def read_lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_bytes().splitlines()]


def counts_of(rows: list[dict[str, Any]]) -> Counter[str]:
    return Counter(label for row in rows for label in row["categories"].split())


def test_undersampling_leaves_lines_as_they_are_in_their_order(lines: Path, tmp_path: Path) -> None:
    result = run(undersample, lines, tmp_path / "new" / "out.jsonl")

    written = (tmp_path / "new" / "out.jsonl").read_bytes().splitlines(keepends=True)
    places = {line: place for place, line in enumerate(lines.read_bytes().splitlines(keepends=True))}
    assert 0 < len(written) < len(places)
    assert [places[line] for line in written] == sorted(places[line] for line in written)
    assert result.stdout == f"{(tmp_path / 'new' / 'out.jsonl').as_uri()}\n"


def test_the_imbalance_before_and_after_is_printed(lines: Path, tmp_path: Path) -> None:
    printed = run(undersample, lines, tmp_path / "out.jsonl", "--threshold", "6").stderr.splitlines()

    table = {line[:16].strip(): line[16:].split() for line in printed if line[:16].strip()}
    assert table["rows"][0] == "100"
    assert table["largest label"][0] == "85"
    assert table["MeanIR"][0] == f"{(1 + 85 / 30 + 85 / 6 + 85 / 4) / 4:.2f}"
    assert float(table["MeanIR"][1]) < float(table["MeanIR"][0])


def test_a_threshold_is_what_counts_come_down_to(lines: Path, tmp_path: Path) -> None:
    run(undersample, lines, tmp_path / "out.jsonl", "--threshold", "10")

    counts = counts_of(read_lines(tmp_path / "out.jsonl"))
    assert 9 <= counts["cs.AI"] <= 12
    assert 9 <= counts["cs.LG"] <= 12
    assert (counts["math.AG"], counts["q-bio.NC"]) == (6, 4)


def test_the_simple_rule_is_there_under_its_name(lines: Path, tmp_path: Path) -> None:
    run(undersample, lines, tmp_path / "joint.jsonl", "--threshold", "20")
    run(undersample, lines, tmp_path / "any.jsonl", "--threshold", "20", "--rule", "any")

    joint, simple = (counts_of(read_lines(tmp_path / name)) for name in ("joint.jsonl", "any.jsonl"))
    assert joint["cs.AI"] < simple["cs.AI"]


def test_a_seed_decides_which_rows_stay(lines: Path, tmp_path: Path) -> None:
    for name, seed in (("one", 1), ("same", 1), ("other", 2)):
        run(undersample, lines, tmp_path / f"{name}.jsonl", "--seed", str(seed), "--threshold", "10")

    contents = [(tmp_path / f"{name}.jsonl").read_bytes() for name in ("one", "same", "other")]
    assert contents[0] == contents[1] != contents[2]


def test_renamed_labels_count_by_their_new_name_and_stay_as_they_were_written(tmp_path: Path) -> None:
    """Counted by name and looked up by the old one, `cmp-lg` is a KeyError elsewhere."""
    rows = [{"categories": "cs.CL"}] * 30 + [{"categories": "cmp-lg"}] * 30 + [{"categories": "cs.IR"}] * 20
    file = tmp_path / "rows.jsonl"
    file.write_bytes(as_lines(rows))

    aliases = "dataset.aliases={cmp-lg: cs.CL}"
    run(undersample, file, tmp_path / "out.jsonl", "--threshold", "20", "--set", aliases)

    counts = counts_of(read_lines(tmp_path / "out.jsonl"))
    assert counts["cs.IR"] == 20
    assert counts["cs.CL"] + counts["cmp-lg"] == 20
    assert counts["cmp-lg"] > 0


def test_the_arxiv_snapshot_needs_no_aliases(tmp_path: Path) -> None:
    file = tmp_path / "arxiv-metadata-oai-snapshot.json"
    file.write_bytes(as_lines([{"categories": each} for each in ["cs.CL"] * 30 + ["cmp-lg"] * 30 + ["cs.IR"] * 20]))

    printed = run(undersample, file, tmp_path / "out.jsonl", "--threshold", "20").stderr

    assert "largest label             60          20" in printed


def test_oversampling_repeats_rows_of_rare_labels_beside_the_row(lines: Path, tmp_path: Path) -> None:
    run(oversample, lines, tmp_path / "out.jsonl", "--share", "0.1")

    places = {line: place for place, line in enumerate(lines.read_bytes().splitlines())}
    written = [places[line] for line in (tmp_path / "out.jsonl").read_bytes().splitlines()]
    assert written == sorted(written)
    assert set(written) == set(range(100))
    assert 100 < len(written) <= 110
    repeated = [place for place, often in Counter(written).items() if often > 1]
    assert min(repeated) >= 90


def test_mltl_drops_a_frequent_row_whose_nearest_text_is_of_another_label(tmp_path: Path) -> None:
    pairs = [f"alpha{i} beta{i} gamma{i} delta{i}" for i in range(40)]
    rows = [{"text": text, "label": "common"} for text in pairs for _ in range(2)]
    rows += [{"text": "quick brown foxes jump", "label": "common"}, {"text": "quick brown foxes leap", "label": "rare"}]
    file = tmp_path / "rows.csv"
    pl.DataFrame(rows).write_csv(file)

    run(mltl, file, tmp_path / "out.csv", "--text-columns", "text", "--label-column", "label")

    assert pl.read_csv(tmp_path / "out.csv").rows() == [tuple(row.values()) for row in rows[:80] + rows[81:]]


SOURCES = ("jsonl", "jsonl.gz", "jsonl.zst", "jsonl.bz2", "csv", "tsv", "parquet")
TARGETS = ("jsonl", "jsonl.gz", "jsonl.zst", "csv", "csv.gz", "tsv", "tsv.zst", "parquet")
PAIRS = [(source, target) for source in SOURCES for target in TARGETS if source in ("jsonl", "parquet") or target == "csv"]


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_every_format_becomes_every_other(tmp_path: Path, source: str, target: str) -> None:
    columns = ("id", "title", "abstract", "categories", "score")
    file, out = tmp_path / f"rows.{source}", tmp_path / f"out.{target}"
    write(file, [{name: row[name] for name in columns} for row in ROWS])

    run(undersample, file, out, "--threshold", "10", "--label-column", "categories")

    expected = {row["id"]: row for row in ROWS}
    written = read(out)
    assert 0 < len(written) < 100
    for row in written:
        assert {name: row[name] for name in columns[:4]} == {name: expected[row["id"]][name] for name in columns[:4]}
        assert float(row["score"]) == expected[row["id"]]["score"]


def write(file: Path, rows: list[dict[str, Any]]) -> None:
    kind, _, packed = file.name.partition(".")[2].partition(".")
    if kind == "jsonl":
        pack = {"": bytes, "gz": gzip.compress, "zst": zstd.compress, "bz2": bz2.compress}[packed]
        file.write_bytes(pack(as_lines(rows)))
    elif kind == "parquet":
        pl.DataFrame(rows, infer_schema_length=None).write_parquet(file)
    else:
        pl.DataFrame(rows, infer_schema_length=None).write_csv(file, separator="\t" if kind == "tsv" else ",")


def read(file: Path) -> list[dict[str, Any]]:
    kind, _, packed = file.name.partition(".")[2].partition(".")
    content = file.read_bytes()
    if packed:
        content = gzip.decompress(content) if packed == "gz" else zstd.decompress(content)
    if kind == "jsonl":
        return [json.loads(line) for line in content.splitlines()]
    if kind == "parquet":
        return pl.read_parquet(io.BytesIO(content)).to_dicts()
    return pl.read_csv(content, separator="\t" if kind == "tsv" else ",", infer_schema=False).to_dicts()


def test_lists_stay_lists_in_parquet_and_become_json_in_csv(tmp_path: Path) -> None:
    frame = pl.DataFrame({"label": [["a"], ["a", "b"], ["a"]] * 10, "nested": [[{"x": 1}], [], None] * 10})
    frame.write_parquet(tmp_path / "rows.parquet")

    for ending in ("parquet", "csv", "jsonl"):
        run(oversample, tmp_path / "rows.parquet", tmp_path / f"out.{ending}", "--label-column", "label", "--share", "1")

    parquet = pl.read_parquet(tmp_path / "out.parquet")
    assert parquet.schema == frame.schema
    assert read_lines(tmp_path / "out.jsonl") == parquet.to_dicts()
    first = pl.read_csv(tmp_path / "out.csv", infer_schema=False).row(0)
    assert first == ('["a"]', '[{"x": 1}]')


def test_types_that_differ_between_lines_are_brought_together(tmp_path: Path) -> None:
    rows = [{"label": "a", "n": 1}] * 20 + [{"label": "b", "n": 1.5}] * 3 + [{"label": "b", "n": None, "late": True}] * 2
    (tmp_path / "rows.jsonl").write_bytes(as_lines(rows))

    run(undersample, tmp_path / "rows.jsonl", tmp_path / "out.parquet", "--label-column", "label", "--threshold", "20")

    written = pl.read_parquet(tmp_path / "out.parquet")
    assert written["n"].to_list() == [1.0] * 20 + [1.5] * 3 + [None] * 2
    assert written["late"].to_list() == [None] * 23 + [True] * 2


def test_a_folder_of_files_becomes_one_file(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    pl.DataFrame({"label": ["a"] * 20, "one": ["x"] * 20}).write_csv(tmp_path / "parts" / "1.csv")
    pl.DataFrame({"label": ["b"] * 5, "two": ["y"] * 5}).write_csv(tmp_path / "parts" / "2.csv")

    run(undersample, tmp_path / "parts", tmp_path / "out.csv", "--label-column", "label", "--threshold", "5")

    assert pl.read_csv(tmp_path / "out.csv").rows() == [("a", "x", None)] * 5 + [("b", None, "y")] * 5


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_files_that_are_no_data_are_left_out_as_in_training(tmp_path: Path, ending: str) -> None:
    (tmp_path / "parts").mkdir()
    write(tmp_path / "parts" / f"rows.{ending}", [{"label": "a"}] * 20 + [{"label": "b"}] * 5)
    (tmp_path / "parts" / "README.md").write_text("# Not a row\n")
    (tmp_path / "parts" / f"a.{ending}").write_bytes(b"")

    run(undersample, tmp_path / "parts", tmp_path / "out.jsonl", "--label-column", "label", "--threshold", "5")

    assert read_lines(tmp_path / "out.jsonl") == [{"label": "a"}] * 5 + [{"label": "b"}] * 5


def test_blank_lines_and_windows_line_ends_do_not_shift_rows(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b"\xef\xbb\xbf" + b"\r\n \n".join(line for line in as_lines(ROWS).splitlines()))

    run(undersample, file, tmp_path / "out.jsonl", "--threshold", "10")

    assert counts_of(read_lines(tmp_path / "out.jsonl"))["q-bio.NC"] == 4
    assert all(row in ROWS for row in read_lines(tmp_path / "out.jsonl"))


def test_several_columns_of_marks_are_labels(tmp_path: Path) -> None:
    marks = pl.DataFrame({"a": [1] * 40 + [0] * 5, "b": [0] * 40 + [1] * 5, "text": ["some words"] * 45})
    marks.write_parquet(tmp_path / "rows.parquet")

    run(undersample, tmp_path / "rows.parquet", tmp_path / "out.parquet", "--label-column", "a,b", "--threshold", "5")

    written = pl.read_parquet(tmp_path / "out.parquet")
    assert written.schema == marks.schema
    assert (written["a"].sum(), written["b"].sum()) == (5, 5)


def test_rows_without_a_label_are_copied(tmp_path: Path) -> None:
    labels = ["a"] * 30 + [None, ""] + ["b"] * 3
    rows = [{"categories": each} for each in labels]
    (tmp_path / "rows.jsonl").write_bytes(as_lines(rows))

    run(undersample, tmp_path / "rows.jsonl", tmp_path / "out.jsonl", "--threshold", "3")

    assert [row["categories"] for row in read_lines(tmp_path / "out.jsonl")] == ["a"] * 3 + [None, ""] + ["b"] * 3


@pytest.mark.parametrize("command", [undersample, oversample, mltl], ids=["undersample", "oversample", "mltl"])
def test_rows_that_carry_no_label_are_balanced_like_those_of_a_label(command: click.Command, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    words = [" ".join(f"word{at}" for at in random.choice(40, size=12)) for _ in range(206)]
    labels = [[]] * 150 + [["a"]] * 30 + [["b"]] * 6 + [None] * 20
    rows = [{"title": text, "abstract": "", "categories": each} for text, each in zip(words, labels, strict=True)]
    (tmp_path / "rows.jsonl").write_bytes(as_lines(rows))

    result = run(command, tmp_path / "rows.jsonl", tmp_path / "out.jsonl")

    found = [row["categories"] for row in read_lines(tmp_path / "out.jsonl")]
    assert found.count(None) == 20
    assert found.count(["b"]) >= 6
    expected = {undersample: range(1, 40), oversample: range(150, 151), mltl: range(1, 151)}
    assert found.count([]) in expected[command]
    assert found.count(["a"]) >= {undersample: 16, oversample: 30, mltl: 1}[command]
    assert "without a label" in result.stderr


def test_a_dataset_that_requires_labels_keeps_the_rows_without_one(tmp_path: Path) -> None:
    rows = [{"categories": each} for each in [[]] * 90 + [["a"]] * 30 + [["b"]] * 3]
    (tmp_path / "rows.jsonl").write_bytes(as_lines(rows))

    run(undersample, tmp_path / "rows.jsonl", tmp_path / "out.jsonl", "--threshold", "3", "--set", "dataset.label_required=true")

    found = [row["categories"] for row in read_lines(tmp_path / "out.jsonl")]
    assert (found.count([]), found.count(["a"]), found.count(["b"])) == (90, 3, 3)


def test_both_ends_may_be_in_s3(lines: Path, tmp_path: Path, s3_bucket: str) -> None:
    open_store(s3_bucket).upload(lines, "in/rows.jsonl")

    result = run(undersample, f"{s3_bucket}in/rows.jsonl", f"{s3_bucket}out/rows.jsonl", "--threshold", "10")
    run(undersample, lines, tmp_path / "out.jsonl", "--threshold", "10")

    assert result.stdout == f"{s3_bucket}out/rows.jsonl\n"
    assert open_store(s3_bucket).read("out/rows.jsonl") == (tmp_path / "out.jsonl").read_bytes()


@pytest.mark.parametrize("name", ["out", "out.txt", "out.jsonl.bz2", "out.parquet.gz", "out.xml.gz"])
def test_a_name_that_says_no_format_is_refused_before_anything_is_read(lines: Path, tmp_path: Path, name: str) -> None:
    result = run(undersample, lines, tmp_path / name, expect=64)

    assert f"OUT is '{tmp_path / name}': expected a name in .jsonl, .csv, .tsv or .parquet" in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows.jsonl"]


def test_a_folder_is_no_file_to_write(lines: Path, tmp_path: Path) -> None:
    (tmp_path / "out.jsonl").mkdir()

    assert "expected a file, found a folder" in run(undersample, lines, tmp_path / "out.jsonl", expect=64).stderr


@pytest.mark.parametrize("way", ["same", "link", "uri", "folder"])
def test_in_is_never_overwritten(lines: Path, tmp_path: Path, way: str) -> None:
    content = lines.read_bytes()
    (tmp_path / "link.jsonl").hardlink_to(lines)
    source = tmp_path if way == "folder" else lines
    target = {"link": str(tmp_path / "link.jsonl"), "uri": lines.as_uri()}.get(way, str(lines))

    result = run(undersample, source, target, expect=64)

    assert "which is read as IN: expected another file" in result.stderr
    assert lines.read_bytes() == content


def test_a_missing_column_is_reported_with_the_existing_ones(lines: Path, tmp_path: Path) -> None:
    result = run(undersample, lines, tmp_path / "out.jsonl", "--label-column", "topic", expect=65)

    assert "has no column 'topic'; found 'id', 'title', 'abstract', 'categories', 'authors', 'score'" in result.stderr
    assert not (tmp_path / "out.jsonl").exists()


def test_a_dataset_without_any_label_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(as_lines([{"categories": None, "id": 1}] * 3))

    result = run(undersample, tmp_path / "rows.jsonl", tmp_path / "out.jsonl", expect=65)

    assert "no row has a label; found columns: 'categories', 'id'" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("--threshold", "0"), id="threshold"),
        pytest.param(("--rule", "all"), id="rule"),
        pytest.param(("--set", "dataset.aliases=7"), id="setting"),
    ],
)
def test_wrong_settings_end_with_64(lines: Path, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    run(undersample, lines, tmp_path / "out.jsonl", *arguments, expect=64)


def test_what_was_written_before_stays_if_the_dataset_changes_meanwhile(lines: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    out.write_text("as it was")
    scans = [scan(SourceFile("rows.jsonl", lines), Format.JSON_LINES, (), scratch=tmp_path)]
    for rows in (99, 101):
        with pytest.raises(DatasetRejected, match="its number of rows has changed meanwhile"):
            copy_rows(scans, np.ones(rows, np.int64), target_at(str(out), setting="OUT"), scratch=tmp_path)

    assert out.read_text() == "as it was"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.jsonl", "rows.jsonl"]


@settings(max_examples=25)
@given(
    times=st.lists(st.integers(0, 3), min_size=1, max_size=60),
    ending=st.sampled_from(["jsonl", "csv", "parquet"]),
    other=st.sampled_from(["jsonl", "csv", "parquet"]),
)
def test_each_row_is_written_as_often_as_asked(
    tmp_path_factory: pytest.TempPathFactory, times: list[int], ending: str, other: str
) -> None:
    folder = tmp_path_factory.mktemp("copy")
    write(folder / f"rows.{ending}", [{"n": f"row {index}"} for index in range(len(times))])
    file = SourceFile(f"rows.{ending}", folder / f"rows.{ending}")
    scans = [scan(file, ENDINGS[f".{ending}"], ("n",), scratch=folder)]

    copy_rows(scans, np.array(times), target_at(str(folder / f"out.{other}"), setting="OUT"), scratch=folder)

    expected = [f"row {index}" for index, often in enumerate(times) for _ in range(often)]
    if other == "jsonl" or expected:
        assert [row["n"] for row in read(folder / f"out.{other}")] == expected
