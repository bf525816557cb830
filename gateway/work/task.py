"""Work for one hint: claim the tasks that are due, ask their predictors, write the outcomes or give the tasks back."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from threading import Event

from gateway.config import GatewayConfig
from gateway.records.leases import Leases
from gateway.records.record import Answer, Claim, Failure
from gateway.work.backoff import delay_seconds
from gateway.work.metrics import WorkerMetrics
from gateway.work.predictor import Failed, Refused, TimedOut, Unavailable
from gateway.work.predictors import Predictors

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Deferred:
    """Task to give back. failed: counts towards `max_failures`."""

    reason: str  # unavailable, failed, breaker
    seconds: float
    failed: bool


class Work:
    """Work of one process, shared by its threads."""

    def __init__(self, leases: Leases, config: GatewayConfig, predictors: Predictors, metrics: WorkerMetrics) -> None:
        self._leases = leases
        self._config = config
        self._predictors = predictors
        self._metrics = metrics
        self._stopped = Event()

    def stop(self) -> None:
        """Claim no further task."""
        self._stopped.set()

    def do_what_is_due(self) -> None:
        """Work until no task is due, or one was given back. Raises redis.exceptions.RedisError.

        So while a predictor is away, a hint leads to one claim only. Otherwise the threads would claim and defer without a pause.
        """
        while not self._stopped.is_set():
            claim = self._leases.claim()
            if claim is None or not self._do(claim):
                return

    def _do(self, claim: Claim) -> bool:
        """Return whether the task has its outcome now."""
        if claim.lease_expired:
            self._metrics.expired_leases.inc()
        if claim.number == 1:
            self._metrics.age_seconds.observe(claim.age_seconds)
        outcome = self._give_up(claim) or self._ask(claim)
        if isinstance(outcome, Deferred):
            self._metrics.deferrals.labels(claim.classifier, outcome.reason).inc()
            self._leases.defer(claim, seconds=outcome.seconds, failed=outcome.failed)
            return False
        self._finish(claim, outcome)
        return True

    def _give_up(self, claim: Claim) -> Failure | None:
        if claim.failures >= self._config.max_failures:
            detail = f"The predictor failed {claim.failures} times on these texts."
            return Failure(status=502, kind="predictor-failed", detail=detail)
        if claim.age_seconds > self._config.patience_seconds:
            detail = f"The predictor was not available for {self._config.patience_seconds:g} s."
            return Failure(status=502, kind="predictor-unavailable", detail=detail)
        return None

    def _ask(self, claim: Claim) -> Answer | Failure | Deferred:
        reached = self._predictors.reach(claim.classifier)
        if reached is None:  # it was deleted, or this worker has other settings than the API
            return self._deferred(claim, "unavailable", f"no predictor of {claim.classifier} is known here")
        predictor, breaker = reached
        if not breaker.may_ask():
            return self._deferred(claim, "breaker", "")
        start = time.perf_counter()
        try:
            answer = predictor.ask(claim.texts, request_id=claim.request_id)
        except Refused as refusal:
            breaker.answered()
            return Failure(status=422, kind="texts-refused", detail=f"The predictor refuses the texts: {refusal}")
        except Failed as error:
            if isinstance(error, TimedOut):
                breaker.unavailable()
            return self._deferred(claim, "failed", str(error))
        except Unavailable as error:
            breaker.unavailable()
            return self._deferred(claim, "unavailable", str(error), asked=error.retry_after)
        finally:
            self._metrics.request_seconds.labels(claim.classifier).observe(time.perf_counter() - start)
        breaker.answered()
        return answer

    def _finish(self, claim: Claim, outcome: Answer | Failure) -> None:
        if not self._leases.finish(claim.id, outcome):
            self._metrics.second_answers.inc()
            return
        state = "success" if isinstance(outcome, Answer) else "failed"
        self._metrics.finished.labels(claim.classifier, state).inc()
        if isinstance(outcome, Failure):
            logger.warning("a task failed: %s", outcome.kind, extra={"fields": _fields(claim)})

    def _deferred(self, claim: Claim, reason: str, message: str, *, asked: float = 0.0) -> Deferred:
        if message:
            logger.warning("a task is given back: %s", message, extra={"fields": _fields(claim)})
        seconds = delay_seconds(claim.number, longest=self._config.max_delay_seconds, asked=asked)
        return Deferred(reason, seconds, failed=reason == "failed")


def _fields(claim: Claim) -> dict[str, object]:
    return {"task_id": claim.id, "request_id": claim.request_id, "classifier": claim.classifier, "claim": claim.number}
