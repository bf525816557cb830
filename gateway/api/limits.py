"""Limits of a submission: its size, and the states of Redis in which no submission is accepted."""

from __future__ import annotations

from gateway.api.problems import Problem, retry_later
from gateway.api.state import Shared
from gateway.api.submission_bodies import SubmissionBody
from gateway.classifiers.known import Classifiers
from gateway.records.record import Submission

MOST_NAMED = 20  # classifiers in a sentence


def require_room(parts: Shared) -> None:
    """Raise Problem 503 if Redis could lose a task, or its memory is full."""
    seen = parts.watch.seen
    if seen.redis_answers and seen.redis:
        raise retry_later(503, "store-not-durable", " ".join(seen.redis), seconds=30)
    if seen.memory_full:
        raise retry_later(503, "memory-full", "The memory for tasks is full. Send the request again later.", seconds=10)


def submission_of(body: SubmissionBody, parts: Shared, *, owner: str, request_id: str) -> Submission:
    """Return the submission. Raises Problem 413 if it is too large, 422 for a refused webhook, and as `classifier_of`."""
    config, classifier = parts.config, classifier_of(body.classifier, parts.classifiers)
    texts = body.all_texts()
    if len(texts) > config.max_texts:
        raise Problem(413, "too-many-texts", f"texts has {len(texts)} texts: expected at most {config.max_texts}.")
    longest, total = max(map(len, texts)), sum(map(len, texts))
    if longest > config.max_characters:
        raise Problem(413, "text-too-long", f"A text has {longest} characters: expected at most {config.max_characters}.")
    if total > config.max_request_characters:
        expected = f"expected at most {config.max_request_characters} in all."
        raise Problem(413, "texts-too-long", f"The texts have {total} characters: {expected}")
    if body.webhook is not None and (refusal := parts.allow_list.refusal(body.webhook)):
        raise Problem(422, "webhook-refused", f"webhook is not allowed: {refusal}.")
    several = body.texts is not None
    return Submission(classifier, texts, several=several, owner=owner, request_id=request_id, webhook=body.webhook)


def classifier_of(named: str | None, known: Classifiers) -> str:
    """Return the named classifier, or the default one. Raises Problem 422; 503 if the namespace has not been read yet."""
    chosen = named or known.default
    if chosen is not None and chosen in known.addresses:
        return chosen
    if not known.are_complete:
        detail = "The classifiers of the namespace cannot be read yet. Send the request again."
        raise retry_later(503, "classifiers-unknown", detail, seconds=5)
    found = f'is "{chosen}"' if chosen else "is missing, and there is no default one"
    names = sorted(known.addresses)
    expected = f"expected one of {', '.join(names[:MOST_NAMED])}" if names else "there is none yet"
    raise Problem(422, "unknown-classifier", f"classifier {found}: {expected}.")
