"""Sentences of problem documents about invalid requests."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastapi.exceptions import RequestValidationError
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from redis.exceptions import ConnectionError, OutOfMemoryError  # noqa: A004 - Redis' own name
from starlette.exceptions import HTTPException

from gateway.api.problems import Problem, _problem_of, retry_later
from gateway.api.submission_bodies import SubmissionBody


def rejection(body: dict[str, Any]) -> RequestValidationError:
    with pytest.raises(ValidationError) as raised:
        SubmissionBody.model_validate(body)
    return RequestValidationError([{**error, "loc": ("body", *error["loc"])} for error in raised.value.errors()])


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        pytest.param({"article": 5}, "article is 5: input should be a valid string", id="type"),
        pytest.param({"texts": ["a", {}]}, "texts.1 is an object: input should be a valid string", id="element"),
        pytest.param({"article": "a", "classifier": "A" * 99}, f'classifier is "{"A" * 36}...', id="long-value-is-cut"),
        pytest.param({}, 'the body: expected one of "article", "texts", or "title" and "abstract"', id="whole"),
    ],
)
def test_a_sentence_names_field_and_value(body: dict[str, Any], sentence: str) -> None:
    assert sentence in str(_problem_of(rejection(body)))


@given(
    st.dictionaries(
        st.sampled_from(["article", "title", "texts", "classifier", "\u202e"]), st.text('aé\u202e\n"') | st.integers() | st.none()
    )
)
def test_whatever_a_client_sends_its_problem_is_one_short_line_of_json(body: dict[str, Any]) -> None:
    try:
        SubmissionBody.model_validate(body)
    except ValidationError as error:
        errors = [{**each, "loc": ("body", *each["loc"])} for each in error.errors()]
        sentence = str(_problem_of(RequestValidationError(errors)))
        assert len(sentence) < 400
        assert sentence.isprintable()
        assert json.dumps(_problem_of(RequestValidationError(errors)).document())


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        pytest.param(HTTPException(404), 404, "not-found", id="http"),
        pytest.param(OutOfMemoryError("OOM"), 503, "memory-full", id="memory"),
        pytest.param(ConnectionError("refused"), 503, "store-unavailable", id="redis-away"),
        pytest.param(TimeoutError(), 503, "store-unavailable", id="redis-hangs"),
        pytest.param(RuntimeError("of ours"), 500, "internal-error", id="ours"),
    ],
)
def test_every_error_has_a_type_and_tells_nothing_of_its_cause(error: Exception, status: int, kind: str) -> None:
    found = _problem_of(error)

    assert (found.status, found.kind) == (status, kind)
    assert str(error) not in str(found) or isinstance(error, HTTPException) or not str(error)


def test_a_problem_that_passes_says_when_to_try_again() -> None:
    response = retry_later(503, "queue-full", "Too many tasks are waiting.", seconds=5).response()

    assert response.headers["Retry-After"] == "5"
    assert Problem(410, "gone", "It is over.", task_id="x").document() == {
        "type": "urn:labelwright:problem:gone",
        "title": "Gone",
        "status": 410,
        "detail": "It is over.",
        "task_id": "x",
    }
