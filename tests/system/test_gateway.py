"""The gateway as its clients meet it: a real Redis, a real predictor, API and worker in processes of their own."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.gateway import SECRET, GatewayProcess, answer, config, problem, running, submit, wait_until, write_tokens
from tests.support.recording import recording
from tests.support.redis import RedisProcess, redis_server
from tests.support.servers import RunningServer, serving
from tests.support.versions import make_version

GONE_ID = "01a22d39-3b3e-7a7b-a617-45b518faca68"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gateway")


@pytest.fixture(scope="module")
def redis(folder: Path) -> Iterator[RedisProcess]:
    with redis_server(folder / "redis", maxmemory="500mb") as server:
        yield server


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisProcess]:
    """Redis without the module's worker."""
    with redis_server(tmp_path / "redis") as server:
        yield server


TOKENS = {
    "importer": ({"scopes": ["predict"]}, "token-of-the-importer"),
    "other": ({"scopes": ["predict"]}, "token-of-another"),
    "limited": ({"scopes": ["predict"], "rate": "3/minute"}, "token-with-a-rate"),
    "reviewer": ({"scopes": ["review"]}, "token-of-a-reviewer"),
    "root": ({"scopes": ["admin"]}, "token-of-an-admin"),
}


@pytest.fixture(scope="module")
def api(folder: Path, redis: RedisProcess, papers_predictor: RunningServer) -> Iterator[GatewayProcess]:
    settings = config(
        folder,
        redis.address,
        papers_predictor.rest,
        tokens_file=write_tokens(folder, TOKENS),
        max_texts=10,
        max_characters=1000,
        max_body_bytes=20_000,
    )
    with running("worker", settings, folder / "worker.log"), running("api", settings, folder / "api.log") as api:
        yield api


@pytest.fixture
def http(api: GatewayProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=api.address, timeout=40) as client:
        yield client


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {TOKENS[name][1]}"}


# --- answers ----------------------------------------------------------------------------------------------------------


def test_each_task_gets_the_answer_that_the_predictor_gives_directly(http: httpx.Client, papers_predictor: RunningServer) -> None:
    texts = [f"{' '.join(labels)} text {at}" for at in range(8) for labels in (["cs.LG"], ["stat.ML", "math.CO"], [])]

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda text: answer(http, submit(http, text)), texts))

    assert [each["predictions"] for each in answers] == [direct(papers_predictor, text) for text in texts]
    assert {each["version"] for each in answers} == {"v1"}


def direct(papers_predictor: RunningServer, text: str) -> list[str]:
    body = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": [text]}]}
    outputs = httpx.post(f"{papers_predictor.rest}/v2/models/papers/infer", json=body).json()["outputs"]
    return next([label for label in each["data"] if label] for each in outputs if each["name"] == "labels")


def test_waiting_ends_as_soon_as_the_task_does(http: httpx.Client) -> None:
    start = time.monotonic()
    response = http.post("/api/predict/", json={"article": "cs.LG"}, headers={"Prefer": "respond-async, wait=20"})

    assert response.status_code == 200
    assert response.headers["Preference-Applied"] == "wait=20"
    assert time.monotonic() - start < 10


def test_texts_that_the_predictor_refuses_make_a_failed_task(
    http: httpx.Client, folder: Path, redis: RedisProcess, papers_predictor: RunningServer
) -> None:
    """The gateway of this test accepts longer texts than the predictor."""
    settings = config(folder, redis.address, papers_predictor.rest, max_characters=2_000_000)
    with running("api", settings, folder / "lenient.log") as api, httpx.Client(base_url=api.address, timeout=40) as client:
        response = client.post("/api/predict/?wait=30", json={"article": "x" * 1_500_000})

    assert problem(response) == (422, "texts-refused")
    assert response.json()["task_id"] in response.headers["Location"]
    assert "1000000" in response.json()["detail"]


def test_events_end_with_the_answer(http: httpx.Client) -> None:
    task_id = submit(http, "cs.LG")
    with http.stream("GET", f"/api/prediction/{task_id}/events") as response:
        assert response.headers["Content-Type"].startswith("text/event-stream")
        lines = list(response.iter_lines())

    events = [line.removeprefix("event: ") for line in lines if line.startswith("event:")]
    data = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data:")]
    assert events[-1] == "success"
    assert set(events) <= {"pending", "processing", "success"}
    assert data[-1]["predictions"] == ["cs.LG"]


