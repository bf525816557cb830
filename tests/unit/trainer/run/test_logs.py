from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.log_format import JsonLines
from trainer.run.logs import fields


class Unspeakable:
    def __str__(self) -> str:
        raise RuntimeError("no words")


def written(message: object = "hello", *args: object, extra: dict[str, Any] | None = None, **others: Any) -> dict[str, Any]:
    record = logging.LogRecord("trainer.pipeline", logging.INFO, "file.py", 1, message, args, others.pop("exc_info", None))
    record.__dict__.update({"created": 1763855999.9876, **others, **(extra or {})})
    line = JsonLines().format(record)
    assert "\n" not in line
    found: dict[str, Any] = json.loads(line)
    return found


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)


def test_a_line_says_when_who_and_what() -> None:
    assert written("trained %d of %d steps", 3, 4) == {
        "time": "2025-11-22T23:59:59.987Z",
        "level": "INFO",
        "logger": "trainer.pipeline",
        "message": "trained 3 of 4 steps",
    }


def test_fields_stand_beside_the_message() -> None:
    line = written("step 100", extra=fields(step=100, loss=0.25, labels=("a", "b"), best=None))

    assert (line["message"], line["step"], line["loss"], line["labels"], line["best"]) == (
        "step 100",
        100,
        0.25,
        ["a", "b"],
        None,
    )


def test_a_field_never_takes_the_place_of_the_message() -> None:
    line = written("hello", extra=fields(message="mine", time=3))

    assert (line["message"], line["fields.message"], line["fields.time"]) == ("hello", "mine", 3)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        pytest.param(float("nan"), None, id="nan"),
        pytest.param(float("-inf"), None, id="infinite"),
        pytest.param(np.float32(0.5), 0.5, id="numpy-float"),
        pytest.param(np.int64(3), 3, id="numpy-integer"),
        pytest.param(np.float32("nan"), None, id="numpy-nan"),
        pytest.param({"a": {1: float("inf")}}, {"a": {"1": None}}, id="nested"),
        pytest.param(b"\xff", "b'\\xff'", id="bytes"),
        pytest.param("a\nb\ud800", "a\nb\ud800", id="line-break-and-half-a-character"),
        pytest.param(Unspeakable(), "a Unspeakable that cannot be written", id="no-text"),
    ],
)
def test_a_value_that_json_does_not_know_is_written_all_the_same(value: object, found: object) -> None:
    assert written(extra=fields(value=value))["value"] == found


def test_a_value_that_holds_itself_is_cut() -> None:
    endless: list[object] = []
    endless.append(endless)

    assert "[...]" in str(written(extra=fields(value=endless))["value"])


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.complex_numbers(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.integers(), inner, max_size=3),
        max_leaves=10,
    ),
    st.text(),
)
def test_any_value_and_any_message_make_one_line(value: object, message: str) -> None:
    assert written(message, extra=fields(value=value))["message"] == message


def test_a_message_whose_arguments_do_not_fit_is_not_lost() -> None:
    assert written("%d texts", "many")["message"] == "%d texts ('many',)"


def test_what_is_no_mapping_of_fields_is_passed_over() -> None:
    assert written(extra={"fields": "none"})["message"] == "hello"


def test_an_exception_is_one_field() -> None:
    try:
        int("wrong")
    except ValueError:
        line = written(exc_info=sys.exc_info())

    assert line["exception"].startswith("Traceback (most recent call last):\n")
    assert line["exception"].endswith("'wrong'")


TELL = """
import logging, threading, warnings
from trainer.run import logs
logs.configure({format!r})
log = logging.getLogger("trainer.somewhere")
log.info("step %d", 5, extra=logs.fields(loss=float("nan")))
log.debug("never told")
logging.getLogger("library").info("not ours")
logging.getLogger("library").warning("take care")
warnings.warn("about to go", FutureWarning)
def fail():
    raise OSError("in a thread")
thread = threading.Thread(target=fail)
thread.start()
thread.join()
raise RuntimeError("at the end")
"""


def test_everything_on_standard_error_is_a_json_line() -> None:
    done = run(TELL.format(format="json"))

    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert done.stdout == ""
    assert done.returncode == 1
    assert [(line["level"], line["message"].split("\n")[0]) for line in lines if line["logger"] != "py.warnings"] == [
        ("INFO", "step 5"),
        ("WARNING", "take care"),
        ("CRITICAL", "OSError: in a thread"),
        ("CRITICAL", "RuntimeError: at the end"),
    ]
    assert lines[0]["loss"] is None
    assert "in fail" in lines[-2]["exception"]
    assert ["FutureWarning: about to go" in line["message"] for line in lines if line["logger"] == "py.warnings"] == [True]


def test_text_is_a_time_and_the_message() -> None:
    done = run(TELL.format(format="text"))

    assert done.stdout == ""
    assert [re.sub(r"^\d\d:\d\d:\d\d ", "AT ", line) for line in done.stderr.splitlines()][:2] == ["AT step 5", "AT take care"]


def test_who_interrupts_is_not_shown_a_json_line() -> None:
    done = run("from trainer.run import logs\nlogs.configure('json')\nraise KeyboardInterrupt")

    assert "critical" not in done.stderr.lower()


def test_a_program_that_has_configured_logging_keeps_its_way() -> None:
    done = run(
        "import logging\n"
        "logging.basicConfig(format='mine %(message)s', level=logging.INFO)\n"
        "from trainer.run import logs\n"
        "logs.configure('json')\n"
        "logging.getLogger('trainer').info('hello')\n"
    )

    assert done.stderr == "mine hello\n"


@pytest.mark.parametrize("chosen", ["text", "json"])
def test_what_is_not_a_log_line_can_ask_for_the_format(chosen: str) -> None:
    done = run(f"from trainer.run import logs\nlogs.configure({chosen!r})\nprint(logs.in_json())")

    assert done.stdout == f"{chosen == 'json'}\n"
