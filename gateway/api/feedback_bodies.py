"""Bodies of requests and responses about corrections, as the OpenAPI document shows them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from gateway.feedback.held import Held, State
from gateway.outcome_bodies import moment
from model.fields import Name, Share

MAX_COMMENT_CHARACTERS = 10_000
MAX_LABELS = 10_000
LABELS = "all labels that the text should have, including those that were predicted correctly"


def _filled(value: str) -> str:
    if not value.strip():
        raise ValueError("expected some characters, found only blanks")
    return value


def _sorted(value: list[str]) -> list[str]:
    return sorted(set(value))


Words = Annotated[str, AfterValidator(_filled), Field(json_schema_extra={"pattern": r"\S"})]
LabelNames = Annotated[list[Words], Field(max_length=MAX_LABELS), AfterValidator(_sorted)]


class CorrectionBody(BaseModel):
    """Right labels of a text."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"labels": ["cs.LG", "stat.ML"]}]})

    labels: LabelNames = Field(description=LABELS)
    comment: str | None = Field(
        default=None, max_length=MAX_COMMENT_CHARACTERS, description="note for people who read the correction"
    )
    predictions_shown: bool = Field(default=True, description="whether the author saw the predicted labels")


class PredictionCorrectionBody(CorrectionBody):
    """Right labels of a text whose prediction the gateway keeps."""

    position: int | None = Field(
        default=None, ge=0, description="position of the text in a task with several texts, from 0; required for such a task"
    )


class TextCorrectionBody(CorrectionBody):
    """Right labels of a text whose prediction the gateway does not have, because a predictor was asked directly."""

    text: Words = Field(description="the text, as it was sent to the predictor")
    classifier: Name | None = Field(default=None, description="classifier of the text; without it, the default one")
    version: Name | None = Field(default=None, description="version that labelled the text, if known")
    predicted: LabelNames | None = Field(default=None, description="labels that the version gave, if known")
    scores: dict[str, Share] = Field(default={}, max_length=MAX_LABELS, description="probabilities of the labels, if known")


class FeedbackBody(BaseModel):
    """Correction in its present state."""

    correction_id: str
    state: State = Field(
        description="`held`: accepted, but not stored yet; `stored`: the next training learns it; `withdrawing`: withdrawn, but "
        "the withdrawal is not stored yet; `withdrawn`: the next training does not learn it"
    )
    prediction_id: str | None
    classifier: str
    labels: tuple[str, ...]
    comment: str | None
    author: str
    created_at: datetime
    stored_at: datetime | None
    withdrawn_at: datetime | None
    key: str | None = Field(description="object with the correction, below the gateway's `feedback_uri`")
    withdrawal_key: str | None = Field(description="object with its withdrawal")

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
