from __future__ import annotations

import io
import logging
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.printable import TextLines, printable, printable_names

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
