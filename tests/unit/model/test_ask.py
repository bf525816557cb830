"""One question to a classifier, as `helm test` asks it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from click.testing import CliRunner

from model.ask import QuestionFailed, ask, main

LABELS = {"name": "labels", "shape": [2, 2], "data": ["cs.LG", "stat.ML", "cs.CV", ""]}
SCORES = {"name": "scores", "shape": [2, 2], "data": [0.9, 0.6, 0.8, 0.0]}
ANSWER = {"model_version": "papers-1", "outputs": [LABELS, SCORES]}


@contextmanager
def server(*answers: tuple[int, str]) -> Iterator[tuple[str, list[str]]]:
    """The address of a server that gives these answers in turn, the last one again and again; and what it was sent."""
    left, sent = list(answers), list[str]()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent.append(f"{self.path} {self.rfile.read(int(self.headers['Content-Length'])).decode()}")
            status, text = left.pop(0) if len(left) > 1 else left[0]
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{found.server_port}", sent
        found.shutdown()


def test_each_text_has_its_labels_without_what_fills_a_row() -> None:
    with server((200, json.dumps(ANSWER))) as (address, sent):
        answer = ask(address, "papers", ("a", "b"))

    assert (answer.version, answer.labels) == ("papers-1", ((("cs.LG", 0.9), ("stat.ML", 0.6)), (("cs.CV", 0.8),)))
    assert sent[0].startswith("/v2/models/papers/infer ")


@pytest.mark.parametrize(
    ("status", "text", "said"),
    [
        pytest.param(404, "no model", "404 no model", id="refused"),
        pytest.param(200, "<html>", "no answer of a classifier", id="no-json"),
        pytest.param(200, '{"outputs": []}', "no answer of a classifier", id="no-labels"),
    ],
)
def test_anything_else_is_no_answer(status: int, text: str, said: str) -> None:
    with server((status, text)) as (address, _), pytest.raises(QuestionFailed, match=said):
        ask(address, "papers", ("a",))


def test_the_command_waits_until_there_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.ask.PAUSE_SECONDS", 0)
    one = {**ANSWER, "outputs": [{**LABELS, "shape": [1, 2]}, {**SCORES, "shape": [1, 2]}]}
    with server((503, "starting"), (200, json.dumps(one))) as (address, _):
        options = ["--server", address, "--name", "papers", "--text", "a", "--seconds", "30"]
        done = CliRunner().invoke(main, options)

    assert done.exit_code == 0, done.output
    assert "not yet: " in done.output
    assert "papers answers with version papers-1\n  0.90  cs.LG\n" in done.output


def test_the_command_fails_with_the_reason_where_nothing_answers() -> None:
    done = CliRunner().invoke(main, ["--server", "http://127.0.0.1:1", "--name", "papers", "--text", "a"])

    assert done.exit_code == 1
    assert "http://127.0.0.1:1/v2/models/papers/infer: " in done.output
