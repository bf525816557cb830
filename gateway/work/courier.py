"""Courier: threads of a worker that send webhooks with the outcomes of tasks, each at least once."""

from __future__ import annotations

import json
import logging
from threading import Event, Thread

from redis.exceptions import RedisError

from gateway.config import GatewayConfig, SettingRejected
from gateway.outcome_bodies import AnswerBody, moment, problem_document
from gateway.records.record import Record
from gateway.records.webhooks import LONGEST_DELAY_SECONDS, DueWebhook, Webhooks
from gateway.webhooks.allow_list import AllowList
from gateway.webhooks.sender import NotDelivered, Sender, Unwanted
from gateway.webhooks.signature import SecretsRejected, read_secrets
from gateway.work.backoff import delay_seconds
from gateway.work.metrics import WorkerMetrics

THREADS = 4
LOOK_SECONDS = 0.5

logger = logging.getLogger(__name__)


class Courier:
    """Threads that send due webhooks until they are stopped. They do not start if no host is allowed."""

    def __init__(self, webhooks: Webhooks, config: GatewayConfig, metrics: WorkerMetrics) -> None:
        self._webhooks = webhooks
        self._patience = config.patience_seconds
        self._metrics = metrics
        self._stopped = Event()
        self._sender = _sender(config) if config.webhook_hosts else None
        self._threads = [Thread(target=self._run, name=f"courier-{at}", daemon=True) for at in range(THREADS)]

    def start(self) -> None:
        if self._sender is not None:
            for thread in self._threads:
                thread.start()

    def stop(self) -> None:
        """Begin no further attempt. If the process ends during an attempt, another worker repeats it."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                webhook = self._webhooks.claim()
                if webhook is not None:
                    self._send(webhook)
                    continue
            except (RedisError, OSError) as error:
                logger.warning("the courier cannot reach Redis: %s", error)
            except Exception:
                logger.exception("the courier failed")
            self._stopped.wait(LOOK_SECONDS)

    def _send(self, webhook: DueWebhook) -> None:
        if self._sender is None:
            return
        fields = {"task_id": webhook.record.id, "request_id": webhook.request_id, "attempt": webhook.number}
        try:
            self._sender.send(webhook.address, webhook_id=webhook.record.id, body=body_of(webhook.record))
        except NotDelivered as error:
            logger.warning("a webhook was not delivered: %s", error, extra={"fields": fields})
            if webhook.age_seconds < self._patience:
                self._count("repeated")
                self._webhooks.defer(webhook, seconds=delay_seconds(webhook.number, longest=LONGEST_DELAY_SECONDS))
                return
            self._count("given-up")
        except Unwanted as error:
            logger.warning("a webhook is given up: %s", error, extra={"fields": fields})
            self._count("given-up")
        else:
            self._count("delivered")
        self._webhooks.end(webhook)

    def _count(self, outcome: str) -> None:
        self._metrics.webhooks.labels(outcome).inc()


def body_of(record: Record) -> bytes:
    """Return the body of the webhook for a task's outcome: type, timestamp and data, as in Standard Webhooks."""
    if record.failure is not None:
        failure = record.failure
        data: object = problem_document(failure.status, failure.kind, failure.detail, task_id=record.id)
    else:
        data = AnswerBody.of(record).model_dump(mode="json")
    finished = moment(record.finished or 0).isoformat()
    return json.dumps({"type": f"prediction.{record.state}", "timestamp": finished, "data": data}).encode()


def _sender(config: GatewayConfig) -> Sender:
    if config.webhook_secret_file is None:
        raise SettingRejected("--webhook-secret-file is missing: expected a file with the secret that signs webhooks")
    try:
        secrets = read_secrets(config.webhook_secret_file)
    except SecretsRejected as error:
        raise SettingRejected(str(error)) from error
    return Sender(AllowList(config.webhook_hosts), secrets, connections=THREADS)
