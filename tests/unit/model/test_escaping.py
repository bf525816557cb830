from __future__ import annotations

import io
import json
import logging
import unicodedata
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from k8s.controller.__main__ import main as controller
from labelwright.__main__ import main as labelwright
from model.artifact import MANIFEST
from model.download import download
from model.escaping import printable, printable_json, printable_names
from model.log_format import TextLines
from model.predict import predict
from model.serving.__main__ import command as serve
from model.verification import verify
from tests.support.versions import make_version
from trainer.commands.train import train

HOSTILE = "cs.AI\x1b[2J\r\n12:00:00 the version was published\x9b31m\u202eslaf"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("naïve café, 標籤 🚀 \\d", "naïve café, 標籤 🚀 \\d", id="what-people-write"),
        pytest.param("a\nb\r\tc", "a\\nb\\r\\tc", id="lines"),
        pytest.param("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m", id="colours"),
        pytest.param("\x9b2J\x7f\x00", "\\x9b2J\\x7f\\x00", id="control-characters-of-eight-bits"),
        pytest.param("a\u2028b\u202ec\u2066d", "a\\u2028b\\u202ec\\u2066d", id="separators-and-directions"),
        pytest.param("a\ud800", "a\\ud800", id="half-of-a-pair"),
    ],
)
def test_what_a_terminal_obeys_is_shown_instead(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text())
def test_no_text_has_more_than_one_line_or_a_control_character(text: str) -> None:
    shown = printable(text)
    assert len(shown.splitlines()) <= 1
    assert not {unicodedata.category(each) for each in shown} & {"Cc", "Cs", "Zl", "Zp"}


@given(st.lists(st.text(alphabet="a\n\\n 2()", max_size=4), unique=True))
def test_names_that_differ_stay_different(names: list[str]) -> None:
    assert len(set(printable_names(names))) == len(names)


def test_a_record_is_a_line_and_a_traceback_is_indented_whatever_they_say() -> None:
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(TextLines("%(asctime)s %(message)s", "%H:%M:%S"))
    log = logging.Logger("of-its-own")
    log.addHandler(handler)

    log.warning("the label %s", HOSTILE)
    try:
        {}[HOSTILE]
    except KeyError:
        log.exception("failed")

    first, second, *traceback = written.getvalue().splitlines()
    assert first.endswith("the label cs.AI\\x1b[2J\\r\\n12:00:00 the version was published\\x9b31m\\u202eslaf")
    assert second.endswith("failed")
    assert len(traceback) > 3
    assert all(each.startswith("  ") for each in traceback)
    assert "\x1b" not in written.getvalue()


@given(st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_json_keeps_its_value_and_has_no_control_character(value: object) -> None:
    shown = printable_json(json.dumps(value, ensure_ascii=False))
    assert json.loads(shown) == value
    assert not {unicodedata.category(each) for each in shown} & {"Cc", "Cs", "Zl", "Zp"}


def check_shown(output: str) -> None:
    """Check that the output has the end of HOSTILE, and no character that controls a terminal."""
    assert "slaf" in output
    assert not set("\x1b\r\x9b\u202e") & set(output)


@pytest.mark.parametrize(
    "command", [predict, serve, download, verify, train, labelwright, controller], ids=lambda each: each.name
)
def test_no_wrong_use_of_a_command_acts_on_the_terminal(command: click.Command) -> None:
    done = CliRunner().invoke(command, [f"--{HOSTILE}"], color=True)
    assert done.exit_code in (2, 64)
    check_shown(done.output)


@pytest.mark.parametrize("arguments", [[predict, "text"], [serve], [verify]], ids=["predict", "serve", "verify"])
def test_no_file_of_a_version_acts_on_the_terminal_that_it_is_refused_on(tmp_path: Path, arguments: list[Any]) -> None:
    folder = make_version(tmp_path / HOSTILE)
    (folder / MANIFEST).write_text("{")
    command, *texts = arguments
    done = CliRunner().invoke(command, [str(folder), *texts], color=True)
    assert done.exit_code in (1, 65)
    check_shown(done.output)


def test_no_object_acts_on_the_terminal_of_the_command_that_fetches_it(s3_bucket: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(download, [f"{s3_bucket}{HOSTILE}/", str(tmp_path)], color=True)
    assert done.exit_code == 65
    check_shown(done.output)


def test_no_label_acts_on_the_terminal_that_it_is_predicted_on(tmp_path: Path) -> None:
    label = "\x9b31m\u202eslaf"
    version = make_version(tmp_path / "v1", labels=(label, "other"))
    done = CliRunner().invoke(predict, [str(version), label], color=True)
    assert json.loads(done.stdout) == {"text": label, "labels": [label], "scores": [0.880797]}
    check_shown(done.output)
