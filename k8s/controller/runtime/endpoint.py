"""HTTP endpoint of the controller: /metrics, /healthz, and the Pods for Prometheus to scrape."""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Callable, Iterable
from socketserver import TCPServer, ThreadingMixIn
from threading import Thread
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app

from k8s.controller.clients.errors import ClusterError
from k8s.controller.runtime.scrape_targets import SCRAPED, ScrapeTarget

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

IDLE_SECONDS = 10.0  # until an idle connection is closed
TARGETS = "/targets/"  # followed by a component

logger = logging.getLogger(__name__)


class Endpoint:
    """HTTP endpoint that `serve` has opened."""

    def __init__(self, server: _Server) -> None:
        self.port: int = server.server_port
        self._server = server
        self._thread = Thread(target=server.serve_forever, args=(0.1,), name="endpoint", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop the server."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def serve(
    port: int,
    registry: CollectorRegistry,
    *,
    healthy: Callable[[], bool],
    targets: Callable[[str], list[ScrapeTarget]],
) -> Endpoint:
    """Serve on this port (0: a free one) of every address, in threads. Raises OSError if the port is taken.

    /metrics: the registry's series. /healthz: 200, or 503 if `healthy` returns False. /targets/<component>: what `targets`
    returns, as JSON for Prometheus' HTTP service discovery, or 503 if the API server does not answer. Anything else: 404.
    """
    metrics = make_wsgi_app(registry)
    paths = "/metrics, /healthz, " + ", ".join(f"{TARGETS}{each}" for each in SCRAPED)

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == "/metrics":
            found: Iterable[bytes] = metrics(environ, start_response)
            return found
        if path == "/healthz":
            return _respond(start_response, *(("200 OK", "well") if healthy() else ("503 Service Unavailable", "not well")))
        if path.removeprefix(TARGETS) in SCRAPED:
            return _respond_targets(start_response, lambda: targets(path.removeprefix(TARGETS)))
        return _respond(start_response, "404 Not Found", f"expected one of {paths}")

    server = _Server(port)
    server.set_app(answer)
    return Endpoint(server)


def _respond_targets(start_response: StartResponse, targets: Callable[[], list[ScrapeTarget]]) -> list[bytes]:
    try:
        found = targets()
    except ClusterError as error:  # Prometheus keeps the targets that it has
        return _respond(start_response, "503 Service Unavailable", str(error))
    return _respond(start_response, "200 OK", json.dumps(found), media_type="application/json")


def _respond(
    start_response: StartResponse, status: str, text: str, *, media_type: str = "text/plain; charset=utf-8"
) -> list[bytes]:
    start_response(status, [("Content-Type", media_type)])
    return [f"{text}\n".encode()]


class _Server(ThreadingMixIn, WSGIServer):
    """Server on IPv4 and, if available, IPv6. It does not look up its host name, which may be slow."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        both = socket.has_dualstack_ipv6()
        self.address_family = socket.AF_INET6 if both else socket.AF_INET
        super().__init__(("::" if both else "", port), _Handler)

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        TCPServer.server_bind(self)
        self.server_name, self.server_port = "localhost", self.server_address[1]
        self.setup_environ()

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002
        """Log a client that disconnects or stays idle, which is no error."""
        logger.debug("%s was not answered", client_address, exc_info=True)


class _Handler(WSGIRequestHandler):
    timeout = IDLE_SECONDS

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Log nothing: probes and scrapes are frequent."""
