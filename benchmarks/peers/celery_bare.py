"""Celery with its best settings against losses, and nothing beside it: the peer of the gateway.

    celery -A celery_bare worker    (in benchmarks/peers/)

PEER_REDIS and PEER_PREDICTOR name Redis and the predictor's inference address. The task asks the predictor, and adds its answer
to the list `answer:NUMBER`; so a task that runs twice has two.
"""

from __future__ import annotations

import json
import os

import httpx
import redis
from celery import Celery, Task

VISIBILITY_SECONDS = 5
app = Celery("bare", broker=os.environ["PEER_REDIS"])
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    task_ignore_result=True,
    broker_connection_max_retries=None,
    broker_connection_retry_on_startup=True,
    worker_pool="threads",
    worker_concurrency=8,
    visibility_timeout=VISIBILITY_SECONDS,
    broker_transport_options={
        "visibility_timeout": VISIBILITY_SECONDS,
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
        "health_check_interval": 5,
        "socket_keepalive": True,
    },
    worker_enable_remote_control=False,
)
store = redis.Redis.from_url(os.environ["PEER_REDIS"])
client = httpx.Client(timeout=VISIBILITY_SECONDS - 1)


@app.task(name="ask", bind=True, max_retries=None)  # type: ignore[untyped-decorator]
def ask(self: Task, number: int, text: str) -> None:
    """Ask the predictor and keep the answer; try again later if that fails."""
    body = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": [text]}]}
    try:
        response = client.post(os.environ["PEER_PREDICTOR"], json=body)
        response.raise_for_status()
        outputs = {each["name"]: each["data"] for each in response.json()["outputs"]}
        store.rpush(f"answer:{number}", json.dumps([label for label in outputs["labels"] if label]))
    except (httpx.HTTPError, redis.RedisError) as error:
        raise self.retry(exc=error, countdown=1) from error
