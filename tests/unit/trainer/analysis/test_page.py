"""A dataset's file to the page on it: whole, standing alone, and showing what is in the data."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.sparse import csr_matrix

from model.manifest import Task
from trainer.analysis.excerpts import Lengths, excerpt, excerpts, measure
from trainer.analysis.findings import Findings, analyse
from trainer.analysis.page import render
from trainer.analysis.suggestions import suggest
from trainer.config.loading import load
from trainer.config.settings import Config
from trainer.data.examples import Examples

VOID = {"meta", "br"}
HOSTILE = (
    "<script>alert(1)</script>",
    '" onload="x" & co',
    "$x_1$ and $",
    "機械学習",
    "עברית",
    "🚀 with\x00NUL and\x07bell",
    "\N{RIGHT-TO-LEFT OVERRIDE}backwards",
    "{{ 7 * 7 }}",
    "a name that goes on and on, far beyond what fits beside a bar of any plot " * 3,
)


class Page(HTMLParser):
    """What a test wants to know of a page; fails where elements are not closed in the order they were opened."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.texts: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def analysed(folder: Path, texts: list[str], labels: list[Any], **settings: Any) -> tuple[Findings, Config, str]:
    """The findings on a dataset of these rows, and the page."""
    folder.mkdir(parents=True, exist_ok=True)
    pl.DataFrame({"text": texts, "labels": labels}).write_parquet(folder / "rows.parquet")
    scratch = folder / "scratch"
    scratch.mkdir()
    given = {"dataset.text_columns": ["text"], "dataset.label_columns": ["labels"]}
    config = load(None, {"dataset.uri": str(folder / "rows.parquet"), **given, **settings})
    found = analyse(config, scratch=scratch)
    return found, config, render(found, suggest(found, config), config)


def sentences(count: int) -> list[str]:
    random = np.random.default_rng(0)
    words = np.array([f"word{at}" for at in range(400)])
    return [" ".join(random.choice(words, 12)) for _ in range(count)]


def several_labels() -> tuple[list[str], list[Any]]:
    random = np.random.default_rng(1)
    names = np.array([f"label-{at}" for at in range(40)])
    weights = 1 / np.arange(2, 42)
    return sentences(300), [
        sorted(random.choice(names, random.integers(1, 4), replace=False, p=weights / weights.sum())) for _ in range(300)
    ]


def one_label() -> tuple[list[str], list[Any]]:
    return sentences(200), ["spam" if at % 3 else "ham" for at in range(200)]


def hostile() -> tuple[list[str], list[Any]]:
    return [*HOSTILE * 10, *sentences(60)], [[HOSTILE[at % 9], HOSTILE[at % 7]] for at in range(150)]


def hardly_anything() -> tuple[list[str], list[Any]]:
    return ["one", "two", "one"], ["a", "b", "b"]


def always_the_same_text() -> tuple[list[str], list[Any]]:
    return ["the very same words again"] * 60, [["a", "b"], ["b"], ["c"]] * 20


