"""The gateway against its own OpenAPI document: whatever a client sends, in whatever order, the answer is a documented one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.gateway import config, running
from tests.support.redis import redis_server
from tests.support.servers import RunningServer
from tests.support.versions import LABELS

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "use_after_free",
    "ensure_resource_availability",
    "unsupported_method",
)
CORRECTIONS = ("/api/feedback/", "/api/feedback/{id}")
BOUNDS = ("--phases=examples,fuzzing,stateful", "--max-examples=10", "--seed=1", "--no-shrink", "--generation-database=none")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, papers_predictor: RunningServer) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("openapi")
    with redis_server(folder) as redis:
        gateway = config(
            folder, redis.address, papers_predictor.rest, max_wait_seconds=1, feedback_uri=str(folder / "corrections")
        )
        with running("worker", gateway, folder / "worker.log"), running("api", gateway, folder / "api.log") as api:
            yield api.address


def document_of(address: str) -> dict[str, Any]:
    """Return the document with what none can know: the classifiers of this gateway, their labels, and that it needs no token."""
    document: dict[str, Any] = httpx.get(f"{address}/openapi.json").json()
    schemas, classifier = document["components"]["schemas"], {"enum": ["papers", None]}
    schemas["SubmissionBody"]["properties"]["classifier"] = classifier
    labels = {"type": "array", "items": {"enum": list(LABELS)}, "minItems": 1}
    schemas["TextCorrectionBody"]["properties"] |= {"classifier": classifier, "labels": labels}
    corrections = (operation for path in CORRECTIONS for operation in document["paths"][path].values())
    for operation in corrections:  # without tokens, or too few of them reach what they are for
        operation.pop("security", None)
        operation["parameters"] = [each for each in operation.get("parameters", ()) if each["name"] != "feedback-token"]
    return document


def try_out(address: str, folder: Path, *options: str) -> str:
    """Let Schemathesis follow the document's links, and return the gateway's metrics afterwards."""
    (folder / "openapi.json").write_text(json.dumps(document_of(address)))
    command = [sys.executable, "-m", "schemathesis.cli", "run", "openapi.json", f"--url={address}", *BOUNDS, *options]
    ended = subprocess.run([*command, "--no-color"], cwd=folder, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout
    return httpx.get(f"{address}/metrics").text


def test_any_sequence_of_requests_gets_documented_answers_and_no_internal_error(address: str, tmp_path: Path) -> None:
    """Tasks are submitted, read, followed, erased, and read again."""
    metrics = try_out(address, tmp_path, f"--checks={','.join(CHECKS)}", "--exclude-path-regex=/api/feedback")

    for reached in ('route="/api/predict/"', 'route="/api/prediction/{id}"', 'route="/api/prediction/{id}/events"'):
        assert reached in metrics
    for status in (200, 202, 204, 410, 422):
        assert f'code="{status}"' in metrics


def test_any_sequence_of_corrections_gets_documented_answers_and_no_internal_error(address: str, tmp_path: Path) -> None:
    """Corrections are sent, read, withdrawn, and read again."""
    # They are not erased, and the id that is posted to is a prediction's.
    unfit = ("use_after_free", "ensure_resource_availability")
    checks = ",".join(each for each in CHECKS if each not in unfit)
    metrics = try_out(address, tmp_path, f"--checks={checks}", "--include-path-regex=/api/feedback")

    for status, route in ((202, CORRECTIONS[0]), (200, CORRECTIONS[1]), (404, CORRECTIONS[1]), (422, CORRECTIONS[1])):
        assert f'code="{status}",route="{route}"' in metrics
