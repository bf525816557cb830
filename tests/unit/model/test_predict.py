from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from model.predict import predict
from tests.support.versions import make_version


@pytest.fixture
def version(tmp_path: Path) -> str:
    return str(make_version(tmp_path / "v1", labels=("sport", "food")))


def test_arguments_are_answered_in_order(version: str) -> None:
    done = CliRunner().invoke(predict, [version, "a food text", "sport"])
    assert [json.loads(line)["labels"] for line in done.stdout.splitlines()] == [["food"], ["sport"]]


def test_lines_of_standard_input_are_texts_whatever_they_hold(version: str) -> None:
    texts = ["food", "", "\u202bسلام sport\u202c", "🍞 food \x00"]
    done = CliRunner().invoke(predict, [version], input="\r\n".join(texts))
    assert [json.loads(line)["text"] for line in done.stdout.splitlines()] == texts


def test_a_byte_order_mark_is_no_part_of_the_first_text(version: str) -> None:
    done = CliRunner().invoke(predict, [version], input="\ufefffood\n\ufeffsport\n".encode())
    assert [json.loads(line)["text"] for line in done.stdout.splitlines()] == ["food", "\ufeffsport"]


def test_nothing_in_gives_nothing(version: str) -> None:
    done = CliRunner().invoke(predict, [version], input="")
    assert (done.exit_code, done.stdout) == (0, "")


def test_a_line_that_is_no_text_is_named_after_those_before_it_are_answered(version: str) -> None:
    done = CliRunner().invoke(predict, [version], input=b"food\ncaf\xe9\nsport\n")
    assert done.exit_code == 1
    assert [json.loads(line)["text"] for line in done.stdout.splitlines()] == ["food"]
    assert "line 2 of standard input is not UTF-8" in done.stderr


def test_a_version_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    done = CliRunner().invoke(predict, [str(tmp_path), "text"])
    assert done.exit_code == 1
    assert "is not a published version" in done.stderr
