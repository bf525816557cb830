"""Forms of a submission: the OpenAPI document and the server accept the same ones."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gateway.api.submission_bodies import SubmissionBody

DOCUMENTED = jsonschema_rs.validator_for(SubmissionBody.model_json_schema())
TEXTS = st.sampled_from([None, "", " ", "a text", 5])
BODIES = st.fixed_dictionaries(
    {},
    optional={
        "article": TEXTS,
        "title": TEXTS,
        "abstract": TEXTS,
        "texts": st.none() | st.lists(TEXTS, max_size=2),
        "classifier": st.sampled_from([None, "papers", "No name"]),
        "unknown": st.none(),
    },
)


def is_accepted(body: dict[str, Any]) -> bool:
    try:
        SubmissionBody.model_validate(body)
    except ValidationError:
        return False
    return True


@given(BODIES)
def test_a_body_is_accepted_if_and_only_if_the_document_allows_it(body: dict[str, Any]) -> None:
    assert is_accepted(body) == DOCUMENTED.is_valid(body)
