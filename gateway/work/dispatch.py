"""Celery as the dispatcher: a hint wakes a thread of a worker, and names no task.

A hint may be lost, doubled or late: a thread claims the tasks that are due, and the sweeper sends missing hints. So hints need
none of Celery's guarantees: no late acknowledgement, no result, no retry, no schedule.
"""

from __future__ import annotations

from typing import Any

from celery import Celery
from celery.signals import setup_logging

from gateway.records.keys import HINTS

TASK_NAME = "labelwright.hint"
# No communication between workers: it would need more of Redis than a list.
WORKER_OPTIONS = ("--without-gossip", "--without-mingle", "--without-heartbeat")


def make_dispatcher(redis: str, *, concurrency: int = 1) -> Celery:
    """Return the Celery application that sends hints. It connects when it sends the first one."""
    app = Celery("labelwright", broker=redis, set_as_current=False)
    app.conf.update(
        task_default_queue=HINTS,
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        task_publish_retry=False,  # the sweeper repeats what could not be sent
        worker_pool="threads",  # a worker mostly waits for HTTP
        worker_concurrency=concurrency,
        worker_prefetch_multiplier=1,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,  # Redis may be away for longer than the default of 100
        broker_transport_options={
            "socket_connect_timeout": 3,
            "socket_timeout": 10,
            "socket_keepalive": True,
            "health_check_interval": 5,
        },
    )
    return app


def send_hint(app: Celery) -> None:
    """Send one hint. Raises an Exception of kombu or Redis if it cannot."""
    app.send_task(TASK_NAME, ignore_result=True)


@setup_logging.connect  # type: ignore[untyped-decorator]
def _keep_the_logging(**_: Any) -> None:
    """Keep Celery from configuring logging, which it does unless this signal has a receiver."""
