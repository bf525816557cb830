"""Measurements of served classifiers from Prometheus: drift, and the number of corrections by people."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Protocol

from urllib3.util import parse_url

from k8s.controller.clients.http_json import NoAnswer, NoConnection, get_json
from k8s.controller.objects import names
from k8s.controller.objects.ports import PREDICTOR_HTTP_PORT

QUERY_SECONDS = 10.0  # limit of a query
PAUSE_SECONDS = 30.0  # seconds without queries after a failed connection, so that reconciliations do not wait for each of them
MIN_WINDOW_TEXTS = 200  # texts in a Pod's window: with fewer, the drift index is noise

# Of the Pods that serve this version: their series are those of the same target, that is of the scrape's own labels. Where the
# scrape has a label `pod`, it has to be one of the classifier's Deployment: another Pod may say anything of itself.
DRIFT = """max(
  {{__name__=~"labelwright_drift_label_psi|labelwright_drift_token_length_psi", namespace={namespace}}}
  and on (namespace, instance) labelwright_drift_window_texts{{namespace={namespace}}} >= {least}
  and on (namespace, instance) labelwright_model_info{{{version}, pod=~{pod}}}
)"""
TARGETS = "count(labelwright_model_info{{{version}}})"
# The gateway says itself which namespace is meant. Where a scrape does not honour that, its own comes first, and the gateway's is
# called exported_namespace. Any Pod that is scraped may count corrections of any namespace: only the gateway's job is believed.
CORRECTIONS = """sum(
  increase(labelwright_feedback_corrections_total{{job=~{job}, exported_namespace={namespace}, {what}}}[{seconds}s])
  or
  increase(labelwright_feedback_corrections_total{{job=~{job}, exported_namespace="", namespace={namespace}, {what}}}[{seconds}s])
)"""
GATEWAY_JOB = "labelwright-gateway-worker"  # the job of the gateway's workers, as a scrape configuration calls it


class MeasurementsUnavailable(Exception):
    """Failed query. The message is a sentence for people."""


class Measurements(Protocol):
    """Recent measurements. Every method may raise MeasurementsUnavailable."""

    def drift(self, namespace: str, classifier: str, version: str) -> float | None:
        """Return the population stability index of the version's requests against the test part; 0 means no drift.

        The largest value of the Pods that have seen enough texts counts. None: no Pod has yet.
        """

    def unseen(self, namespace: str, classifier: str, version: str) -> str | None:
        """Return why Prometheus has no series of this version's Pods; None if it has some."""

    def corrections(self, namespace: str, classifier: str, since: datetime) -> int | None:
        """Return the number of corrections of the classifier since then; None if there is no such series."""


class Prometheus:
    """Measurements from a server with Prometheus' HTTP API. Any thread may call.

    url: the part before `/api/v1`; may contain credentials. gateway: regular expression for the label `job` of the gateway,
    which counts corrections. Pods are distinguished by the labels `namespace` and `instance` of the scrape configuration,
    which the Prometheus operator sets. Raises ValueError for an invalid address.
    """

    def __init__(
        self,
        url: str,
        *,
        gateway: str = GATEWAY_JOB,
        seconds: float = QUERY_SECONDS,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = f"{url.rstrip('/')}/api/v1/query"
        self._name = f"the Prometheus at {parse_url(url).host}"
        self._gateway = gateway
        self._seconds = seconds
        self._now = now
        self._clock = clock
        self._silent: tuple[float, str] = (-math.inf, "")  # end of the pause, and its reason

    def drift(self, namespace: str, classifier: str, version: str) -> float | None:
        pod = _quoted(f"({re.escape(names.deployment(classifier))}-.+)?")
        told = {"namespace": _quoted(namespace), "version": f"namespace={_quoted(namespace)}, {_of(classifier, version)}"}
        return self._ask(DRIFT.format(**told, pod=pod, least=MIN_WINDOW_TEXTS))

    def unseen(self, namespace: str, classifier: str, version: str) -> str | None:
        anywhere = _of(classifier, version)
        if self._ask(TARGETS.format(version=f"namespace={_quoted(namespace)}, {anywhere}")) is not None:
            return None
        if self._ask(TARGETS.format(version=anywhere)) is not None:
            return (
                f"{self._name} has series of {version}, but none with the label namespace={namespace!r}: expected the labels "
                "`namespace` and `instance` from the scrape configuration"
            )
        return (
            f"{self._name} has no series of {version}: expected it to scrape port {PREDICTOR_HTTP_PORT}, /metrics, of the "
            f"Pods with the label {names.SERVED_BY}={classifier}"
        )

    def corrections(self, namespace: str, classifier: str, since: datetime) -> int | None:
        seconds = max(1, math.ceil((self._now() - since).total_seconds()))
        what = f"classifier={_quoted(classifier)}"
        question = CORRECTIONS.format(namespace=_quoted(namespace), job=_quoted(self._gateway), what=what, seconds=seconds)
        found = self._ask(question)
        return None if found is None else round(found)

    def _ask(self, expression: str) -> float | None:
        """Return the expression's only value, None if it has none or it is not finite."""
        until, why = self._silent
        if self._clock() < until:
            raise MeasurementsUnavailable(why)
        try:
            status, answer = get_json(self._url, fields={"query": expression}, seconds=self._seconds)
        except NoAnswer as error:
            why = f"{self._name} cannot be asked: {error}"
            if isinstance(error, NoConnection):  # after a slow query, the next may be fast
                self._silent = self._clock() + PAUSE_SECONDS, why
            raise MeasurementsUnavailable(why) from error
        if status != 200 or answer.get("status") != "success":
            reason = str(answer.get("error", "without a reason"))[:300]
            raise MeasurementsUnavailable(f"{self._name} answers {status}: {reason}")
        try:
            found = _value(answer)
        except ValueError as error:
            raise MeasurementsUnavailable(f"{self._name} gave an answer that cannot be read: {error}") from error
        return found if found is not None and math.isfinite(found) else None


def _value(answer: dict[str, Any]) -> float | None:
    match answer:
        case {"data": {"resultType": "vector", "result": []}}:
            return None
        case {"data": {"resultType": "vector", "result": [{"value": [_, str(text)]}]}}:
            return float(text)
    raise ValueError("expected one value: does it speak Prometheus' API?")


def _of(classifier: str, version: str) -> str:
    return f"classifier={_quoted(classifier)}, version={_quoted(version)}"


def _quoted(text: str) -> str:
    """Return the text as a string of the query language, which has JSON's escapes."""
    return json.dumps(text)
