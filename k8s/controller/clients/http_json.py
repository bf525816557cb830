"""Asks over HTTP for one JSON object, within a time and a size. Knows nothing of who is asked."""

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

LARGEST = 256 * 1024  # bytes of an answer: a classifier's metadata has its labels, and who answers may be anybody
PIECE = 64 * 1024
# What a client may show of why there was no answer: urllib3's own words have addresses of objects in them.
REASONS: tuple[tuple[type[Exception], str], ...] = (
    (urllib3.exceptions.NameResolutionError, "its host name is unknown"),
    (urllib3.exceptions.NewConnectionError, "no connection"),
    (urllib3.exceptions.TimeoutError, "no answer in time"),
    (urllib3.exceptions.SSLError, "its certificate is not trusted"),
    (urllib3.exceptions.ProtocolError, "the connection broke"),
    (urllib3.exceptions.LocationValueError, "that is not an address"),
)


class NoAnswer(Exception):
    """There was none, or none that is a JSON object; the message says what there was instead, without the address."""


class NoConnection(NoAnswer):
    """There is nobody to ask."""


class _Hurried(socket.socket):
    """A socket that gives what comes until a time, however slowly: a client's own limit begins anew with each byte."""

    end: float

    def recv_into(self, *given: Any) -> int:
        left = self.end - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self.settimeout(left)
        return super().recv_into(*given)


def _hurried(end: float) -> type[HTTPConnectionPool]:
    """Connections over plain HTTP that end at that time."""

    class Connection(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            found = _Hurried(fileno=super()._new_conn().detach())
            found.end = end
            return found

    class Pool(HTTPConnectionPool):
        ConnectionCls = Connection

    return Pool


def get_json(url: str, *, fields: Mapping[str, str] | None = None, seconds: float) -> tuple[int, dict[str, Any]]:
    """Return the status and the object in the answer, which comes from that very address: no redirection is followed.

    fields: of the query. Credentials may stand in the address. seconds: for all of it. Raises NoAnswer.
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
    """The body, however slowly it comes, up to a time and a size."""
    found = b""
    while piece := response.read1(PIECE):
        found += piece
        if len(found) > LARGEST:
            raise NoAnswer(f"its answer is over {LARGEST} bytes")
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
