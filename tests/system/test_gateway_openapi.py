"""The gateway against its own OpenAPI document: whatever a client sends, in whatever order, the answer is a documented one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tests.support.gateway import config, running
from tests.support.redis import PROGRAM, redis_server
from tests.support.servers import RunningServer

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="neither valkey-server nor redis-server is installed")

CHECKS = {
    "positive_data_acceptance": {"expected-statuses": ["2xx", "404", "410"]},  # a task may be gone
    "negative_data_rejection": {"enabled": False},  # unknown parameters and preferences are ignored, as HTTP wants it
}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, papers_predictor: RunningServer) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("openapi")
    with redis_server(folder) as redis:
        gateway = config(folder, redis.address, papers_predictor.rest, max_wait_seconds=1)
        with running("worker", gateway, folder / "worker.log"), running("api", gateway, folder / "api.log") as api:
            yield api.address


def document_of(address: str) -> dict[str, Any]:
    """Return the document with what none can know: the classifiers of this gateway, its hosts, and that it needs no token."""
    document: dict[str, Any] = httpx.get(f"{address}/openapi.json").json()
    known = {"classifier": {"enum": ["papers", None]}, "webhook": {"type": "null"}}
    document["components"]["schemas"]["SubmissionBody"]["properties"] |= known
    for operation in (each for path in document["paths"].values() for each in path.values()):
        operation.pop("security", None)
    return document


def test_any_sequence_of_requests_gets_documented_answers_and_no_internal_error(address: str) -> None:
    """Follow the document's links: tasks are submitted, read, followed, erased, and read again."""
    checks = SchemathesisConfig.from_dict({"base-url": address, "checks": CHECKS})
    schema = schemathesis.openapi.from_dict(document_of(address), config=checks)

    class Client(schema.as_state_machine()):  # type: ignore[misc]
        """Client that tries what the document allows, and what it does not."""

        def validate_response(self, response: schemathesis.Response, case: schemathesis.Case, **arguments: Any) -> None:
            reused = "idempotency-key-reused" in response.text  # right for its form, and yet refused
            excluded = [positive_data_acceptance] if reused else []
            case.validate_response(response, excluded_checks=excluded, transport_kwargs=arguments)

    bounds = settings(
        max_examples=20, stateful_step_count=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    run_state_machine_as_test(Client, settings=bounds)

    metrics = httpx.get(f"{address}/metrics").text
    for reached in ('route="/api/predict/"', 'route="/api/prediction/{id}"', 'route="/api/prediction/{id}/events"', 'code="410"'):
        assert reached in metrics