CASES = [several_labels, one_label, hostile, hardly_anything, always_the_same_text]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__.replace("_", "-"))
def test_the_page_is_whole_and_fetches_nothing(case: Any, tmp_path: Path) -> None:
    _, _, html = analysed(tmp_path, *case())
    page = Page(html)

    references = {value for name, value in page.attributes if name in ("src", "href", "xlink:href", "action", "srcset")}
    assert all(value.startswith(("#", "data:image/png;base64,")) for value in references)
    assert not {"script", "link", "iframe", "object", "embed", "base", "img"} & set(page.elements)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert "\x00" not in html
    ids = [value for name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert {value[1:] for value in references if value.startswith("#")} <= set(ids)


def test_texts_and_labels_are_shown_and_never_obeyed(tmp_path: Path) -> None:
    _, _, html = analysed(tmp_path, *hostile())
    page = Page(html)

    for shown in ("<script>alert(1)</script>", '" onload="x" & co', "機械学習", "עברית", "🚀 with NUL and bell", "{{ 7 * 7 }}"):
        assert shown in page.text
    assert "<script" not in html
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'\">" in html


@pytest.mark.parametrize("case", [several_labels, one_label], ids=["several", "one"])
def test_the_same_dataset_gives_the_same_bytes(case: Any, tmp_path: Path) -> None:
    first, second = (analysed(tmp_path / name, *case())[2] for name in ("first", "second"))

    assert first.replace("/first/", "/second/") == second


def test_rows_are_numbered_as_the_files_have_them(tmp_path: Path) -> None:
    texts = ["", *sentences(40), "tiny", *sentences(3)]
    labels = ["a", *["a", "b"] * 20, "a", "b", "b", "b"]

    found, _, html = analysed(tmp_path, texts, labels)

    assert found.examples.rows[found.near_empty].tolist() == [41]
    assert re.search(r'<td class="at">41</td><td><bdi>tiny</bdi></td>', html)


def test_equal_texts_with_other_labels_are_shown_with_both(tmp_path: Path) -> None:
    texts, labels = one_label()

    found, _, html = analysed(tmp_path, [*texts, "Great film, five stars!", "great film; FIVE stars"], [*labels, "spam", "ham"])

    conflict = found.duplicates.conflicts[0]
    assert (conflict.equal, conflict.members) == (True, (200, 201))
    assert "1 group of near-duplicates with several sets of labels" in Page(html).text


def test_rare_labels_are_seen_though_a_training_would_leave_them_out(tmp_path: Path) -> None:
    texts = sentences(62)
    labels = [*["action", "drama"] * 30, "Drama", "western"]

    found, config, _ = analysed(tmp_path, texts, labels)

    assert found.examples.labels == ("Drama", "action", "drama", "western")
    assert found.trained.labels == ("action", "drama")
    assert len(found.trained) == 60
    [renamed] = [each for each in suggest(found, config) if "dataset.aliases" in each.settings]
    assert renamed.settings["dataset.aliases"] == {"Drama": "drama"}


def test_a_dataset_of_one_usable_label_still_has_a_page(tmp_path: Path) -> None:
    found, _, html = analysed(tmp_path, sentences(20), ["often"] * 19 + ["once"])

    assert found.outcomes == ()
    assert found.judged is None
    assert "there are too few texts to fit models" in Page(html).text


def test_what_each_strategy_would_leave_is_in_the_table(tmp_path: Path) -> None:
    texts, labels = several_labels()
    found, _, html = analysed(tmp_path, texts, labels)

    assert [each.strategy for each in found.outcomes] == ["undersample", "undersample-any", "mltl", "oversample"]
    undersampled, oversampled = found.outcomes[0], found.outcomes[3]
    assert undersampled.after.texts < len(found.trained) < oversampled.after.texts
    assert undersampled.after.largest < undersampled.before.largest
    assert f"<b>{undersampled.after.texts}</b>" in html


def test_a_sample_is_called_a_sample(tmp_path: Path) -> None:
    texts, labels = one_label()
    found, _, html = analysed(tmp_path, texts, labels, **{"dataset.sample_count": 120})

    assert len(found.examples) == 120
    assert "120 in the sample" in Page(html).text


def test_words_are_counted_in_scripts_with_and_without_blanks(tmp_path: Path) -> None:
    texts = ["Two words.", "under_score it's", "機械学習 is", "สวัสดี", "don't, won't!", "", "éa naïve"]
    pl.DataFrame({"text": texts}).write_parquet(tmp_path / "texts.parquet")
    examples = Examples(tmp_path / "texts.parquet", np.arange(7), ("a",), csr_matrix(np.ones((7, 1), np.uint8)), Task.MULTI_LABEL)

    found = measure(examples)

    assert found.words.tolist() == [2, 3, 5, 6, 4, 0, 2]
    assert found.pieces.tolist() == [3, 4, 5, 6, 8, 0, 2]
    assert excerpts(examples, [3, 0, 3]) == {0: "Two words.", 3: "สวัสดี"}


def test_tokens_are_a_little_more_than_words_and_signs() -> None:
    lengths = Lengths(np.array([0, 80]), np.array([0, 100]))

    assert lengths.tokens().tolist() == [2, 117]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("one\n\n  two\tc ", "one two c", id="blanks"),
        pytest.param("a\x00b\x1bc", "a b c", id="control-characters"),
        pytest.param("abcdefghijklmno", "abcdefghi…", id="long"),
        pytest.param("abcdefghij", "abcdefghij", id="just-fits"),
        pytest.param("👩‍🚀 flag", "👩‍🚀 flag", id="joined-emoji"),
        pytest.param("a" + " " * 100 + "b", "a…", id="blanks-that-hide-the-rest"),
    ],
)
def test_an_excerpt_is_one_short_line(text: str, expected: str) -> None:
    assert excerpt(text, 10) == expected
