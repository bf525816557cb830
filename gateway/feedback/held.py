"""Types of a correction's record in Redis, and its conversion to a row of a file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Self

from model.corrections import Correction

WITHDRAWN = "/withdrawn"
APART = frozenset({"id", "text", "time", "withdrawn"})  # not among `fields`


class State(StrEnum):
    """State of a correction. Trainings learn it while it is `stored` or `withdrawing`."""

    HELD = "held"
    STORED = "stored"
    WITHDRAWING = "withdrawing"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True)
class Held:
    """Correction in its present state. key, withdrawal_key: objects with it and with its withdrawal; None: not stored."""

    id: str
    state: State
    classifier: str
    author: str
    prediction_id: str | None
    labels: tuple[str, ...]
    comment: str | None
    created: int  # milliseconds since 1970, by the clock of Redis
    stored: int | None
    withdrawn: int | None
    key: str | None
    withdrawal_key: str | None

    FIELDS = ("state", "classifier", "author", "fields", "created", "stored", "withdrawn", "key", "withdrawal_key")

    @classmethod
    def of(cls, correction_id: str, values: list[str | None]) -> Self:
        """Return the correction from the values of FIELDS."""
        state, classifier, author, fields, created, stored, withdrawn, key, withdrawal_key = values
        known = json.loads(fields or "{}")
        return cls(
            id=correction_id,
            state=State(state or ""),
            classifier=classifier or "",
            author=author or "",
            prediction_id=known["prediction_id"],
            labels=tuple(known["labels"]),
            comment=known["comment"],
            created=int(created or 0),
            stored=int(stored) if stored else None,
            withdrawn=int(withdrawn) if withdrawn else None,
            key=key,
            withdrawal_key=withdrawal_key,
        )


def to_fields(correction: Correction) -> dict[str, str]:
    """Return the fields of its record: the text, and everything else that does not change, as JSON."""
    fields: dict[str, Any] = correction.model_dump(mode="json", exclude=set(APART))
    return {"text": correction.text, "fields": json.dumps(fields, ensure_ascii=False)}


def to_row(row: str, text: str, fields: str, *, created: str, withdrawn: str) -> Correction:
    """Return the row to store. row: its name; created, withdrawn: milliseconds since 1970."""
    is_withdrawal = row.endswith(WITHDRAWN)
    told = {
        **json.loads(fields),
        "id": row.removesuffix(WITHDRAWN),
        "text": text,
        "time": datetime.fromtimestamp(int(withdrawn if is_withdrawal else created) / 1000, UTC),
        "withdrawn": is_withdrawal,
    }
    return Correction.model_validate(told)
