"""Webhooks of the gateway: signed, to allowed hosts only, and each outcome sent at least once, whatever fails."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpcore
import httpx
import pytest
from standardwebhooks import Webhook

from gateway.config import GatewayConfig
from gateway.records.keys import TASK, WEBHOOKS
from gateway.webhooks.addresses import AddressRefused, CheckedNetwork
from tests.support.gateway import GatewayProcess, answer, config, problem, running, wait_until
from tests.support.receiver import Received, Receiver, receiving
from tests.support.redis import RedisProcess
from tests.support.servers import RunningServer

SECRET = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    with receiving(tmp_path) as server:
        yield server


@pytest.fixture
def settings(tmp_path: Path, redis: RedisProcess, papers_predictor: RunningServer, receiver: Receiver) -> GatewayConfig:
    secret = tmp_path / "webhook-secret"
    secret.write_text(SECRET)
    hosts = {"webhook_hosts": (receiver.host,), "webhook_secret_file": secret}
    return config(tmp_path, redis.address, papers_predictor.rest, max_characters=2_000_000, **hosts)


@pytest.fixture
def client(tmp_path: Path, settings: GatewayConfig) -> Iterator[httpx.Client]:
    with running("api", settings, tmp_path / "api.log") as api, httpx.Client(base_url=api.address, timeout=40) as client:
        yield client


@contextmanager
def worker(settings: GatewayConfig, receiver: Receiver, log: Path) -> Iterator[GatewayProcess]:
    with running("worker", settings, log, environment={"SSL_CERT_FILE": str(receiver.certificate)}) as process:
        yield process


def submitted(client: httpx.Client, receiver: Receiver, text: str = "cs.LG") -> str:
    response = client.post("/api/predict/", json={"article": text, "webhook": receiver.address})
    assert response.status_code == 202, response.text
    return str(response.json()["task_id"])


def verified(received: Received) -> dict[str, Any]:
    """Return the body, if its signature is right."""
    return dict(Webhook(SECRET).verify(received.body.decode(), received.headers))


def test_answers_and_failures_are_sent_signed_and_a_refused_webhook_makes_no_task(
    tmp_path: Path, settings: GatewayConfig, client: httpx.Client, receiver: Receiver, redis: RedisProcess
) -> None:
    with worker(settings, receiver, tmp_path / "worker.log"):
        good, bad = submitted(client, receiver), submitted(client, receiver, "x" * 1_500_000)
        bodies = {each["data"]["task_id"]: each for each in map(verified, wait_until(lambda: two(receiver)))}
        wait_until(lambda: not redis.client.exists(WEBHOOKS))

        assert bodies[good]["type"] == "prediction.success"
        assert bodies[good]["data"] == answer(client, good)
        assert bodies[bad]["type"] == "prediction.failed"
        assert bodies[bad]["data"] == client.get(f"/api/prediction/{bad}").json()
        assert {each.headers["webhook-id"] for each in receiver.received} == {good, bad}
        assert {each.path for each in receiver.received} == {"/hook"}

    tasks = redis.client.keys(f"{TASK}*")
    refused = client.post("/api/predict/", json={"article": "x", "webhook": "https://127.0.0.1/"})
    assert problem(refused) == (422, "webhook-refused")
    assert receiver.host in refused.json()["detail"]
    assert redis.client.keys(f"{TASK}*") == tasks


def two(receiver: Receiver) -> list[Received] | None:
    return receiver.received if len(receiver.received) == 2 else None


def test_a_webhook_that_is_not_taken_is_sent_again_and_no_redirect_is_followed(
    tmp_path: Path, settings: GatewayConfig, client: httpx.Client, receiver: Receiver, redis: RedisProcess
) -> None:
    receiver.statuses = [302, 500]
    task_id = submitted(client, receiver)
    with worker(settings, receiver, tmp_path / "worker.log"):
        wait_until(lambda: len(receiver.received) >= 3 and not redis.client.exists(WEBHOOKS))

    assert [each.path for each in receiver.received] == ["/hook"] * 3
    assert {each.headers["webhook-id"] for each in receiver.received} == {task_id}
    assert len({json.dumps(verified(each)) for each in receiver.received}) == 1


def test_a_webhook_outlives_its_worker_and_redis(
    tmp_path: Path, settings: GatewayConfig, client: httpx.Client, receiver: Receiver, redis: RedisProcess
) -> None:
    """The worker is killed while the receiver has not answered: it is sent again, at least once."""
    receiver.answers.clear()
    task_id = submitted(client, receiver)
    with worker(settings, receiver, tmp_path / "first.log"):
        wait_until(lambda: receiver.received)
    redis.kill()
    redis.start()
    assert redis.client.zadd(WEBHOOKS, {task_id: 1}, xx=True, ch=True), "it is still there; its lease is over"
    receiver.answers.set()
    with worker(settings, receiver, tmp_path / "second.log"):
        wait_until(lambda: len(receiver.received) == 2 and not redis.client.exists(WEBHOOKS))

    assert [each.headers["webhook-id"] for each in receiver.received] == [task_id] * 2


def test_a_receiver_that_says_gone_or_whose_task_is_erased_gets_no_more(
    tmp_path: Path, settings: GatewayConfig, client: httpx.Client, receiver: Receiver, redis: RedisProcess
) -> None:
    receiver.statuses = [410]
    with ExitStack() as stack:
        stack.enter_context(worker(settings, receiver, tmp_path / "worker.log"))
        submitted(client, receiver)
        wait_until(lambda: receiver.received and not redis.client.exists(WEBHOOKS))

        receiver.statuses = [500] * 100
        erased = submitted(client, receiver)
        wait_until(lambda: len(receiver.received) == 2)
        assert client.delete(f"/api/prediction/{erased}").status_code == 204
        wait_until(lambda: not redis.client.exists(WEBHOOKS))


@pytest.mark.parametrize("host", ["does-not-exist.invalid", f"{'x' * 64}.example.org"], ids=["unknown", "too-long"])
def test_a_name_without_an_address_is_a_lost_connection(host: str) -> None:
    with pytest.raises(httpcore.ConnectError, match="has no address"):
        CheckedNetwork(lambda *_: True).connect_tcp(host, 443)


def test_a_name_that_leads_into_the_network_is_dialled_only_if_it_is_named(receiver: Receiver) -> None:
    with pytest.raises(AddressRefused):
        CheckedNetwork(lambda *_: False).connect_tcp("localhost", receiver.port)

    stream: httpcore.NetworkStream = CheckedNetwork(lambda *_: True).connect_tcp("localhost", receiver.port)
    stream.close()