def test_an_erased_task_is_gone(http: httpx.Client, redis: RedisProcess) -> None:
    task_id = submit(http, "a text to erase")
    assert http.delete(f"/api/prediction/{task_id}").status_code == 204

    assert problem(http.get(f"/api/prediction/{task_id}")) == (410, "gone")
    assert problem(http.delete(f"/api/prediction/{task_id}")) == (410, "gone")
    assert not redis.client.exists(f"task:{task_id}")


def test_ids_that_were_never_given_are_unknown(http: httpx.Client) -> None:
    for task_id in ("x", f"{GONE_ID}-{'0' * 16}", "0" * 53):
        assert problem(http.get(f"/api/prediction/{task_id}")) == (404, "unknown-id")


# --- requests that are refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "expected", "sentence"),
    [
        pytest.param({}, (422, "invalid-request"), 'expected one of "article", "texts"', id="no-text"),
        pytest.param({"article": 5}, (422, "invalid-request"), "article is 5:", id="wrong-type"),
        pytest.param({"artikel": "x"}, (422, "invalid-request"), "artikel", id="misspelt"),
        pytest.param(
            {"article": "x", "classifier": "unknown"}, (422, "unknown-classifier"), "expected one of papers", id="classifier"
        ),
        pytest.param({"texts": ["x"] * 11}, (413, "too-many-texts"), "11 texts: expected at most 10", id="too-many"),
        pytest.param({"article": "x" * 1001}, (413, "text-too-long"), "1001 characters: expected at most 1000", id="too-long"),
        pytest.param({"article": "x" * 30_000}, (413, "content-too-large"), "", id="too-many-bytes"),
    ],
)
def test_an_error_names_field_value_and_what_was_expected(
    http: httpx.Client, body: Any, expected: tuple[int, str], sentence: str
) -> None:
    response = http.post("/api/predict/", json=body)

    assert problem(response) == expected
    assert sentence in response.json()["detail"]


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        pytest.param(b"{", "application/json", id="no-json"),
        pytest.param(b'{"article": "x"}', "application/x-www-form-urlencoded", id="form"),
        pytest.param(b"[1]", "application/json", id="list"),
        pytest.param(b'{"article": "\\ud800"}', "application/json", id="half-a-surrogate"),
        pytest.param(b'{"article": "\xff"}', "application/json", id="no-utf-8"),
        pytest.param(b"[" * 15_000, "application/json", id="deeply-nested"),
        pytest.param(b"", "application/json", id="empty"),
        pytest.param(b'{"article": 1e999, "classifier": NaN}', "application/json", id="no-numbers"),
    ],
)
def test_a_body_that_is_no_object_is_a_clients_error(http: httpx.Client, content: bytes, content_type: str) -> None:
    response = http.post("/api/predict/", content=content, headers={"Content-Type": content_type})

    assert problem(response)[0] in (400, 422)


def test_unknown_paths_and_methods_are_problems_too(http: httpx.Client) -> None:
    assert problem(http.get("/nothing")) == (404, "not-found")
    response = http.put("/api/predict/", json={})
    assert problem(response) == (405, "method-not-allowed")


# --- who may ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def closed(folder: Path, redis: RedisProcess, papers_predictor: RunningServer, api: GatewayProcess) -> Iterator[httpx.Client]:
    """API that accepts no request without a token."""
    settings = config(folder, redis.address, papers_predictor.rest, tokens_file=folder / "tokens.json", anonymous=False)
    with running("api", settings, folder / "closed.log") as closed, httpx.Client(base_url=closed.address, timeout=40) as client:
        yield client


def test_without_a_known_token_no_request_is_accepted(closed: httpx.Client) -> None:
    body = {"article": "cs.LG"}
    missing = closed.post("/api/predict/", json=body)
    unknown = closed.post("/api/predict/", json=body, headers={"Authorization": "Bearer wrong"})
    basic = closed.post("/api/predict/", json=body, headers={"Authorization": "Basic eDp5"})

    assert {problem(each) for each in (missing, unknown, basic)} == {(401, "unauthorized")}
    assert missing.headers["WWW-Authenticate"] == "Bearer"


