from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from model.corrections import (
    Correction,
    CorrectionsRejected,
    Source,
    corrections_file,
    in_force,
    latest,
    read_corrections_file,
    text_key,
)
from tests.support.corrections import BEGINNING, correction

UNICODE = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
LABEL_NAMES = UNICODE.filter(lambda name: bool(name.strip()))
# Few texts, ids and times, so that rows repeat, withdraw and overtake each other.
ROWS = st.builds(
    correction,
    st.sampled_from(["one", " one\n", "two", "three"]),
    st.sampled_from(["a", "b", "c"]),
    at=st.integers(0, 4),
    id=st.sampled_from(["x1", "x2", "x3"]),
    withdrawn=st.booleans(),
)
ANY_ROWS = st.builds(
    Correction,
    id=st.from_regex(r"[A-Za-z0-9][-A-Za-z0-9_]{0,20}", fullmatch=True),
    prediction_id=st.none() | UNICODE,
    text=UNICODE,
    predicted=st.none() | st.lists(LABEL_NAMES, max_size=3).map(tuple),
    scores=st.dictionaries(LABEL_NAMES, st.floats(0, 1), max_size=3),
    thresholds=st.dictionaries(LABEL_NAMES, st.floats(0, 1), max_size=3),
    version=st.none() | st.just("papers-1"),
    labels=st.lists(LABEL_NAMES, max_size=3).map(tuple),
    comment=st.none() | UNICODE,
    author=UNICODE.filter(bool),
    time=st.datetimes(
        min_value=datetime(2000, 1, 1),
        max_value=datetime(2100, 1, 1),
        timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))]),
    ),
    source=st.sampled_from(list(Source)),
    inclusion_probability=st.floats(0.01, 1),
    predictions_shown=st.booleans(),
    withdrawn=st.booleans(),
)


@given(st.lists(ANY_ROWS, min_size=1, max_size=8))
def test_what_is_written_is_read_again_without_duplicates_and_sorted_by_id(rows: list[Correction]) -> None:
    key, content = corrections_file("papers", rows)
    read = read_corrections_file(key, content)
    assert [each.id for each in read] == sorted(each.id for each in {row.line(): row for row in rows}.values())
    assert set_of(read) == set_of(rows)


@given(st.lists(ANY_ROWS, min_size=1, max_size=8).flatmap(lambda rows: st.tuples(st.just(rows), st.permutations(rows))))
def test_the_same_rows_in_any_order_have_the_same_key_and_bytes(pair: tuple[list[Correction], Sequence[Correction]]) -> None:
    rows, shuffled = pair
    assert corrections_file("papers", rows) == corrections_file("papers", [*shuffled, *rows])


def test_a_key_has_the_day_and_id_of_the_first_row_and_the_hash_of_the_lines() -> None:
    first = correction("text", "a", id="0001", time=datetime(2026, 3, 9, 1, tzinfo=timezone(timedelta(hours=2))))
    key, content = corrections_file("papers", [correction("other", "b", id="0002"), first])
    lines = gzip.decompress(content)
    assert key == f"feedback/papers/2026/03/08/0001-{hashlib.sha256(lines).hexdigest()[:16]}.jsonl.gz"
    assert [json.loads(line)["id"] for line in lines.splitlines()] == ["0001", "0002"]
    assert json.loads(lines.splitlines()[0])["time"] == "2026-03-08T23:00:00Z"
    assert content[4:8] == bytes(4)  # no time in the header


def test_a_file_without_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a correction"):
        corrections_file("papers", [])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"id": "../x"}, "id", id="an-id-that-is-a-path"),
        pytest.param({"labels": ("a", " ")}, "expected names of labels, found an empty one", id="a-label-without-a-name"),
        pytest.param({"text": "\ud800"}, "expected Unicode", id="half-a-character"),
        pytest.param({"time": datetime(2026, 1, 1)}, "timezone", id="a-time-without-a-zone"),
        pytest.param({"source": "audit"}, "inclusion_probability is missing", id="an-audit-that-was-not-drawn"),
        pytest.param({"inclusion_probability": 0}, "inclusion_probability", id="drawn-with-probability-0"),
        pytest.param({"scores": {"a": 1.5}}, "scores", id="a-score-above-1"),
        pytest.param({"mood": "good"}, "mood", id="an-unknown-field"),
        pytest.param({"schema_version": 2}, "schema_version", id="a-later-schema"),
    ],
)
def test_a_wrong_row_is_refused(changes: dict[str, Any], message: str) -> None:
    right = correction("text", "a").model_dump()
    with pytest.raises(ValidationError, match=message):
        Correction.model_validate(right | changes)


@given(st.lists(ANY_ROWS, min_size=1, max_size=4), st.data())
def test_a_cut_or_changed_file_is_refused_with_its_key(rows: list[Correction], data: st.DataObject) -> None:
    key, content = corrections_file("papers", rows)
    if data.draw(st.booleans(), label="cut"):
        harmed = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        harmed = bytearray(content)
        harmed[data.draw(st.integers(10, len(content) - 1))] ^= data.draw(st.integers(1, 255))  # after the header
    with pytest.raises(CorrectionsRejected) as refused:
        read_corrections_file(key, bytes(harmed))
    assert str(refused.value).startswith(f"{key}: ")


