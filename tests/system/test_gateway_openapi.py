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
from tests.support.servers import serving
from tests.support.versions import LABELS, make_version

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="neither valkey-server nor redis-server is installed")

IGNORED = ("feedback-token", "prefer")  # headers: any value of the second is right, and no invented one of the first
CORRECTING = ('route="/api/feedback/"', 'route="/api/feedback/{id}"')
# A task may be gone whatever the rest of the request is.
CHECKS = {
    "positive_data_acceptance": {"expected-statuses": ["2xx", "404", "409", "410"]},
    "negative_data_rejection": {"expected-statuses": ["400", "404", "405", "409", "410", "413", "422"]},
}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("openapi")
    with serving(make_version(folder / "v1"), folder / "predictor.log") as predictor, redis_server(folder) as redis:
        gateway = config(folder, redis.address, predictor.rest, max_wait_seconds=1, feedback_uri=str(folder / "corrections"))
        with running("worker", gateway, folder / "worker.log"), running("api", gateway, folder / "api.log") as api:
            yield api.address


def document_of(address: str) -> dict[str, Any]:
    """Return the document with what none can know: this gateway's classifiers, labels and hosts, and that it needs no token."""
    document: dict[str, Any] = httpx.get(f"{address}/openapi.json").json()
    known = {"classifier": {"enum": ["papers", None]}, "webhook": {"type": "null"}}
    schemas = document["components"]["schemas"]
    schemas["SubmissionBody"]["properties"] |= known
    labels = {"type": "array", "items": {"enum": list(LABELS)}, "minItems": 1}
    schemas["TextCorrectionBody"]["properties"] |= {"classifier": known["classifier"], "labels": labels}
    schemas["PredictionCorrectionBody"]["properties"] |= {"labels": labels, "position": {"type": "null"}}
    for operation in (each for path in document["paths"].values() for each in path.values()):
        operation.pop("security", None)
        parameters = operation.get("parameters", [])
        operation["parameters"] = [each for each in parameters if each["name"] not in IGNORED]
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
    for reached in (
        'route="/api/predict/"',
        'route="/api/prediction/{id}"',
        'route="/api/prediction/{id}/events"',
        'code="410"',
        *CORRECTING,
    ):
        assert reached in metrics
