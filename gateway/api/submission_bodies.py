"""Bodies of a submission and of a task that has no outcome yet, as the OpenAPI document shows them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from gateway.outcome_bodies import moment
from gateway.records.record import Record, State
from model.fields import Name

# Pydantic refuses lone surrogates, since they cannot be written as UTF-8.
Text = Annotated[str, Field(min_length=1)]


WORDS = {"type": "string", "pattern": r"\S"}
ABSENT = {"type": "null"}
# What _has_one_kind_of_text checks, for clients that read the OpenAPI document.
FORMS: list[Any] = [
    {"required": ["article"], "properties": {"article": WORDS, "texts": ABSENT, "title": ABSENT, "abstract": ABSENT}},
    {
        "required": ["texts"],
        "properties": {"article": ABSENT, "texts": {"type": "array", "items": WORDS}, "title": ABSENT, "abstract": ABSENT},
    },
    {
        "properties": {"article": ABSENT, "texts": ABSENT},
        "anyOf": [{"required": [name], "properties": {name: WORDS}} for name in ("title", "abstract")],
    },
]


class SubmissionBody(BaseModel):
    """Texts to label: `article`, or `title` and `abstract`, or `texts`."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"article": "This is a test article about machine learning."}], "oneOf": FORMS},
    )

    article: Text | None = Field(default=None, description="one text")
    title: str | None = Field(
        default=None, description="title of one text; a line break joins it with `abstract`, as in training"
    )
    abstract: str | None = Field(default=None, description="abstract of one text")
    texts: Annotated[list[Text], Field(min_length=1)] | None = Field(default=None, description="several texts, as one task")
    classifier: Name | None = Field(default=None, description="classifier that labels the texts; without it, the default one")

    webhook: str | None = Field(
        default=None, description="https address to which the outcome is sent; the gateway has to allow its host"
    )

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
    """Task that has no outcome yet."""

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