def file_of(*lines: bytes) -> tuple[str, bytes]:
    content = b"".join(line + b"\n" for line in lines)
    return f"x-{hashlib.sha256(content).hexdigest()[:16]}.jsonl.gz", gzip.compress(content)


RIGHT = correction("text", "a").line()


@pytest.mark.parametrize(
    ("file", "message"),
    [
        pytest.param(("x.jsonl.gz", b""), "expected a name such as ID-0000000000000000.jsonl.gz", id="no-hash-in-the-name"),
        pytest.param((file_of(RIGHT)[0], b""), "holds no bytes", id="empty"),
        pytest.param((file_of(RIGHT)[0], file_of(RIGHT)[1][:-9]), "cut off after ", id="cut"),
        pytest.param((file_of(RIGHT)[0], b"PK\3\4"), "not a whole gzip file: ", id="another-format"),
        pytest.param((file_of(RIGHT)[0], file_of()[1]), "its lines have the SHA-256 e3b0c44298fc1c14…", id="other-rows"),
        pytest.param(file_of(RIGHT, b"{"), "line 2: the row is ", id="not-json"),
        pytest.param(file_of(RIGHT, b'{"id": "x"}'), "line 2: text: field required", id="a-field-is-missing"),
        pytest.param(file_of(RIGHT.replace(b'["a"]', b'"a"')), "line 1: labels is 'a': ", id="not-a-list"),
        pytest.param(file_of(RIGHT.replace(b'["a"]', b'"\\u001b[2J"')), "line 1: labels is '\\x1b[2J'", id="control-characters"),
    ],
)
def test_a_file_that_is_not_one_of_corrections_is_refused_with_the_line_and_the_field(
    file: tuple[str, bytes], message: str
) -> None:
    with pytest.raises(CorrectionsRejected) as refused:
        read_corrections_file(f"feedback/papers/{file[0]}", file[1])
    assert str(refused.value).startswith(f"feedback/papers/{file[0]}: {message}")


def test_the_latest_correction_of_a_text_counts() -> None:
    rows = [correction("text", "new", at=2), correction("text", "old", at=1), correction("other", "b", at=0)]
    assert labels_of(in_force(rows)) == {"text": ("new",), "other": ("b",)}


def test_blanks_and_line_ends_make_no_other_text_but_case_and_punctuation_do() -> None:
    rows = [
        correction("a text", "old"),
        correction(" a\r\n text ", "new", at=1),
        correction("A text", "b"),
        correction("a text.", "c"),
    ]
    assert labels_of(in_force(rows)) == {"a text": ("new",), "A text": ("b",), "a text.": ("c",)}


def test_a_withdrawn_correction_leaves_the_one_before_it_in_force() -> None:
    first, second = correction("text", "first", at=1, id="x1"), correction("text", "second", at=2, id="x2")
    gone = second.model_copy(update={"withdrawn": True, "time": BEGINNING + timedelta(seconds=3)})
    assert labels_of(in_force([first, second, gone])) == {"text": ("first",)}
    assert in_force([second, gone]) == ()
    assert [each.withdrawn for each in latest([first, second, gone])] == [False, True]


def test_a_withdrawal_is_of_one_id_and_one_text_only() -> None:
    kept = correction("text", "a", at=0, id="x1")
    others = [correction("text", "b", at=1, id="x2", withdrawn=True), correction("other", "b", at=1, id="x1", withdrawn=True)]
    assert in_force([kept, *others]) == (kept,)


@given(st.lists(ROWS, max_size=12).flatmap(lambda rows: st.tuples(st.just(rows), st.permutations(rows))))
def test_order_and_repetition_of_rows_do_not_matter(pair: tuple[list[Correction], Sequence[Correction]]) -> None:
    rows, shuffled = pair
    expected = in_force(rows)
    assert in_force(shuffled) == expected
    assert in_force([*rows, *shuffled]) == expected
    assert in_force(expected) == expected
    assert in_force(latest(rows)) == expected


@given(st.lists(ROWS, max_size=12))
def test_each_text_has_one_correction_in_force_and_no_later_one_stands(rows: list[Correction]) -> None:
    found = in_force(rows)
    keys = [text_key(each.text) for each in found]
    assert len(set(keys)) == len(keys)
    standing = [each for each in latest(rows) if not each.withdrawn]
    assert set(keys) == {text_key(each.text) for each in standing}
    for each in found:
        assert each.time == max(other.time for other in standing if text_key(other.text) == text_key(each.text))


def set_of(rows: Iterable[Correction]) -> set[bytes]:
    return {each.line() for each in rows}


def labels_of(rows: Iterable[Correction]) -> dict[str, tuple[str, ...]]:
    return {text_key(each.text): each.labels for each in rows}