def test_a_prediction_belongs_to_the_name_of_its_token(closed: httpx.Client) -> None:
    task_id = submit(closed, "cs.LG", **bearer("importer"))
    path = f"/api/prediction/{task_id}"

    assert closed.get(path, headers=bearer("importer")).status_code in (200, 202)
    assert closed.get(path, headers=bearer("root")).status_code in (200, 202)
    assert problem(closed.get(path, headers=bearer("other"))) == (404, "unknown-id")
    assert problem(closed.delete(path, headers=bearer("other"))) == (404, "unknown-id")
    assert problem(closed.get(path, headers=bearer("reviewer"))) == (403, "scope-missing")


def test_a_token_may_send_its_rate(closed: httpx.Client) -> None:
    responses = [closed.get("/api/prediction/x", headers=bearer("limited")) for _ in range(5)]

    assert [each.status_code for each in responses] == [404] * 3 + [429] * 2
    assert 1 <= int(responses[-1].headers["Retry-After"]) <= 60


def test_no_log_has_a_text_or_a_token(closed: httpx.Client, folder: Path) -> None:
    submit(closed, "a text that is secret", **bearer("importer"))
    closed.post("/api/predict/", json={"article": ["a text that is secret"]}, headers=bearer("importer"))
    time.sleep(1)

    logs = "".join(path.read_text() for path in folder.glob("*.log"))
    assert "secret" not in logs
    assert "token-of" not in logs


# --- what surrounds a request -----------------------------------------------------------------------------------------


def test_a_request_id_is_in_the_response_and_in_the_log(http: httpx.Client, api: GatewayProcess) -> None:
    response = http.get("/api/prediction/x", headers={"X-Request-ID": "trace-17"})
    replaced = http.get("/api/prediction/x", headers={"X-Request-ID": "two words"})

    assert response.headers["X-Request-ID"] == "trace-17"
    assert re.fullmatch("[0-9a-f]{32}", replaced.headers["X-Request-ID"])
    line = next(json.loads(line) for line in api.log.read_text().splitlines() if "trace-17" in line)
    assert (line["route"], line["status"], line["method"]) == ("/api/prediction/{id}", 404, "GET")


@pytest.mark.parametrize("path", ["/api/prediction/x", "/health/live", "/docs", "/nothing"])
def test_every_response_has_security_headers(http: httpx.Client, path: str) -> None:
    headers = http.get(path).headers

    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "Server" not in headers


def test_the_documentation_comes_from_this_server(http: httpx.Client) -> None:
    page = http.get("/docs").text
    files = re.findall(r'(?:src|href)="([^"]+)"', page)

    assert len(files) == 3
    assert all(path.startswith("/") and http.get(path).status_code == 200 for path in files)
    assert set(http.get("/openapi.json").json()["paths"]) == {
        "/api/predict/",
        "/api/prediction/{id}",
        "/api/prediction/{id}/events",
        "/health/live",
        "/health/ready",
    }


def test_metrics_count_what_was_done(http: httpx.Client) -> None:
    answer(http, submit(http, "cs.LG"))
    series = http.get("/metrics").text

    assert re.search(r'labelwright_gateway_submissions_total\{outcome="accepted"\} [1-9]', series)
    assert "labelwright_gateway_redis_up 1.0" in series
    assert 'labelwright_gateway_open_tasks{state="pending"}' in series
    assert "labelwright_gateway_queue_age_seconds" in series


# --- processes --------------------------------------------------------------------------------------------------------


def test_celerys_own_command_is_a_worker_too_and_the_request_id_reaches_the_predictor(
    tmp_path: Path, own_redis: RedisProcess, papers_predictor: RunningServer
) -> None:
    with recording(papers_predictor.rest) as recorder:
        settings = config(tmp_path, own_redis.address, recorder.address)
        with (
            running("celery", settings, tmp_path / "celery.log") as worker,
            running("api", settings, tmp_path / "api.log") as api,
            httpx.Client(base_url=api.address, timeout=40) as client,
        ):
            task_id = submit(client, "cs.LG", **{"X-Request-ID": "trace-18"})
            assert answer(client, task_id)["predictions"] == ["cs.LG"]
            assert worker.stop() == 0

    sent = {headers.get("x-request-id") for path, headers in recorder.requests if path.endswith("/infer")}
    assert sent == {"trace-18"}


# --- Redis and predictor away, stopping -------------------------------------------------------------------------------


