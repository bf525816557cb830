"""Bodies of requests and responses, as the OpenAPI document shows them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from gateway.records.record import Record, State
from model.fields import Name

# Lone surrogates are refused by pydantic: they are no text, and no UTF-8.
Text = Annotated[str, Field(min_length=1)]


class SubmissionBody(BaseModel):
    """Texts to label: `article`, or `title` and `abstract`, or `texts`."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"article": "This is a test article about machine learning."}]},
    )

    article: Text | None = Field(default=None, description="one text")
    title: str | None = Field(
        default=None, description="title of one text; joined with `abstract` by a line break, as in training"
    )
    abstract: str | None = Field(default=None, description="abstract of one text")
    texts: Annotated[list[Text], Field(min_length=1)] | None = Field(default=None, description="several texts, as one task")
    classifier: Name | None = Field(default=None, description="which classifier is to label them; without it, the default one")

    @model_validator(mode="after")
    def _has_one_kind_of_text(self) -> Self:
        given = [self.article is not None, self.texts is not None, self.title is not None or self.abstract is not None]
        if sum(given) != 1:
            raise ValueError('expected one of "article", "texts", or "title" and "abstract"')
        if not all(each.strip() for each in self.all_texts()):
            raise ValueError("a text is blank: expected some words")
        return self

    def all_texts(self) -> tuple[str, ...]:
        """Return the texts in order."""
        if self.texts is not None:
            return tuple(self.texts)
        if self.article is not None:
            return (self.article,)
        parts = [(each or "").strip() for each in (self.title, self.abstract)]
        return ("\n".join(part for part in parts if part),)


class PendingBody(BaseModel):
    """Task without an answer yet."""

    task_id: str
    status: Literal["pending", "processing"]
    created_at: datetime

    @classmethod
    def of(cls, record: Record) -> Self:
        status: Literal["pending", "processing"] = "processing" if record.state is State.PROCESSING else "pending"
        return cls(task_id=record.id, status=status, created_at=moment(record.created))

    @classmethod
    def at(cls, task_id: str, created: int) -> Self:
        """Return the body of a task that was accepted at this time."""
        return cls(task_id=task_id, status="pending", created_at=moment(created))


Rows = list[str] | list[list[str]]
Figures = list[float] | list[list[float]]


class AnswerBody(BaseModel):
    """Answer: of one text a list of labels, the most probable first; of `texts` a list of such lists."""

    task_id: str
    status: Literal["success"] = "success"
    predictions: Rows = Field(description="labels")
    scores: Figures = Field(description="probability of each label")
    thresholds: Figures | None = Field(description="probability from which the version gives the label; null: not published")
    classifier: str
    version: str = Field(description="version of the classifier that answered")
    created_at: datetime
    finished_at: datetime
    feedback_token: str | None = Field(
        description="lets whoever has it correct this prediction; null: corrections are not accepted"
    )

    @classmethod
    def of(cls, record: Record, token: str | None = None) -> Self:
        if record.answer is None or record.finished is None:
            raise ValueError("the record has no answer")
        rows = record.answer.predictions
        labels, scores = [list(row.labels) for row in rows], [list(row.scores) for row in rows]
        thresholds = [list(row.thresholds) for row in rows if row.thresholds is not None]
        known = len(thresholds) == len(rows)
        return cls(
            task_id=record.id,
            predictions=labels if record.several else labels[0],
            scores=scores if record.several else scores[0],
            thresholds=(thresholds if record.several else thresholds[0]) if known else None,
            classifier=record.classifier,
            version=record.answer.version,
            created_at=moment(record.created),
            finished_at=moment(record.finished),
            feedback_token=token,
        )


def moment(milliseconds: int) -> datetime:
    """Return the time in UTC. milliseconds: since 1970."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
