"""Bodies of requests and responses about corrections, as the OpenAPI document shows them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator

from gateway.api.schemas import Text
from gateway.feedback.correction import Held, State
from gateway.outcomes import moment
from model.fields import Name, Share

MAX_COMMENT_CHARACTERS = 10_000
LABELS = "all labels that the text should have, not only those that were wrong"


class CorrectionBody(BaseModel):
    """Right labels of a text."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"labels": ["cs.LG", "stat.ML"]}]})

    labels: list[str] = Field(max_length=10_000, description=LABELS)
    comment: str | None = Field(default=None, max_length=MAX_COMMENT_CHARACTERS, description="for whoever reads the correction")
    predictions_shown: bool = Field(default=True, description="whether the author saw the predicted labels")

    @field_validator("labels")
    @classmethod
    def _are_names(cls, value: list[str]) -> list[str]:
        if not all(each.strip() for each in value):
            raise ValueError("expected names of labels, found a blank one")
        return sorted(set(value))


class PredictionCorrectionBody(CorrectionBody):
    """Right labels of the text of a kept prediction."""

    position: int | None = Field(
        default=None, ge=0, description="which text of a task with several, from 0 on; expected if there are several"
    )


class TextCorrectionBody(CorrectionBody):
    """Right labels of a text whose prediction the gateway does not keep, since a predictor was asked directly."""

    text: Text = Field(description="the text as it was labelled")
    classifier: Name | None = Field(default=None, description="which classifier; without it, the default one")
    version: Name | None = Field(default=None, description="version that labelled it; none: none did")
    predicted: list[str] | None = Field(default=None, max_length=10_000, description="labels that the version gave, if known")
    scores: dict[str, Share] = Field(default={}, description="their probabilities, by label")

    @field_validator("text")
    @classmethod
    def _is_no_blank(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("expected some words, found blanks")
        return value


class FeedbackBody(BaseModel):
    """Correction as it stands."""

    correction_id: str
    state: State = Field(
        description="`held`: accepted, and not stored yet; `stored`: the next training learns it; `withdrawing`: the withdrawal "
        "is not stored yet; `withdrawn`: no training learns it any more"
    )
    prediction_id: str | None
    classifier: str
    labels: tuple[str, ...]
    comment: str | None
    author: str
    created_at: datetime
    stored_at: datetime | None
    withdrawn_at: datetime | None
    key: str | None = Field(description="object that has the correction, below the gateway's `feedback_uri`")
    withdrawal_key: str | None = Field(description="object that has its withdrawal")

    @classmethod
    def of(cls, held: Held) -> Self:
        values: dict[str, Any] = {name: getattr(held, name) for name in cls.model_fields if hasattr(held, name)}
        return cls(
            **values,
            correction_id=held.id,
            created_at=moment(held.created),
            stored_at=None if held.stored is None else moment(held.stored),
            withdrawn_at=None if held.withdrawn is None else moment(held.withdrawn),
        )
