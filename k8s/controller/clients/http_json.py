"""GET of one JSON object over HTTP, limited in time and size."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Mapping
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.util import parse_url

MAX_ANSWER_BYTES = 256 * 1024  # bytes of an answer: metadata include all labels, and the server is not trusted
CHUNK_BYTES = 64 * 1024
# Reasons for people: urllib3's messages contain addresses of Python objects.
REASONS: tuple[tuple[type[Exception], str], ...] = (
    (urllib3.exceptions.NameResolutionError, "its host name is unknown"),
    (urllib3.exceptions.NewConnectionError, "no connection"),
    (urllib3.exceptions.TimeoutError, "no answer in time"),
    (urllib3.exceptions.SSLError, "its certificate is not trusted"),
    (urllib3.exceptions.ProtocolError, "the connection broke"),
    (urllib3.exceptions.LocationValueError, "that is not an address"),
)


class NoAnswer(Exception):
    """No answer, or none that is a JSON object. The message gives the reason without the address."""


class NoConnection(NoAnswer):
    """No connection to the server."""


class _Hurried(socket.socket):
    """Socket with a deadline for all of its reads: a client's own timeout restarts with each byte."""

    end: float

    def recv_into(self, *given: Any) -> int:
        left = self.end - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self.settimeout(left)
        return super().recv_into(*given)


def _hurried(end: float) -> type[HTTPConnectionPool]:
    """Return a pool of plain HTTP connections that end at that time."""

    class Connection(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            found = _Hurried(fileno=super()._new_conn().detach())
            found.end = end
            return found

    class Pool(HTTPConnectionPool):
        ConnectionCls = Connection

    return Pool


def get_json(url: str, *, fields: Mapping[str, str] | None = None, seconds: float) -> tuple[int, dict[str, Any]]:
    """Return the status and the JSON object of the answer. Redirects are not followed.

    fields: the query. url: may contain credentials. seconds: limit of the whole request. Raises NoAnswer.
    """
    end = time.monotonic() + seconds
    with urllib3.PoolManager(num_pools=1) as pool:
        pool.pool_classes_by_scheme = {**pool.pool_classes_by_scheme, "http": _hurried(end)}
        try:
            response = pool.request(
                "GET",
                _without_credentials(url),
                fields=dict(fields or {}),
                headers={"Accept": "application/json", **_credentials(url)},
                timeout=urllib3.Timeout(total=seconds),
                retries=False,
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
            with response:
                return response.status, _object(_content(response, end))
        except urllib3.exceptions.HTTPError as error:
            reason = next((text for kind, text in REASONS if isinstance(error, kind)), type(error).__name__)
            is_answered = not isinstance(error, urllib3.exceptions.ConnectTimeoutError | urllib3.exceptions.NewConnectionError)
            raise (NoAnswer if is_answered else NoConnection)(reason) from error


def _content(response: urllib3.BaseHTTPResponse, end: float) -> bytes:
    """Return the body. Raises NoAnswer if it is too large or too late."""
    found = b""
    while piece := response.read1(CHUNK_BYTES):
        found += piece
        if len(found) > MAX_ANSWER_BYTES:
            raise NoAnswer(f"its answer is over {MAX_ANSWER_BYTES} bytes")
        if time.monotonic() > end:
            raise NoAnswer("no answer in time")
    return found


def _object(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise NoAnswer("its answer is not JSON") from error
    if not isinstance(found, dict):
        raise NoAnswer("its answer is not a JSON object")
    return found


def _credentials(url: str) -> dict[str, str]:
    auth = parse_url(url).auth
    return urllib3.make_headers(basic_auth=auth) if auth else {}


def _without_credentials(url: str) -> str:
    return parse_url(url)._replace(auth=None).url
