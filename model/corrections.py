"""Corrections by people: the rows that are stored, their files, and which rows are in force.

    feedback/papers/2026/11/30/<first id>-<16 digits>.jsonl.gz      some corrections of one classifier, never changed

A file holds one JSON object per line, sorted by id. The digits are of the SHA-256 of the lines before compression, so the
same rows have the same key whatever compresses them, and a reader notices a file that was changed. A correction is withdrawn
by another row with its id, and stored a second time by mistake without effect. Knows no storage.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import zlib
from collections.abc import Callable, Hashable, Iterable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Literal, Self, TypeVar

from pydantic import AfterValidator, AwareDatetime, Field, ValidationError, model_validator

from model.escaping import printable
from model.fields import Name, Share, Strict, as_end_of_sentence

FOLDER = "feedback"
ENDING = ".jsonl.gz"
NAME_SHA256_DIGITS = 16
NAME = re.compile(rf"[^/]+-([0-9a-f]{{{NAME_SHA256_DIGITS}}}){re.escape(ENDING)}")
MAX_FILE_BYTES = 2**30  # of the lines of a file
MAX_SHOWN_CHARACTERS = 60  # of a value, in a message


class CorrectionsRejected(Exception):
    """A file is cut off, altered, or not a file of corrections; the message names its key and the line."""


class Source(StrEnum):
    """Occasion of a correction. Only audits are drawn at random, so only they may be used to estimate a score."""

    QUEUE = "queue"
    AUDIT = "audit"
    VOLUNTEER = "volunteer"
    PROGRAM = "program"


def _in_unicode(text: str) -> str:
    if any("\ud800" <= each <= "\udfff" for each in text):
        raise ValueError("expected Unicode, found half of a surrogate pair")
    return text


def _sorted_labels(labels: tuple[str, ...]) -> tuple[str, ...]:
    if any(not label.strip() for label in labels):
        raise ValueError("expected names of labels, found an empty one")
    return tuple(sorted(set(labels)))


def _in_utc(time: datetime) -> datetime:
    return time.astimezone(UTC)


Text = Annotated[str, AfterValidator(_in_unicode)]
Labels = Annotated[tuple[Text, ...], AfterValidator(_sorted_labels)]


class Correction(Strict):
    """Labels that a person, or a program, gives a text in place of the predicted ones; a row of a file."""

    schema_version: Literal[1] = 1
    id: str = Field(pattern=r"^[A-Za-z0-9][-A-Za-z0-9_]{0,127}$", description="of the correction, ascending with time")
    prediction_id: Text | None = Field(default=None, description="none: the prediction was not kept")
    text: Text
    predicted: Labels | None = Field(default=None, description="labels that the version gave; none: not known")
    scores: dict[Text, Share] = Field(default={}, description="probabilities of labels, as the version answered")
    thresholds: dict[Text, Share] = Field(default={}, description="thresholds of these labels")
    version: Name | None = None
    labels: Labels = Field(description="all labels of the text, none if it has none")
    comment: Text | None = None
    author: Text = Field(min_length=1)
    time: Annotated[AwareDatetime, AfterValidator(_in_utc)]
    source: Source
    inclusion_probability: float | None = Field(
        default=None, gt=0, le=1, description="probability with which the text was drawn; none: it was not drawn at random"
    )
    predictions_shown: bool = Field(description="whether the author saw the predicted labels")
    withdrawn: bool = False

    @model_validator(mode="after")
    def _audits_are_drawn(self) -> Self:
        if self.source is Source.AUDIT and self.inclusion_probability is None:
            raise ValueError("inclusion_probability is missing: expected a number, since source is audit")
        return self

    def line(self) -> bytes:
        """Return the row as its line in a file, without the line end. Equal rows have equal lines."""
        return json.dumps(self.model_dump(mode="json"), ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def text_key(text: str) -> str:
    """Return what two texts have in common that count as one: all their characters, but for blanks and line ends."""
    return " ".join(text.split())


def corrections_file(classifier: str, corrections: Iterable[Correction]) -> tuple[str, bytes]:
    """Return the key and the content of a file with these corrections. Same corrections, same key and content.

    Raises ValueError if there are none.
    """
    rows = sorted({(each.id, each.line()): each for each in corrections}.items())
    if not rows:
        raise ValueError("a file needs a correction")
    (_, first), *_ = rows
    content = b"".join(line + b"\n" for (_, line), _ in rows)
    name = f"{first.id}-{_digits(content)}{ENDING}"
    buffer = io.BytesIO()
    with gzip.GzipFile("", "wb", compresslevel=9, fileobj=buffer, mtime=0) as packed:  # gzip.compress names the system
        packed.write(content)
    return f"{FOLDER}/{classifier}/{first.time:%Y/%m/%d}/{name}", buffer.getvalue()


def read_corrections_file(key: str, content: bytes) -> tuple[Correction, ...]:
    """Return the rows of a file, in order. key: its key, or the end of it. Raises CorrectionsRejected, naming the key."""
    shown = printable(key)
    named = NAME.fullmatch(key.rpartition("/")[2])
    if named is None:
        raise CorrectionsRejected(f"{shown}: expected a name such as ID-{'0' * NAME_SHA256_DIGITS}{ENDING}")
    lines = _unpacked(shown, content)
    if _digits(lines) != named[1]:
        raise CorrectionsRejected(f"{shown}: its lines have the SHA-256 {_digits(lines)}…, expected the {named[1]}… of its name")
    return tuple(_parsed(f"{shown}: line {number:,}", line) for number, line in enumerate(lines.splitlines(), start=1))


def latest(corrections: Iterable[Correction]) -> tuple[Correction, ...]:
    """Return the latest row for each text and id, withdrawn ones too. The order of the rows given does not matter."""
    return _latest_by(lambda each: (each.text, each.id), corrections)


def in_force(corrections: Iterable[Correction]) -> tuple[Correction, ...]:
    """Return the latest correction for each text that is not withdrawn, by `text_key`. Their order is always the same."""
    standing = (each for each in latest(corrections) if not each.withdrawn)
    return _latest_by(lambda each: text_key(each.text), standing)


Key = TypeVar("Key", bound=Hashable)


def _latest_by(key: Callable[[Correction], Key], corrections: Iterable[Correction]) -> tuple[Correction, ...]:
    found: dict[Key, Correction] = {}
    for each in corrections:
        other = found.setdefault(key(each), each)
        if _age(each) > _age(other) or (_age(each) == _age(other) and each.line() > other.line()):
            found[key(each)] = each
    return tuple(sorted(found.values(), key=_age))


def _age(correction: Correction) -> tuple[datetime, bool, str, str]:
    """Return what orders rows by time, and rows of one time always in the same way, withdrawn ones last."""
    return correction.time, correction.withdrawn, correction.id, correction.text


def _digits(lines: bytes) -> str:
    return hashlib.sha256(lines).hexdigest()[:NAME_SHA256_DIGITS]


def _unpacked(shown: str, content: bytes) -> bytes:
    if not content:  # an empty gzip file to Python
        raise CorrectionsRejected(f"{shown}: holds no bytes")
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as packed:
            lines = packed.read(MAX_FILE_BYTES + 1)
    except EOFError as error:
        raise CorrectionsRejected(f"{shown}: cut off after {len(content):,} bytes") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise CorrectionsRejected(f"{shown}: not a whole gzip file: {error}") from error
    if len(lines) > MAX_FILE_BYTES:
        raise CorrectionsRejected(f"{shown}: has more than {MAX_FILE_BYTES:,} bytes of lines")
    return lines


def _parsed(where: str, line: bytes) -> Correction:
    try:
        return Correction.model_validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"])) or "the row"
        found = "" if first["type"] == "missing" else f" is {printable(repr(first['input'])[:MAX_SHOWN_CHARACTERS])}"
        raise CorrectionsRejected(f"{where}: {field}{found}: {as_end_of_sentence(first['msg'])}") from error
