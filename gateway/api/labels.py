"""Labels that the predictors publish for their classifiers, and the check of a correction's labels."""

from __future__ import annotations

import difflib
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from gateway.api.problems import Problem, retry_later
from model.escaping import printable

FRESH_SECONDS = 30.0
PREDICTOR_SECONDS = 2.0
MOST_NAMED = 10  # labels in a sentence
MAX_LABEL_CHARACTERS = 200  # of one that the classifier lacks


@dataclass(frozen=True)
class LabelRule:
    """Labels of the served version. single: a text has at most one; required: a text has at least one."""

    labels: frozenset[str]
    single: bool
    required: bool


class Labels:
    """Label rules by classifier. Each is read again after FRESH_SECONDS, and kept while the predictor is away."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[str, tuple[float, LabelRule]] = {}
        self._client = httpx.AsyncClient(timeout=PREDICTOR_SECONDS, trust_env=False)

    async def close(self) -> None:
        await self._client.aclose()

    async def of(self, classifier: str, address: str) -> LabelRule:
        """Return the classifier's rule. Raises Problem 503 if its predictor has not answered yet."""
        asked, known = self._known.get(classifier, (0.0, None))
        if known is not None and self._clock() < asked + FRESH_SECONDS:
            return known
        try:
            response = await self._client.get(f"{address}/v2/models/{classifier}")
            rule = _rule(response.raise_for_status().json()["parameters"])
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            if known is not None:
                self._known[classifier] = self._clock(), known  # so that a predictor that hangs delays few requests
                return known
            detail = f"The predictor of {classifier} has not published its labels yet. Send the request again later."
            raise retry_later(503, "labels-unknown", detail, seconds=5) from error
        self._known[classifier] = self._clock(), rule
        return rule


def check(labels: Sequence[str], rule: LabelRule, *, predicted: Iterable[str], allow_new: bool) -> None:
    """Raise Problem 422 if a text of the classifier cannot have these labels. predicted: further labels that are accepted."""
    known = rule.labels.union(predicted)
    for label in labels:
        if label not in known and not allow_new:
            raise _refused(f"labels has {_quoted(label)}: expected labels of the classifier, {_suggested(label, known)}.")
        if label not in known and (label != label.strip() or not 0 < len(label) <= MAX_LABEL_CHARACTERS):
            expected = f"expected 1 to {MAX_LABEL_CHARACTERS} characters, without blanks at the ends"
            raise _refused(f"labels has the new label {_quoted(label)}: {expected}.")
    if rule.single and len(set(labels)) > 1:
        raise _refused(f"labels has {len(set(labels))} labels: expected one, since each text of the classifier has one.")
    if rule.required and not labels:
        raise _refused("labels is empty: expected at least one, since each text of the classifier has one.")


def _rule(parameters: Mapping[str, Any]) -> LabelRule:
    return LabelRule(
        labels=frozenset(map(str, parameters["labels"])),
        single=parameters["task"] == "single-label",
        required=bool(parameters.get("label_required", True)),
    )


def _refused(detail: str) -> Problem:
    return Problem(422, "labels-refused", detail)


def _suggested(label: str, known: Collection[str]) -> str:
    names = sorted(known)
    named = names if len(names) <= MOST_NAMED else difflib.get_close_matches(label, names, MOST_NAMED, cutoff=0.4)
    return printable(f"such as {', '.join(named)}" if named else f"of which it has {len(names)}")


def _quoted(label: str) -> str:
    return printable(f'"{label[:MAX_LABEL_CHARACTERS]}"')
