"""The gateway against its own OpenAPI document: whatever a client sends, in whatever order, the answer is a documented one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.gateway import config, running
from tests.support.redis import PROGRAM, redis_server
from tests.support.servers import RunningServer

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="neither valkey-server nor redis-server is installed")

CHECKS = ",".join(
    (
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
        "use_after_free",
        "ensure_resource_availability",
        "unsupported_method",
    )
)
BOUNDS = ("--phases=examples,fuzzing,stateful", "--max-examples=10", "--seed=1", "--no-shrink", "--generation-database=none")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, papers_predictor: RunningServer) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("openapi")
    with redis_server(folder) as redis:
        gateway = config(folder, redis.address, papers_predictor.rest, max_wait_seconds=1)
        with running("worker", gateway, folder / "worker.log"), running("api", gateway, folder / "api.log") as api:
            yield api.address


def test_any_sequence_of_requests_gets_documented_answers_and_no_internal_error(address: str, tmp_path: Path) -> None:
    """Schemathesis follows the document's links: tasks are submitted, read, followed, erased, and read again."""
    document = httpx.get(f"{address}/openapi.json").json()
    # What no document can know: the classifiers of this gateway.
    document["components"]["schemas"]["SubmissionBody"]["properties"]["classifier"] = {"enum": ["papers", None]}
    (tmp_path / "openapi.json").write_text(json.dumps(document))
    command = [sys.executable, "-m", "schemathesis.cli", "run", "openapi.json", f"--url={address}", f"--checks={CHECKS}", *BOUNDS]

    ended = subprocess.run([*command, "--no-color"], cwd=tmp_path, capture_output=True, text=True, check=False)
    metrics = httpx.get(f"{address}/metrics").text

    assert ended.returncode == 0, ended.stdout
    for reached in ('route="/api/predict/"', 'route="/api/prediction/{id}"', 'route="/api/prediction/{id}/events"'):
        assert reached in metrics
    for status in (200, 202, 204, 410, 422):
        assert f'code="{status}"' in metrics
