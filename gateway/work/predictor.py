"""Client of a predictor: the open inference protocol (v2) over REST, and what each response means for the task."""

from __future__ import annotations

from collections.abc import Mapping
from threading import Lock
from typing import Any

import httpx

from gateway.records.record import Answer, Prediction
from model.escaping import printable
from model.open_inference import NO_ANSWER, question, read_answer

REFUSED = {400, 413, 422}  # because of the texts: the same request would get the same response
FAILED = {500}  # an internal error, perhaps caused by these texts
MAX_DETAIL_CHARACTERS = 300


class Refused(Exception):
    """The predictor refuses these texts, and would do so again."""


class Failed(Exception):
    """The request failed, perhaps because of these texts. It is repeated up to `max_failures`."""


class TimedOut(Failed):
    """The predictor did not answer in time, because of these texts or because it hangs."""


class Unavailable(Exception):
    """The predictor is away or busy, not because of the texts. retry_after: seconds that it asks to wait."""

    def __init__(self, message: str, *, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class PredictorClient:
    """Client of one classifier's predictor, for threads."""

    def __init__(self, name: str, address: str, *, request_seconds: float, connections: int) -> None:
        self._model = f"{address}/v2/models/{name}"
        limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
        timeout = httpx.Timeout(request_seconds, connect=min(3.0, request_seconds))
        self._client = httpx.Client(timeout=timeout, limits=limits, trust_env=False)
        self._thresholds: dict[str, Mapping[str, float] | None] = {}  # by version, which never changes
        self._lock = Lock()

    def ask(self, texts: tuple[str, ...], *, request_id: str) -> Answer:
        """Return the answer to these texts. Raises Refused, Failed, TimedOut, Unavailable."""
        document = self._send("POST", f"{self._model}/infer", request_id, json={"id": request_id, **question(texts)})
        try:
            version, rows = read_answer(document, texts=len(texts))
        except NO_ANSWER as error:
            raise Failed(f"{self._model}/infer: the response is not an answer of a classifier") from error
        thresholds = self._thresholds_of(version, request_id)
        return Answer(version=version, predictions=tuple(_prediction(row, thresholds) for row in rows))

    def _thresholds_of(self, version: str, request_id: str) -> Mapping[str, float] | None:
        with self._lock:
            if version in self._thresholds:
                return self._thresholds[version]
        parameters = self._send("GET", f"{self._model}/versions/{version}", request_id).get("parameters", {})
        labels, values = parameters.get("labels"), parameters.get("thresholds")
        known = dict(zip(labels, values, strict=True)) if labels and values else None
        with self._lock:
            self._thresholds[version] = known
        return known

    def _send(self, method: str, url: str, request_id: str, **arguments: Any) -> dict[str, Any]:
        try:
            response = self._client.request(method, url, headers={"X-Request-ID": request_id}, **arguments)
        except httpx.ReadTimeout as error:
            raise TimedOut(f"{url}: no answer within {self._client.timeout.read:g} s") from error
        except httpx.HTTPError as error:
            raise Unavailable(f"{url}: {error}") from error
        if response.is_success:
            return _json(response, url)
        message = f"{url}: {response.status_code} {_detail(response)}"
        if response.status_code in REFUSED:
            raise Refused(_detail(response))
        if response.status_code in FAILED:
            raise Failed(message)
        raise Unavailable(message, retry_after=_seconds(response.headers.get("Retry-After")))


def _prediction(row: list[tuple[str, float]], thresholds: Mapping[str, float] | None) -> Prediction:
    labels = tuple(label for label, _ in row)
    return Prediction(
        labels=labels,
        scores=tuple(score for _, score in row),
        thresholds=None if thresholds is None else tuple(thresholds[label] for label in labels),
    )


def _json(response: httpx.Response, url: str) -> dict[str, Any]:
    try:
        document = response.json()
    except ValueError as error:
        raise Failed(f"{url}: the answer is not JSON") from error
    if not isinstance(document, dict):
        raise Failed(f"{url}: the answer is not a JSON object")
    return document


def _detail(response: httpx.Response) -> str:
    try:
        text = str(response.json()["error"])
    except (ValueError, KeyError, TypeError):
        text = response.text
    return printable(text[:MAX_DETAIL_CHARACTERS])


def _seconds(header: str | None) -> float:
    return float(header) if header and header.isdecimal() else 0.0
