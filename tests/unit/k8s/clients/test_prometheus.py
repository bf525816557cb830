"""What is made of a Prometheus' answers; whether it understands the questions is told in tests/system/test_measurements.py."""

from __future__ import annotations

import base64
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from k8s.controller.clients.prometheus import PAUSE_SECONDS, MeasurementsUnavailable, Prometheus
from tests.support.answers import ChosenResponse, answering

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture
def server() -> Iterator[ChosenResponse]:
    with answering() as answers:
        answers.body = vector("0.3125")
        yield answers


@pytest.fixture
def prometheus(server: ChosenResponse) -> Prometheus:
    return Prometheus(f"http://127.0.0.1:{server.port}/", seconds=0.5, now=lambda: NOW)


def vector(*values: str) -> dict[str, Any]:
    result = [{"metric": {}, "value": [1795435200.5, value]} for value in values]
    return {"status": "success", "data": {"resultType": "vector", "result": result}}


def question(server: ChosenResponse) -> str:
    (asked,) = server.asked
    address = urlsplit(asked)
    assert address.path == "/api/v1/query"
    return parse_qs(address.query)["query"][0]


def test_the_drift_is_the_only_value_of_the_answer(server: ChosenResponse, prometheus: Prometheus) -> None:
    assert prometheus.drift("team", "papers", "papers-1a2b3c4d") == 0.3125
    assert 'labelwright_model_info{namespace="team", classifier="papers", version="papers-1a2b3c4d", ' in question(server)


def test_corrections_are_whole_and_counted_since_the_time_given(server: ChosenResponse, prometheus: Prometheus) -> None:
    server.body = vector("41.6")

    assert prometheus.corrections("team", "papers", NOW - timedelta(hours=1, milliseconds=1)) == 42
    assert "[3601s]" in question(server)


def test_corrections_since_a_time_that_is_to_come_are_asked_for_a_second(server: ChosenResponse, prometheus: Prometheus) -> None:
    prometheus.corrections("team", "papers", NOW + timedelta(hours=1))

    assert "[1s]" in question(server)


@pytest.mark.parametrize(
    "values", [pytest.param([], id="no-series"), pytest.param(["NaN"], id="no-number"), pytest.param(["+Inf"], id="infinite")]
)
def test_what_was_not_measured_is_none(server: ChosenResponse, prometheus: Prometheus, values: list[str]) -> None:
    server.body = vector(*values)

    assert prometheus.drift("team", "papers", "v1") is None
    assert prometheus.corrections("team", "papers", NOW) is None


def test_a_prometheus_that_does_not_answer_is_left_alone_for_a_while() -> None:
    """Each question would hold up a pass until its time is over."""
    with answering() as server:
        clock, server.body = [0.0], vector("0.5")
        prometheus = Prometheus("http://192.0.2.1:9", seconds=0.2, clock=lambda: clock[0])
        with pytest.raises(MeasurementsUnavailable, match="cannot be asked"):
            prometheus.drift("team", "papers", "v1")
        prometheus._url = f"http://127.0.0.1:{server.port}/api/v1/query"
        with pytest.raises(MeasurementsUnavailable, match="cannot be asked"):
            prometheus.drift("team", "papers", "v1")
        clock[0] = PAUSE_SECONDS
        assert prometheus.drift("team", "papers", "v1") == 0.5


def test_a_question_that_takes_too_long_hinders_no_other(server: ChosenResponse, prometheus: Prometheus) -> None:
    server.before = 1.0
    with pytest.raises(MeasurementsUnavailable, match="no answer in time"):
        prometheus.drift("team", "papers", "v1")
    server.before = 0.0
    assert prometheus.drift("team", "papers", "v2") == 0.3125


def test_a_name_cannot_change_the_question(server: ChosenResponse, prometheus: Prometheus) -> None:
    prometheus.drift('te"am\\', "pa}pers\n", "v1")

    asked = question(server)
    assert r'namespace="te\"am\\"' in asked
    assert r'classifier="pa}pers\n"' in asked


def test_credentials_in_the_address_are_sent_and_not_shown(server: ChosenResponse) -> None:
    server.status, server.body = 401, {"error": "not you"}
    prometheus = Prometheus(f"http://me:secret@127.0.0.1:{server.port}/prefix", seconds=0.5)

    with pytest.raises(MeasurementsUnavailable) as raised:
        prometheus.drift("team", "papers", "v1")

    assert server.authorizations == ["Basic " + base64.b64encode(b"me:secret").decode()]
    assert server.asked[0].startswith("/prefix/api/v1/query?")
    assert str(raised.value) == "the Prometheus at 127.0.0.1 answers 401: not you"


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        pytest.param(422, {"status": "error", "error": "too many samples"}, "answers 422: too many samples", id="refused"),
        pytest.param(503, b"busy", "cannot be asked: its answer is not JSON", id="busy"),
        pytest.param(200, b"<html>", "cannot be asked: its answer is not JSON", id="a-page"),
        pytest.param(200, {}, "answers 200: without a reason", id="another-api"),
        pytest.param(200, vector("1", "2"), "that cannot be read: expected one value", id="two-values"),
        pytest.param(200, vector("one"), "cannot be read: could not convert string to float: 'one'", id="no-number"),
        pytest.param(200, {"status": "success", "data": None}, "that cannot be read: expected one value", id="no-data"),
    ],
)
def test_any_other_answer_is_reported_in_a_sentence(
    server: ChosenResponse, prometheus: Prometheus, status: int, body: Any, message: str
) -> None:
    server.status, server.body = status, body

    with pytest.raises(MeasurementsUnavailable, match=r"^the Prometheus at 127\.0\.0\.1 ") as raised:
        prometheus.drift("team", "papers", "v1")
    assert message in str(raised.value)


def test_an_answer_that_comes_too_late(server: ChosenResponse, prometheus: Prometheus) -> None:
    server.before = 5

    with pytest.raises(MeasurementsUnavailable, match="cannot be asked: no answer in time"):
        prometheus.drift("team", "papers", "v1")


def test_nothing_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        prometheus = Prometheus(f"http://127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(MeasurementsUnavailable, match="cannot be asked: no connection"):
            prometheus.drift("team", "papers", "v1")


def test_a_name_that_is_not_known_is_called_that() -> None:
    with pytest.raises(MeasurementsUnavailable, match=r"at prometheus\.invalid cannot be asked: its host name is unknown"):
        Prometheus("http://prometheus.invalid:9090").drift("team", "papers", "v1")
