"""Types of a record's contents."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from model.fields import Strict


class State(StrEnum):
    """State of a task. `success` and `failed` are final."""

    PENDING = "pending"
    PROCESSING = "processing"
    SUCCESS = "success"
    FAILED = "failed"


class Prediction(Strict):
    """Labels of one text, the most probable first, with their scores and the thresholds of the version."""

    labels: tuple[str, ...]
    scores: tuple[float, ...]
    thresholds: tuple[float, ...] | None  # None: the predictor does not publish them


class Answer(Strict):
    """Answer of a predictor to all texts of a task, by one version."""

    version: str
    predictions: tuple[Prediction, ...]


class Failure(Strict):
    """Reason why a task has no answer. status: HTTP status of the problem document."""

    status: int
    kind: str  # last part of the problem's type
    detail: str


@dataclass(frozen=True)
class Submission:
    """Task that a client submits. several: the client sent a list, and gets a list."""

    classifier: str
    texts: tuple[str, ...]
    several: bool
    owner: str  # name of the token
    request_id: str
    webhook: str | None = None  # address to which the outcome is sent

    def fields(self) -> dict[str, str]:
        """Return the fields of its record."""
        return ({"webhook": self.webhook} if self.webhook else {}) | {
            "classifier": self.classifier,
            "texts": json.dumps(self.texts, ensure_ascii=False),
            "several": str(int(self.several)),
            "owner": self.owner,
            "request_id": self.request_id,
        }


@dataclass(frozen=True)
class Record:
    """Task in its present state. Times: milliseconds since 1970, by the clock of Redis."""

    id: str
    state: State
    created: int
    classifier: str
    several: bool
    owner: str
    finished: int | None = None
    answer: Answer | None = None
    failure: Failure | None = None

    FIELDS = ("state", "created", "classifier", "several", "owner", "finished", "answer", "failure")

    @classmethod
    def of(cls, task_id: str, values: list[str | None]) -> Self:
        """Return the record from the values of FIELDS."""
        state, created, classifier, several, owner, finished, answer, failure = values
        return cls(
            id=task_id,
            state=State(state or ""),
            created=int(created or 0),
            classifier=classifier or "",
            several=several == "1",
            owner=owner or "",
            finished=int(finished) if finished else None,
            answer=Answer.model_validate_json(answer) if answer else None,
            failure=Failure.model_validate_json(failure) if failure else None,
        )


@dataclass(frozen=True)
class Claim:
    """Task that this worker has leased. number: number of this claim of the task, from 1; failures: failed claims."""

    id: str
    number: int
    failures: int
    lease_expired: bool  # the lease of the previous worker expired
    age_seconds: float
    classifier: str
    texts: tuple[str, ...]
    request_id: str
