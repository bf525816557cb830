"""What the door to the Kubernetes API makes of answers that no healthy API server gives, and what it asks."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes.client.api_client import ApiClient
from kubernetes.client.configuration import Configuration

from k8s.controller.clients.kubernetes import (
    CRD,
    JOB,
    SERVICE_ACCOUNT,
    ClusterError,
    Kind,
    KubernetesCluster,
    RequestRefused,
    Unavailable,
    WriteConflict,
    from_environment,
    kind_of,
)
from tests.support.kubernetes.cluster_contract import service_account

TIME_LIMIT = 0.5


def failure(code: int, message: str = "no", **details: Any) -> bytes:
    """A Status, as the API server tells of a failure."""
    reason = details.pop("reason", "")
    return answer(code, {"kind": "Status", "code": code, "message": message, "reason": reason, "details": details})


def answer(code: int, body: Any) -> bytes:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return f"HTTP/1.1 {code} Because\r\nConnection: close\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content


class Server:
    """Answers every request with the same bytes, and keeps what was asked; no bytes: not at all."""

    def __init__(self) -> None:
        self.answer = b""
        self.asked: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def cluster(self) -> KubernetesCluster:
        configuration = Configuration(host=f"http://127.0.0.1:{self._listener.getsockname()[1]}")
        configuration.retries = False
        return KubernetesCluster(ApiClient(configuration), time_limit=TIME_LIMIT)

    def close(self) -> None:
        self._listener.close()
        for each in self._open:
            each.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(connection)
            self.asked.append(_request(connection))
            if self.answer:
                connection.sendall(self.answer)
                connection.close()


def _request(connection: socket.socket) -> bytes:
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(1 << 16)
    head, _, body = received.partition(b"\r\n\r\n")
    length = re.search(rb"Content-Length: (\d+)", head, re.IGNORECASE)
    while length and len(body) < int(length[1]):
        body += connection.recv(1 << 16)
    return head + b"\r\n\r\n" + body


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server()
    yield found
    found.close()


@pytest.mark.parametrize(
    ("answered", "error"),
    [
        pytest.param(failure(401, "Unauthorized"), Unavailable, id="a-token-that-has-ended"),
        pytest.param(failure(403, "jobs.batch is forbidden"), RequestRefused, id="no-permission"),
        pytest.param(failure(400, "admission webhook denied the request"), RequestRefused, id="denied-by-a-webhook"),
        pytest.param(failure(409, "the object has been modified"), WriteConflict, id="changed-meanwhile"),
        pytest.param(failure(410, "the continue token is too old"), Unavailable, id="a-list-that-took-too-long"),
        pytest.param(failure(422, "invalid"), RequestRefused, id="invalid"),
        pytest.param(failure(429, "too many requests"), Unavailable, id="too-many-requests"),
        pytest.param(failure(500, "failed calling webhook"), Unavailable, id="a-webhook-that-is-down"),
        pytest.param(failure(500, "failed to create typed patch object (a/b)"), RequestRefused, id="a-field-that-is-not-there"),
        pytest.param(failure(504, "timed out"), Unavailable, id="too-slow-behind-it"),
        pytest.param(answer(404, b"404 page not found\n"), RequestRefused, id="a-kind-that-is-not-there"),
        pytest.param(
            failure(404, "the server could not find the requested resource"), RequestRefused, id="a-version-that-is-not-there"
        ),
        pytest.param(answer(502, b"<html>Bad Gateway</html>"), Unavailable, id="a-proxy-in-between"),
        pytest.param(answer(503, b""), Unavailable, id="nothing-said"),
        pytest.param(answer(200, b"[]"), Unavailable, id="not-a-document"),
        pytest.param(answer(200, b"<html>Log in</html>"), Unavailable, id="a-page"),
        pytest.param(answer(302, b""), Unavailable, id="sent-elsewhere"),
        pytest.param(answer(200, {"kind": "Job"})[:-5], Unavailable, id="cut-off"),
        pytest.param(b"SSH-2.0-OpenSSH\r\n\r\n", Unavailable, id="not-http"),
        pytest.param(b"\r\n", Unavailable, id="nothing-but-a-line"),
    ],
)
def test_every_answer_is_an_error_of_its_kind(server: Server, answered: bytes, error: type[ClusterError]) -> None:
    server.answer = answered
    with server.cluster() as cluster:
        with pytest.raises(error):
            cluster.get(JOB, "one", "a")
        with pytest.raises(error):
            cluster.list(JOB, "one", labels={})
        with pytest.raises(error):
            cluster.apply(service_account("one"))
        with pytest.raises(error):
            cluster.create(service_account("one"))


def test_a_server_that_says_nothing_is_left_within_the_time_limit_and_asked_once(server: Server) -> None:
    began = time.monotonic()
    with server.cluster() as cluster, pytest.raises(Unavailable, match=r"GET .*/one/jobs/a: the API server did not answer"):
        cluster.get(JOB, "one", "a")
    assert time.monotonic() - began < TIME_LIMIT * 3
    assert len(server.asked) == 1


def test_the_message_names_each_field_once_and_no_value_at_length(server: Server) -> None:
    cause = {"field": "spec.template", "message": f"Invalid value: {'x' * 9000}: field is immutable"}
    other = {"field": "spec.completions", "message": "must be greater than 0"}
    server.answer = failure(422, "Job is invalid: …", causes=[cause, cause, other])
    with server.cluster() as cluster, pytest.raises(RequestRefused) as raised:
        cluster.create(service_account("one", "papers"))
    message = str(raised.value)
    assert message.startswith("create ServiceAccount one/papers: spec.template: Invalid value: xxx")
    assert message.endswith("field is immutable; spec.completions: must be greater than 0")
    assert message.count("spec.template") == 1
    assert len(message) < 500


def test_an_object_that_is_not_there_is_none(server: Server) -> None:
    server.answer = failure(404, 'jobs.batch "a" not found', name="a", kind="jobs")
    with server.cluster() as cluster:
        assert cluster.get(JOB, "one", "a") is None
        assert cluster.merge(JOB, "one", "a", {}) is None
        assert cluster.write_status(service_account("one", "a")) is None
        cluster.delete(JOB, "one", "a", uid="1")
        with pytest.raises(RequestRefused):
            cluster.create(service_account("one", "a"))


def test_a_null_of_a_change_is_sent_and_labels_are_quoted(server: Server) -> None:
    server.answer = answer(200, {"kind": "Job", "metadata": {}})
    with server.cluster() as cluster:
        cluster.merge(JOB, "one", "a", {"spec": {"suspend": None}}, resource_version="7")
        cluster.list(JOB, "one", labels={"a/b": "c", "d": "e"})
    change, listed = server.asked
    assert change.startswith(b"PATCH /apis/batch/v1/namespaces/one/jobs/a?fieldManager=labelwright HTTP/1.1")
    assert json.loads(change.split(b"\r\n\r\n")[1]) == {"spec": {"suspend": None}, "metadata": {"resourceVersion": "7"}}
    assert b"labelSelector=a/b%3Dc%2Cd%3De" in listed


def told(version: int) -> dict[str, Any]:
    return {"kind": "Job", "metadata": {"resourceVersion": str(version)}}


def test_a_list_is_no_older_than_events_and_writes(server: Server) -> None:
    server.answer = answer(200, {**told(11), "items": []})
    with server.cluster() as cluster:
        cluster.list(JOB, "one", labels={})
        for version in (9, 10, 8):
            cluster.saw(told(version))
        cluster.list(JOB, "one", labels={})
        cluster.merge(JOB, "one", "a", {})
        cluster.list(JOB, "one", labels={})
        cluster.list(SERVICE_ACCOUNT, "one", labels={})
    asked = [re.findall(rb"resourceVersion\w*=\w+", each.split(b"\r\n")[0]) for each in server.asked if each.startswith(b"GET")]
    match = b"resourceVersionMatch=NotOlderThan"
    assert asked == [[], [b"resourceVersion=10", match], [b"resourceVersion=11", match], []]


def test_after_etcd_was_restored_lists_are_of_what_is_there_now(server: Server) -> None:
    server.answer = failure(504, "Too large resource version: 9", causes=[{"reason": "ResourceVersionTooLarge"}])
    with server.cluster() as cluster:
        cluster.saw(told(9))
        with pytest.raises(Unavailable):  # this server says so whatever it is asked
            cluster.list(JOB, "one", labels={})
        server.answer = answer(200, {"kind": "JobList", "items": [{"metadata": {"name": "a"}}]})
        assert [each["metadata"]["name"] for each in cluster.list(JOB, "one", labels={})] == ["a"]
    assert [b"resourceVersion=9" in each for each in server.asked] == [True, False, False]


@pytest.mark.parametrize(
    ("kind", "namespace", "name", "path"),
    [
        pytest.param(SERVICE_ACCOUNT, "one", "a", "/api/v1/namespaces/one/serviceaccounts/a", id="core"),
        pytest.param(JOB, "", "", "/apis/batch/v1/jobs", id="of-every-namespace"),
        pytest.param(CRD, "", "a.b", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/a.b", id="of-the-cluster"),
    ],
)
def test_a_path_follows_from_the_kind(kind: Kind, namespace: str, name: str, path: str) -> None:
    assert kind.path(namespace, name) == path


def test_a_document_of_an_unused_kind_is_our_mistake() -> None:
    with pytest.raises(LookupError, match="PersistentVolume of v1"):
        kind_of({"apiVersion": "v1", "kind": "PersistentVolume"})


def test_without_a_cluster_it_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    with pytest.raises(Unavailable, match=r"expected a ServiceAccount's token, as in a Pod, or a kubeconfig"):
        from_environment()
