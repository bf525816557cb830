"""Parts of the API that need no server: wishes to wait, bodies, tokens, limits."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from gateway.api.submission_bodies import SubmissionBody
from gateway.api.tokens import NO_TOKEN, Tokens, digest, new_secret
from gateway.api.waiting import Wait, wish
from gateway.config import SettingRejected
from gateway.outcome_bodies import AnswerBody
from gateway.records.record import Answer, Prediction, Record, State


@pytest.mark.parametrize(
    ("prefer", "query", "expected"),
    [
        pytest.param([], None, None, id="none"),
        pytest.param(["wait=5"], None, Wait(5, preferred=True), id="header"),
        pytest.param(["respond-async, wait=10"], None, Wait(10, preferred=True), id="beside-another"),
        pytest.param(["respond-async", 'wait="2"; x=y'], None, Wait(2, preferred=True), id="quoted-with-a-parameter"),
        pytest.param(["wait=1", "wait=9"], None, Wait(1, preferred=True), id="the-first-counts"),
        pytest.param(["wait=99"], None, Wait(30, preferred=True), id="bounded"),
        pytest.param(["wait=soon"], None, None, id="not-understood-is-ignored"),
        pytest.param(["wait=5"], 1.5, Wait(1.5, preferred=False), id="query-first"),
    ],
)
def test_a_client_says_how_long_it_waits(prefer: list[str], query: float | None, expected: Wait | None) -> None:
    assert wish(prefer, query, longest=30) == expected


def test_the_answer_says_which_wait_was_applied() -> None:
    assert Wait(30, preferred=True).headers() == {"Preference-Applied": "wait=30"}
    assert Wait(30, preferred=False).headers() == {}


@pytest.mark.parametrize(
    ("body", "texts"),
    [
        pytest.param({"article": "one"}, ("one",), id="article"),
        pytest.param({"title": "T ", "abstract": " A"}, ("T\nA",), id="joined-as-in-training"),
        pytest.param({"title": "T"}, ("T",), id="title-alone"),
        pytest.param({"texts": ["a", "b"]}, ("a", "b"), id="several"),
    ],
)
def test_texts_come_in_three_forms(body: dict[str, Any], texts: tuple[str, ...]) -> None:
    assert SubmissionBody.model_validate(body).all_texts() == texts


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({}, id="none"),
        pytest.param({"article": "a", "texts": ["b"]}, id="two-forms"),
        pytest.param({"article": "a", "title": "b"}, id="article-with-a-title"),
        pytest.param({"article": " \n"}, id="blank"),
        pytest.param({"texts": []}, id="empty-list"),
        pytest.param({"texts": ["a", ""]}, id="an-empty-text"),
        pytest.param({"article": 5}, id="number"),
        pytest.param({"article": "a\ud800"}, id="no-unicode"),
        pytest.param({"article": "a", "classifer": "papers"}, id="misspelt-field"),
        pytest.param({"article": "a", "classifier": "../x"}, id="no-name"),
    ],
)
def test_other_bodies_are_refused(body: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SubmissionBody.model_validate(body)


def record(*, several: bool, thresholds: tuple[float, ...] | None) -> Record:
    prediction = Prediction(labels=("cs.LG",), scores=(0.9,), thresholds=thresholds)
    answer = Answer(version="v1", predictions=(prediction, prediction) if several else (prediction,))
    return Record("id", State.SUCCESS, 0, "papers", several, "anonymous", finished=1000, answer=answer)


def test_an_answer_has_the_form_of_the_request() -> None:
    one, two = AnswerBody.of(record(several=False, thresholds=(0.5,))), AnswerBody.of(record(several=True, thresholds=(0.5,)))

    assert (one.predictions, one.scores, one.thresholds) == (["cs.LG"], [0.9], [0.5])
    assert (two.predictions, two.scores, two.thresholds) == ([["cs.LG"]] * 2, [[0.9]] * 2, [[0.5]] * 2)


def test_thresholds_that_no_predictor_published_are_null() -> None:
    assert AnswerBody.of(record(several=False, thresholds=None)).thresholds is None


def tokens_file(path: Path, *tokens: dict[str, Any], at: int) -> Path:
    path.write_text(json.dumps(tokens))
    os.utime(path, (at, at))
    return path


def test_a_token_is_found_by_its_secret_until_the_file_changes(tmp_path: Path) -> None:
    first, second = new_secret(), new_secret()
    path = tmp_path / "tokens.json"
    entry = {"name": "importer", "scopes": ["predict"]}
    tokens = Tokens(tokens_file(path, {**entry, "sha256": digest(first)}, at=1))
    found = tokens.find(first)
    assert found is not None
    assert found.may("predict")
    assert not found.may("admin")
    assert tokens.find("another") is None

    tokens_file(path, {**entry, "sha256": digest(second), "scopes": ["admin"]}, at=2)
    assert tokens.find(first) is None
    found = tokens.find(second)
    assert found is not None
    assert found.may("predict")

    path.write_text("[")
    assert tokens.find(second) is not None, "a file that is being written leaves the tokens as they were"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        pytest.param({"name": "a", "sha256": "secret", "scopes": ["predict"]}, "0.sha256", id="not-hashed"),
        pytest.param({"name": "a", "sha256": "0" * 64, "scopes": ["read"]}, "0.scopes.0", id="unknown-scope"),
        pytest.param({"name": "a", "sha256": "0" * 64, "scopes": ["predict"], "rate": "fast"}, "0.rate", id="no-rate"),
    ],
)
def test_a_wrong_file_of_tokens_is_refused_without_showing_it(tmp_path: Path, entry: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingRejected) as raised:
        Tokens(tokens_file(tmp_path / "tokens.json", entry, at=1))

    assert message in str(raised.value)
    assert "secret" not in str(raised.value)


def test_without_a_token_only_predictions_are_allowed() -> None:
    assert NO_TOKEN.may("predict")
    assert NO_TOKEN.may("feedback")
    assert not NO_TOKEN.may("review")
