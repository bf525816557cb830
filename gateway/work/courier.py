"""Courier: threads of a worker that send webhooks with the outcomes of tasks, each at least once."""

from __future__ import annotations

import json
import logging
from functools import partial

from gateway.config import GatewayConfig, SettingRejected
from gateway.outcome_bodies import AnswerBody, moment, problem_document
from gateway.records.record import Record
from gateway.records.webhooks import LONGEST_DELAY_SECONDS, DueWebhook, Webhooks
from gateway.repeating import Repeating
from gateway.webhooks.allow_list import AllowList
from gateway.webhooks.sender import NotDelivered, Sender, Unwanted
from gateway.webhooks.signature import SecretsRejected, read_secrets
from gateway.work.backoff import delay_seconds
from gateway.work.metrics import WorkerMetrics

THREADS = 4
LOOK_SECONDS = 0.5

logger = logging.getLogger(__name__)


class Courier:
    """Courier with its threads. There are none if no host is allowed."""

    def __init__(self, webhooks: Webhooks, config: GatewayConfig, metrics: WorkerMetrics) -> None:
        self._webhooks = webhooks
        self._patience = config.patience_seconds
        self._metrics = metrics
        sender = _sender(config) if config.webhook_hosts else None
        # If the process ends during an attempt, another worker repeats it.
        self.threads = [Repeating("courier", partial(self._step, sender), pause=LOOK_SECONDS) for _ in range(THREADS) if sender]

    def _step(self, sender: Sender) -> bool:
        """Send the webhook that has been due for longest. Return whether there was one."""
        webhook = self._webhooks.claim()
        if webhook is not None:
            self._send(sender, webhook)
        return webhook is not None

    def _send(self, sender: Sender, webhook: DueWebhook) -> None:
        fields = {"task_id": webhook.record.id, "request_id": webhook.request_id, "attempt": webhook.number}
        try:
            sender.send(webhook.address, webhook_id=webhook.record.id, body=body_of(webhook.record))
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
