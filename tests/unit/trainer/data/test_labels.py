"""What a label is: separators, lists, columns of marks, aliases, what is rare."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from model.manifest import Task
from tests.support.reading import labels_of, read
from trainer.config.settings import DatasetConfig
from trainer.data.labels.columns import read_labels
from trainer.data.reading import DatasetRejected, read_examples, read_test_examples

SHOPS = ["Home Furnishing", "Home Decor", "Kitchen & Dining", "Toys, Games", "Home"]
SUBJECTS = ["cs.LG", "stat.ML", "cs.LG stat.ML", "math.ST", "math.ST stat.ML"]


def write(folder: Path, labels: Sequence[object], **columns: Sequence[object]) -> Path:
    path = folder / "rows.parquet"
    texts = [f"text number {index}" for index in range(len(labels))]
    pl.DataFrame({"title": texts, "abstract": [""] * len(labels), "categories": labels} | columns, strict=False).write_parquet(
        path
    )
    return path


@pytest.mark.parametrize(
    ("strings", "found"),
    [
        pytest.param(SUBJECTS, {"cs.LG", "stat.ML", "math.ST"}, id="blanks-between-known-labels"),
        pytest.param(SHOPS, set(SHOPS), id="blanks-within-names"),
        pytest.param(["a;b", "a", "b", "b; c", "c"], {"a", "b", "c"}, id="semicolons"),
        pytest.param(["a|b", "b|c", "a|c", "a|b|c", "c|b", "b|a", "c|a"], {"a", "b", "c"}, id="bars-never-alone"),
        pytest.param(["Clothing, Shoes & Jewelry", "Toys, Games", "Food"], None, id="commas-within-names"),
        pytest.param(["a, b", "a", "b"], {"a", "b"}, id="commas-between"),
        pytest.param(["red|blue", "green", "red", "blue|green"], {"red", "blue", "green"}, id="bars-in-four-rows"),
        pytest.param(["Home|Kitchen", "Home|Garden", "Toys|Puzzles"], None, id="bars-of-a-path"),
        pytest.param(["New York", "New Jersey", "Las Vegas", "Los Angeles"], None, id="cities"),
        pytest.param(["first class", "second class"], None, id="classes"),
    ],
)
def test_a_separator_is_found_only_where_it_separates(strings: list[str], found: set[str] | None, tmp_path: Path) -> None:
    loaded = read(write(tmp_path, strings * 3), label_separator="auto")

    assert set(loaded.examples.labels) == (found or set(strings))
    assert any("joined by" in note for note in loaded.notes) == (found is not None and found != set(strings))


AISLES = """Home Furnishing, Home Decor & Festive Needs, Home Improvement, Baby Care, Beauty and Personal Care, Health Care,
Appliances, Kitchen & Dining, Pens & Stationery, Sports & Fitness, Toys & School Supplies, Tools & Hardware, Pet Supplies, Mobiles
& Accessories, Cameras & Accessories, Bags Wallets & Belts, Sunglasses, Watches, Footwear, Jewellery, Clothing, Computers"""
NAMES = [" ".join(each.split()) for each in AISLES.split(",")]


def papers(count: int, seed: int) -> pl.Series:
    """Subjects of papers as archives join them: 149 in all, 1.9 a paper, most often with their neighbours, many never alone."""
    random = np.random.default_rng(seed)
    strings = []
    for _ in range(count):
        first = random.integers(149)
        others = (first + random.integers(-6, 7, size=random.choice(4, p=[0.45, 0.3, 0.17, 0.08]))) % 149
        strings.append(" ".join(f"s{each // 12}.{each}" for each in dict.fromkeys([first, *others])))
    return pl.Series(strings)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [400, 1_000, 2_500, 15_000])
def test_blanks_are_found_between_the_subjects_of_papers(count: int, seed: int) -> None:
    found = read_labels(papers(count, seed), listed=False, separator="auto", aliases={})

    assert found.several
    assert not any(" " in name for name in found.names)
    assert any("joined by ' '" in note for note in found.notes)


@pytest.mark.parametrize("count", [100, 1_000, 9_000])
def test_blanks_in_the_names_of_aisles_separate_nothing(count: int) -> None:
    names = np.random.default_rng(0).choice(NAMES, count)

    found = read_labels(pl.Series(names), listed=False, separator="auto", aliases={})

    assert set(found.names) == set(names)
    assert found.notes == ()


FEW = ["astro-ph.CO astro-ph.HE", "astro-ph.CO gr-qc", "gr-qc", "hep-th math-ph", "math-ph math.MP", "cs.LG stat.ML"]


def test_cells_that_may_be_several_labels_and_were_read_as_one_are_reported() -> None:
    found = read_labels(pl.Series(FEW * 3), listed=False, separator="auto", aliases={})

    [note] = found.notes
    assert note == (
        "5 of 6 distinct strings contain ' ', such as 'cs.LG stat.ML'; "
        "each was taken as one label: if they are several, set dataset.label_separator"
    )


def test_cells_that_may_be_several_labels_are_reported_if_no_label_is_left(tmp_path: Path) -> None:
    with pytest.raises(DatasetRejected, match=r"nothing to tell apart.*5 of 6 distinct strings contain ' '"):
        read(write(tmp_path, FEW), label_separator="auto")


def test_rows_of_one_label_each_are_single_label(tmp_path: Path) -> None:
    assert read(write(tmp_path, SHOPS * 3), label_separator="auto").examples.task is Task.SINGLE_LABEL


@pytest.mark.parametrize(
    "values",
    [
        pytest.param([[" a ", None, "b", "a", ""], ["b"], ["a"], None], id="lists"),
        pytest.param(['["a", null, " b", "a"]', '["b"]', '["a"]', ""], id="json-in-strings"),
        pytest.param(["['a', 'b']", "['b']", "['a']", ""], id="python-lists-in-strings"),
        pytest.param([" a  b a ", " b", "a\r", "  "], id="separated"),
    ],
)
def test_blanks_nulls_and_repetitions_are_no_labels(values: list[object], tmp_path: Path) -> None:
    loaded = read(write(tmp_path, values * 3))

    assert labels_of(loaded) == [{"a", "b"}, {"b"}, {"a"}] * 3
    assert loaded.examples.targets.data.tolist() == [1] * 12
    assert loaded.examples.task is Task.MULTI_LABEL
    assert loaded.notes == ("3 rows without label were set aside",)


@pytest.mark.parametrize(
    ("toxic", "rude"),
    [
        pytest.param([1, 0, 1], [0, 0, 1], id="integers"),
        pytest.param([1.0, None, 1.0], [0.0, 0.0, 1.0], id="floats-with-gaps"),
        pytest.param([True, False, True], [False, False, True], id="booleans"),
        pytest.param(["1", "0", "True"], ["false", "", " 1"], id="strings"),
        pytest.param(["1.0", "", "1.0"], ["0.0", "0.0", " 1.0"], id="strings-of-floats-with-gaps"),
    ],
)
def test_several_columns_are_marks(toxic: list[object], rude: list[object], tmp_path: Path) -> None:
    path = write(tmp_path, [None] * 9, toxic=toxic * 3, rude=rude * 3)

    loaded = read(path, label_columns=("toxic", "rude"), label_required=True)

    assert labels_of(loaded) == [{"toxic"}, {"toxic", "rude"}] * 3
    assert loaded.examples.task is Task.MULTI_LABEL


def test_empty_cells_among_marks_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("title,abstract,toxic,rude\n" + "t,a,1.0,\nu,a,,1.0\nv,a,0.0,1\n" * 3)

    loaded = read(path, label_columns=("toxic", "rude"))

    assert labels_of(loaded) == [{"toxic"}, {"rude"}, {"rude"}] * 3
    assert loaded.notes == ("read as 0: 6 empty cells of the label columns",)


def test_a_mark_that_is_none_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, [None] * 3, toxic=[1, 0, 2], rude=[1, 1, 0])

    with pytest.raises(DatasetRejected, match="label column 'toxic' holds '2': several label columns hold 0 or 1 each"):
        read(path, label_columns=("toxic", "rude"))


def test_numbers_are_labels_and_whole_ones_have_no_point(tmp_path: Path) -> None:
    assert read(write(tmp_path, [1.0, 2.0, None] * 3)).examples.labels == ("1", "2")


def test_aliases_merge_labels_even_in_chains(tmp_path: Path) -> None:
    path = write(tmp_path, ["old", "older", "new", "other"] * 2)

    loaded = read(path, aliases={"older": "old", "old": "new"}, minimum_examples=2)

    assert loaded.examples.labels == ("new", "other")
    assert loaded.examples.label_counts().tolist() == [6, 2]


def test_an_alias_of_no_label_is_reported(tmp_path: Path) -> None:
    loaded = read(write(tmp_path, ["a", "b"] * 3), aliases={"a": "c", "gone": "b"})

    assert loaded.notes == ("dataset.aliases: no row carries 'gone'",)


def test_rare_labels_are_set_aside_and_named(tmp_path: Path) -> None:
    path = write(tmp_path, ["a", "b"] * 3 + ["a rare", "odd", "odd"])

    loaded = read(path)

    assert loaded.examples.labels == ("a", "b")
    assert len(loaded.examples) == 7
    assert "2 labels with fewer than 3 examples were set aside: odd (2), rare (1)" in loaded.notes
    assert "2 rows that had no other label were set aside too" in loaded.notes


def test_at_most_twenty_names_are_reported(tmp_path: Path) -> None:
    path = write(tmp_path, ["a", "b"] * 3 + [f"rare-{index:02}" for index in range(25)])

    [note] = [note for note in read(path).notes if "fewer than" in note]

    assert note.count("rare-") == 20
    assert note.endswith("and 5 more")


@pytest.mark.parametrize("name", ["arxiv-metadata-oai-snapshot.json", "rows.jsonl"])
def test_arxivs_snapshot_brings_its_separator_and_its_renamed_categories(name: str, tmp_path: Path) -> None:
    rows = [
        {"id": str(n), "title": "T", "abstract": f"A {n}", "categories": c, "versions": [{"v": 1}]}
        for n in range(3)
        for c in ("cmp-lg cs.SY", "math.MP")
    ]
    path = tmp_path / name
    path.write_text("\n".join(map(json.dumps, rows)))

    labels = read(path, label_separator="auto" if name.startswith("arxiv") else " ").examples.labels

    assert labels == (("cs.CL", "eess.SY", "math-ph") if name.startswith("arxiv") else ("cmp-lg", "cs.SY", "math.MP"))


def test_what_was_renamed_for_training_is_renamed_for_the_test(tmp_path: Path) -> None:
    rows = [{"title": f"T {n}", "abstract": "", "categories": name} for n in range(3) for name in ("cs.CL", "cs.SY")]
    (tmp_path / "arxiv-metadata-oai-snapshot.json").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "test.jsonl").write_text(json.dumps({"title": "T", "abstract": "", "categories": "cmp-lg"}))
    config = DatasetConfig(uri=str(tmp_path / "arxiv-metadata-oai-snapshot.json"), test_uri=str(tmp_path / "test.jsonl"))

    train = read_examples(config, scratch=tmp_path, seed=0)
    test = read_test_examples(config, like=train.examples, scratch=tmp_path)

    assert labels_of(test) == [{"cs.CL"}]


@pytest.mark.parametrize(
    ("labels", "note"),
    [
        pytest.param(
            ["caf\u00e9", "cafe\u0301", "caf\u00e9", "tea"],
            "labels that differ only in case, blanks, punctuation or Unicode form: 'cafe\\u0301' (3) and 'caf\u00e9' (6); "
            "dataset.aliases can merge them",
            id="unicode-form",
        ),
        pytest.param(
            ["Tea", "tea", "tea", "coffee"],
            "labels that differ only in case, blanks, punctuation or Unicode form: 'Tea' (3) and 'tea' (6); "
            "dataset.aliases can merge them",
            id="case",
        ),
        pytest.param(
            ["nan", "tea", "coffee"],
            "read as a label: 'nan' (3); if it means a missing label, set dataset.aliases to {nan: ''}",
            id="nan",
        ),
    ],
)
def test_suspicious_label_names_are_reported(labels: list[str], note: str, tmp_path: Path) -> None:
    assert read(write(tmp_path, labels * 3), label_separator="").notes == (note,)


def test_a_name_that_means_a_missing_label_can_be_renamed_to_none(tmp_path: Path) -> None:
    loaded = read(write(tmp_path, ["nan", "tea", "coffee"] * 3), label_separator="", aliases={"nan": ""})

    assert loaded.examples.labels == ("coffee", "tea")
    assert loaded.notes == ("3 rows without label were set aside",)
