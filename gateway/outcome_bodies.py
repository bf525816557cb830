"""Outcomes of tasks in the form that clients get, in responses, events and webhooks."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal, Self

from pydantic import BaseModel, Field

from gateway.records.record import Record

PROBLEM_PREFIX = "urn:labelwright:problem:"

Rows = list[str] | list[list[str]]
Figures = list[float] | list[list[float]]


class AnswerBody(BaseModel):
    """Answer. For one text, its labels, the most probable first; for `texts`, a list of such lists."""

    task_id: str
    status: Literal["success"] = "success"
    predictions: Rows = Field(description="labels, the most probable first")
    scores: Figures = Field(description="probability of each label")
    thresholds: Figures | None = Field(
        description="lowest probability at which the version gives each label; null: not published"
    )
    classifier: str
    version: str = Field(description="version of the classifier that answered")
    created_at: datetime
    finished_at: datetime
    feedback_token: str | None = Field(
        description="token that permits correcting this prediction; null: corrections are not accepted, or this is a webhook"
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


def problem_document(status: int, kind: str, detail: str, **members: object) -> dict[str, object]:
    """Return a problem document (RFC 9457). kind: last part of its type; members: further members."""
    title = kind.replace("-", " ").capitalize()
    return {"type": PROBLEM_PREFIX + kind, "title": title, "status": status, "detail": detail, **members}


def moment(milliseconds: int) -> datetime:
    """Return the time in UTC. milliseconds: since 1970."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