def test_a_redis_that_hangs_or_is_away_gives_503_within_a_second_and_no_task_is_lost(
    tmp_path: Path, papers_predictor: RunningServer
) -> None:
    with redis_server(tmp_path) as server:
        settings = config(tmp_path, server.address, papers_predictor.rest)
        with (
            running("worker", settings, tmp_path / "worker.log"),
            running("api", settings, tmp_path / "api.log") as api,
            httpx.Client(base_url=api.address, timeout=40) as client,
        ):
            ids = [submit(client, "cs.LG") for _ in range(5)]
            os.kill(server.process.pid, signal.SIGSTOP)
            for _ in range(3):
                start = time.monotonic()
                assert problem(client.post("/api/predict/", json={"article": "x"})) == (503, "store-unavailable")
                assert time.monotonic() - start < 1.5, "a second, and half of one for a busy machine"
            server.kill()
            start = time.monotonic()
            assert problem(client.post("/api/predict/", json={"article": "x"})) == (503, "store-unavailable")
            assert time.monotonic() - start < 1.5
            wait_until(lambda: client.get("/health/ready").status_code == 503)
            assert client.get("/health/live").status_code == 200
            assert client.get("/health/ready").json()["redis"] == "Redis does not answer."

            server.start()
            ids.append(wait_until(lambda: posted(client)))
            assert [answer(client, task_id, seconds=90)["predictions"] for task_id in ids] == [["cs.LG"]] * 6


def posted(client: httpx.Client) -> str:
    response = client.post("/api/predict/", json={"article": "cs.LG"})
    return str(response.json()["task_id"]) if response.status_code == 202 else ""


def test_a_redis_that_may_lose_tasks_gets_none(tmp_path: Path, papers_predictor: RunningServer) -> None:
    with redis_server(tmp_path, appendonly="no") as server:
        settings = config(tmp_path, server.address, papers_predictor.rest)
        with running("api", settings, tmp_path / "api.log") as api, httpx.Client(base_url=api.address, timeout=40) as client:
            wait_until(lambda: "appendonly" in client.get("/health/ready").json()["redis"])
            response = client.post("/api/predict/", json={"article": "x"})

            assert problem(response) == (503, "store-not-durable")
            assert "expected yes" in response.json()["detail"]


def test_while_the_predictor_is_away_tasks_are_accepted_and_then_answered(tmp_path: Path, own_redis: RedisProcess) -> None:
    version = make_version(tmp_path / "v1")
    with serving(version, tmp_path / "first.log") as first:
        address, port = first.rest, first.rest.rpartition(":")[2]
        first.process.kill()
        first.process.wait()
        settings = config(tmp_path, own_redis.address, address, max_delay_seconds=1)
        with (
            running("worker", settings, tmp_path / "worker.log"),
            running("api", settings, tmp_path / "api.log") as api,
            httpx.Client(base_url=api.address, timeout=40) as client,
        ):
            ids = [submit(client, "cs.LG") for _ in range(20)]
            wait_until(lambda: "does not answer" in client.get("/health/ready").json()["predictors"]["papers"])
            assert client.get("/health/ready").status_code == 200
            assert client.get(f"/api/prediction/{ids[0]}?wait=1").status_code == 202
            with serving(version, tmp_path / "second.log", options=[f"--port={port}"]):
                assert [answer(client, each, seconds=90)["predictions"] for each in ids] == [["cs.LG"]] * 20


def test_on_sigterm_requests_that_wait_end_and_both_processes_end_with_0(tmp_path: Path, own_redis: RedisProcess) -> None:
    settings = config(tmp_path, own_redis.address, "http://127.0.0.1:9")  # no predictor there
    with (
        running("worker", settings, tmp_path / "worker.log") as worker,
        running("api", settings, tmp_path / "api.log") as api,
        httpx.Client(base_url=api.address, timeout=40) as client,
        ThreadPoolExecutor(2) as threads,
    ):
        task_id = submit(client, "cs.LG")
        waiting = threads.submit(client.get, f"/api/prediction/{task_id}?wait=30")
        time.sleep(1)
        start = time.monotonic()

        assert api.stop() == 0
        assert time.monotonic() - start < 25, "before the request would have ended by itself"
        assert waiting.result().status_code == 202
        assert worker.stop() == 0
    assert SECRET.decode() not in api.log.read_text()
